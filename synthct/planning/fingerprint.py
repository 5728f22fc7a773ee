"""What a data set is like: spacings, shapes, and the intensities inside the body outlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthct.anatomy import Region, Task
from synthct.dataset import Case, CaseFiles, load_case
from synthct.errors import InputError, UsageError
from synthct.intensity import CaseZScore, ZScore
from synthct.planning.intensities import Intensities

__all__ = ["FIXED_BOUNDS", "PERCENTILES", "Bounds", "Fingerprint", "fingerprint"]

FIXED_BOUNDS = (-1024.0, 3071.0)
"""HU that CT and CBCT are clipped to where nothing else is said (ALGORITHMS 1.2)."""

PERCENTILES = (0.5, 99.5)
"""Of the voxels inside the mask: the bounds of nnU-Net and of the AFP paper (ALGORITHMS 1.2, 2.1)."""

Bounds = Literal["fixed", "percentile"] | tuple[float, float]


class Fingerprint(BaseModel):
    """A data set in figures; all that a plan is made from.

    Attributes:
        task: of all cases.
        regions: those that occur, in the order of `Region`; cases of unknown region add none.
        spacings: of each case, mm, (z, y, x).
        shapes: of each case, voxels, (z, y, x).
        ct: HU of the CTs inside the masks.
        image: MR (scanner units) or CBCT (HU) inside the masks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Task
    regions: tuple[Region, ...]
    spacings: tuple[tuple[float, float, float], ...] = Field(min_length=1)
    shapes: tuple[tuple[int, int, int], ...] = Field(min_length=1)
    ct: Intensities
    image: Intensities

    @model_validator(mode="after")
    def _require_one_shape_a_spacing(self) -> Self:
        if len(self.spacings) != len(self.shapes):
            raise ValueError(f"{len(self.spacings)} spacings and {len(self.shapes)} shapes; expected one each a case")
        if not all(edge > 0 for triple in (*self.spacings, *self.shapes) for edge in triple):
            raise ValueError("a spacing or shape is not above 0")
        return self

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.shapes)

    def ct_z_score(self, bounds: Bounds = "fixed") -> ZScore:
        """Fit the data set's z-score of CT: clipped to the bounds first, then mean and deviation over all masks.

        Args:
            bounds: fixed (FIXED_BOUNDS), percentile (PERCENTILES of the voxels inside the masks), or two HU values.

        Raises:
            UsageError: the lower bound is not below the upper one.
        """
        return self.ct.z_score(*self._limits(self.ct, bounds))

    def image_normalisation(self, bounds: Bounds = "fixed") -> ZScore | CaseZScore:
        """Return the image's normalisation: each MR by itself, CBCT like CT with statistics of its own.

        Raises:
            UsageError: the lower bound is not below the upper one.
        """
        if self.task is Task.MRI:
            return CaseZScore()
        return self.image.z_score(*self._limits(self.image, bounds))

    def _limits(self, intensities: Intensities, bounds: Bounds) -> tuple[float, float]:
        if bounds == "fixed":
            return FIXED_BOUNDS
        if bounds == "percentile":
            return intensities.percentile(PERCENTILES[0]), intensities.percentile(PERCENTILES[1])
        return bounds


def fingerprint(cases: Sequence[CaseFiles], *, advance: Callable[[], None] | None = None) -> Fingerprint:
    """Read a data set case by case; no more than one case is in memory at a time.

    Args:
        cases: with mask and CT, of one task.
        advance: called after each case.

    Returns:
        Figures of all cases; intensities pool the voxels of all masks, so a large patient counts more.

    Raises:
        UsageError: there is no case, or there are cases of both tasks.
        InputError: a case has no CT or no mask, or a file is refused.
    """
    tasks = sorted({files.task for files in cases})
    if len(tasks) != 1:
        found = "cases of mri and of cbct" if tasks else "no case"
        raise UsageError(f"a fingerprint cannot be taken of {found}; expected cases of one task (--task mri or cbct)")
    for files in cases:
        if files.reference is None:
            raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected ct.mha to plan for")
    spacings, shapes = [], []
    ct, image = Intensities(), Intensities()
    for files in cases:
        case = load_case(files)
        spacings.append(case.image.spacing_zyx)
        shapes.append(case.image.geometry.shape)
        of_ct, of_image = _intensities(case)
        ct, image = ct.merged(of_ct), image.merged(of_image)
        if advance is not None:
            advance()
    regions = {files.region for files in cases}
    return Fingerprint(
        task=tasks[0],
        regions=tuple(region for region in Region if region in regions),
        spacings=tuple(spacings),
        shapes=tuple(shapes),
        ct=ct,
        image=image,
    )


def _intensities(case: Case) -> tuple[Intensities, Intensities]:
    """CT and image inside one case's mask."""
    if case.reference is None:
        raise InputError(f"case {case.id} has no CT; expected one to plan for")
    inside = case.mask.voxels > 0
    image = case.image.voxels[inside]
    hu = case.reference.voxels[inside]
    return Intensities.of(np.rint(hu)), Intensities.of(image if case.task is Task.MRI else np.rint(image))
