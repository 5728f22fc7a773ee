"""What a training recipe is handed, and what it must find before it starts."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from rich.progress import Progress
from torch import Tensor

from algorithms.interface import About
from algorithms.presets import parse_settings
from synthct.anatomy import Region, Task
from synthct.dataset import Case, CaseFiles
from synthct.errors import InputError
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache
from synthct.weights import ModelFolder, load_tensors, open_model, save_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from synthct.inference.engine import Precision

__all__ = ["Launcher", "PairedData", "TrainingRun", "check_settings", "load_recipe", "require_references"]

log = logging.getLogger(__name__)

Normalise = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


@dataclass(eq=False)
class Launcher:
    """Starts the processes of a run, once, however many folds it has.

    Attributes:
        device: auto, cpu or cuda.
        devices: processes, one a device.
    """

    device: str = "auto"
    devices: int = 1
    _fabric: Fabric | None = None

    def fabric(self, precision: str) -> Fabric:
        """Launch, or return what was launched."""
        from synthct.training.launch import make_fabric

        if self._fabric is None:
            self._fabric = make_fabric(self.device, self.devices, precision)
        return self._fabric


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """One call of `synthct train`, or one fold of it.

    Attributes:
        cases: cases of the data set.
        run_dir: model folder to be; checkpoints and logs lie in it too.
        config: the preset's settings, validated by the recipe.
        progress: for bars.
        launcher: starts the processes.
        fold: its number; None where the run is none of several.
        validation: ids that the fold holds out; None leaves it to the preset.
        cache: folder of normalised volumes; None is `run_dir/cache`.
        workers: threads that cut patches.
        max_steps: stop after so many iterations, the schedule staying as planned.
        resume: go on from the checkpoint.
        init: model folder to start from.
        starter: the result is to be marked as starter weights.
        trained_on: what the user wants the model card to say of the data.
        simulated: some of the data are, by their note.
    """

    cases: tuple[CaseFiles, ...]
    run_dir: Path
    config: dict[str, Any]
    progress: Progress
    launcher: Launcher = field(default_factory=Launcher)
    fold: int | None = None
    validation: tuple[str, ...] | None = None
    cache: Path | None = None
    workers: int = 0
    max_steps: int | None = None
    resume: bool = False
    init: Path | None = None
    starter: bool = False
    trained_on: str = ""
    simulated: bool = False

    def fabric(self, precision: str) -> Fabric:
        """Start the run's processes; from here on, this code runs in each of them."""
        return self.launcher.fabric(precision)

    def origin(self, used: int) -> str:
        """What model.json says of the data: the user's words or the number of cases used, and whether simulated."""
        words = self.trained_on or f"{used} case{'' if used == 1 else 's'}"
        return f"{words} (simulated)" if self.simulated else words

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions of the cases, each once."""
        return tuple(sorted({files.region for files in self.cases if files.region is not None}))

    def initial_weights(self, network: str, algorithm: str) -> dict[str, dict[str, Tensor]] | None:
        """Weights to start one network from; None where the run starts from scratch or from its checkpoint.

        Of an ensemble a fold takes its own member: every other has been trained on the cases that it holds out.

        Raises:
            WeightsError: the folder holds no model of the algorithm, or an ensemble without this fold.
        """
        if self.init is None or self.resume:
            return None
        model = open_model(self.init, algorithm=algorithm)
        own = [member for member in model.folds if member.path.name == f"fold_{self.fold}"]
        return {network: load_tensors(own[0] if own else model)}

    def validation_precision(self, training: str) -> Precision:
        """Precision of validation sweeps: that of training, as the engine names it."""
        names: dict[str, Precision] = {"fp32": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
        return names.get(training, "auto")

    def fingerprint(self, config: BaseModel, data: PairedData) -> str:
        """Hash of what a checkpoint must have in common with the run that takes it up: settings and voxels.

        The loop's settings are left out: the checkpoint knows itself which of those may differ.
        """
        cases = [[[case.id, case.digest] for case in part] for part in (data.training, data.validation)]
        content = [config.model_dump(mode="json", exclude={"loop"}), cases]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(
        self, fabric: Fabric, tensors: Mapping[str, Tensor], data: PairedData, *, algorithm: str, config: dict[str, Any]
    ) -> ModelFolder:
        """Write the model folder, from the first process alone; every process gets it."""
        if fabric.is_global_zero:
            save_model(
                self.run_dir,
                dict(tensors),
                half=True,
                algorithm=algorithm,
                tasks=(data.task,),
                regions=data.regions,
                starter=self.starter,
                trained_on=self.origin(len(data.training)),
                config=config,
            )
        fabric.barrier()
        return open_model(self.run_dir)


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

        Raises:
            InputError: a case has no CT, the tasks are mixed, or no training case is left.
        """
        held_out = frozenset(validation if run.validation is None else run.validation)
        files = require_references(tuple(case for case in run.cases if case.id not in excluded))
        if all(case.id in held_out for case in files):
            raise InputError("no training case is left after leaving out validation and test cases")
        folder = run.cache or run.run_dir / "cache"
        cache = VolumeCache(folder, key)
        prepare = partial(_normalise, image=image, reference=reference)
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
        kept = tuple(case for case in cached if case.id in held_out)
        if fabric.is_global_zero:
            judged = f"{len(kept)} to validate on" if kept else "none to validate on: the last weights will be kept"
            log.info("%d cases to train on, %s", len(training), judged)
        return cls(training, kept, files[0].task, tuple(sorted(regions)))


def require_references(cases: tuple[CaseFiles, ...]) -> tuple[CaseFiles, ...]:
    """Return the cases, all of one task and each with its CT.

    Raises:
        InputError: there is no case, one has no CT, or the tasks are mixed.
    """
    if not cases:
        raise InputError("no case to train on is left; expected some that no option and no preset leaves out")
    for files in cases:
        if files.reference is None:
            raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected ct.mha to train on")
    tasks = sorted({str(files.task) for files in cases})
    if len(tasks) != 1:
        raise InputError(f"the training cases mix tasks {', '.join(tasks)}; expected one (--task)")
    return cases


def check_settings(about: About, settings: dict[str, Any]) -> BaseModel:
    """Return settings as an algorithm's recipe takes them, before anything is written.

    Raises:
        UsageError: a key is unknown, or a value does not fit.
    """
    schema: type[BaseModel] = importlib.import_module(f"{about.module}.recipe").SETTINGS
    return parse_settings(schema, settings)


def load_recipe(about: About) -> Callable[[TrainingRun], ModelFolder]:
    """Return the recipe of an algorithm."""
    recipe: Callable[[TrainingRun], ModelFolder] = importlib.import_module(f"{about.module}.recipe").train
    return recipe


def _normalise(case: Case, *, image: Normalise, reference: Normalise) -> PreparedCase:
    if case.reference is None:
        raise InputError(f"case {case.id} has no CT; expected ct.mha to train on")
    return PreparedCase(
        image=image(case.image.voxels), reference=reference(case.reference.voxels), weight=case.mask.voxels
    )


def _name_absent(run: TrainingRun, names: tuple[str, ...]) -> None:
    present = {case.id for case in run.cases}
    absent = sorted(set(names) - present)
    if absent:
        log.info("the preset names cases that the data set does not hold: %s", ", ".join(absent))
