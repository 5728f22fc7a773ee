"""The normalised pairs that a recipe trains and validates on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from algorithms.training import TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import Case, CaseFiles
from synthct.errors import InputError
from synthct.outline import body_inside
from synthct.resample import resample_like, resample_to_spacing
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache
from synthct.training.patches import Fill

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["PairedData", "require_references", "resampled_case"]

log = logging.getLogger(__name__)

Spacing = tuple[float, float, float]

Normalise = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class PairedData:
    """The normalised pairs of a run.

    Attributes:
        training: cases to train on.
        validation: cases that are held out.
        task: of all of them.
        regions: of all of them, each once: folds must not differ in what they declare.
    """

    training: tuple[CachedCase, ...]
    validation: tuple[CachedCase, ...]
    task: Task
    regions: tuple[Region, ...]

    @classmethod
    def prepare(
        cls,
        run: TrainingRun,
        fabric: Fabric,
        *,
        image: Normalise,
        reference: Normalise,
        key: str,
        validation: tuple[str, ...],
        excluded: tuple[str, ...],
        before: Callable[[Case], Case] | None = None,
        outside: Fill | None = None,
        lone_images: bool = False,
    ) -> PairedData:
        """Normalise every pair into the run's cache, from the first process first.

        Args:
            run: the run.
            fabric: its processes.
            image: normalisation of MR or CBCT.
            reference: normalisation of CT.
            key: both in words; entries made by others are not taken.
            validation: ids that the preset holds out; the run's fold outranks them.
            excluded: ids that the preset leaves out.
            before: what is done to a case first, such as resampling.
            outside: values, in network units, that replace an image's outside the body (body_inside), and a CT's
                outside the mask.
            lone_images: cases to train on may lack their CT.

        Raises:
            InputError: a case has no CT, the tasks are mixed, or no training case is left.
        """
        held_out = frozenset(validation if run.validation is None else run.validation)
        kept = tuple(case for case in run.cases if case.id not in excluded)
        files = require_references(kept, lone={case.id for case in kept} - held_out if lone_images else ())
        if all(case.id in held_out for case in files):
            raise InputError("no training case is left after leaving out validation and test cases")
        folder = run.cache or run.run_dir / "cache"
        cache = VolumeCache(folder, key)
        prepare = partial(_normalise, image=image, reference=reference, before=before, outside=outside)
        if fabric.is_global_zero:
            _name_absent(run, (*held_out, *excluded))
            log.info("reading %d cases; normalised volumes are kept in %s", len(files), folder)
        with fabric.rank_zero_first():
            bar = run.progress.add_task("reading cases", total=len(files))
            cached = []
            for case in files:
                cached.append(cache.case(case, prepare))
                run.progress.update(bar, advance=1)
            run.progress.remove_task(bar)
        training = tuple(case for case in cached if case.id not in held_out)
        regions = {case.region for case in files if case.region is not None}
        judges = tuple(case for case in cached if case.id in held_out)
        if fabric.is_global_zero:
            judged = f"{len(judges)} to validate on" if judges else "none to validate on: the last weights will be kept"
            log.info("%d cases to train on, %s", len(training), judged)
        return cls(training, judges, files[0].task, tuple(sorted(regions)))


def require_references(cases: tuple[CaseFiles, ...], *, lone: Container[str] = ()) -> tuple[CaseFiles, ...]:
    """Return the cases, all of one task and each with its CT; those with an id in `lone` may lack it.

    Raises:
        InputError: there is no case, one has no CT, or the tasks are mixed.
    """
    if not cases:
        raise InputError("no case to train on is left; expected some that no option and no preset leaves out")
    for files in cases:
        if files.reference is None and files.id not in lone:
            raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected ct.mha to train on")
    tasks = sorted({str(files.task) for files in cases})
    if len(tasks) != 1:
        raise InputError(f"the training cases mix tasks {', '.join(tasks)}; expected one (--task)")
    return cases


def resampled_case(case: Case, spacing: Spacing | None, *, separate_axis: bool = False) -> Case:
    """The case on a spacing in mm (z, y, x), by cubic B-splines; the very same where it is on it already, or for None.

    Mask and CT are brought onto the image's new grid, so that no rounding can part them; `separate_axis` is
    `resample_to_spacing`'s, of the image.
    """
    if spacing is None:
        return case
    image = resample_to_spacing(case.image, spacing, order=3, separate_axis=separate_axis)
    mask = resample_like(case.mask, image.geometry, order=0)
    reference = None if case.reference is None else resample_like(case.reference, image.geometry, order=3)
    return replace(case, image=image, mask=mask, reference=reference)


def _normalise(
    case: Case,
    *,
    image: Normalise,
    reference: Normalise,
    before: Callable[[Case], Case] | None,
    outside: Fill | None,
) -> PreparedCase:
    case = before(case) if before is not None else case
    units = image(case.image.voxels)
    ct = None if case.reference is None else reference(case.reference.voxels)
    if outside is not None:
        units[~body_inside(case.image, case.mask)] = outside.image
        if ct is not None:
            ct[case.mask.voxels == 0] = outside.reference
    return PreparedCase(image=units, reference=ct, weight=case.mask.voxels)


def _name_absent(run: TrainingRun, names: tuple[str, ...]) -> None:
    present = {case.id for case in run.cases}
    absent = sorted(set(names) - present)
    if absent:
        log.info("the preset names cases that the data set does not hold: %s", ", ".join(absent))
