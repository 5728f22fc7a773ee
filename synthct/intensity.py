"""Invertible intensity normalisations. What was fitted is saved with the weights, so the inverse is exact."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CasePercentile", "CaseZScore", "LinearScale", "Normalisation", "ZScore", "fit_z_score"]

FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[np.generic]


class LinearScale(BaseModel):
    """Clip to [low, high], then (value - offset) / scale. The inverse undoes the scale; clipping cannot be undone.

    For CT in HU: `LinearScale(low=-1024, high=3071, offset=0, scale=1000)`. For MR on an absolute scale the same with
    MR's bounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["linear"] = "linear"
    low: float
    high: float
    offset: float = 0.0
    scale: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _require_ordered_bounds(self) -> LinearScale:
        _require_ordered(self.low, self.high)
        return self

    def apply(self, values: AnyArray) -> FloatArray:
        """Normalise values of any shape to float32."""
        clipped = np.clip(values.astype(np.float32), self.low, self.high)
        return np.asarray((clipped - np.float32(self.offset)) / np.float32(self.scale), dtype=np.float32)

    def invert(self, values: FloatArray) -> FloatArray:
        """Return normalised values to their unit."""
        return np.asarray(values * np.float32(self.scale) + np.float32(self.offset), dtype=np.float32)


class ZScore(BaseModel):
    """(value - mean) / std, clipped before to [low, high] where these are given."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["z-score"] = "z-score"
    mean: float
    std: float = Field(gt=0)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _require_ordered_bounds(self) -> ZScore:
        _require_ordered(self.low, self.high)
        return self

    def apply(self, values: AnyArray) -> FloatArray:
        """Normalise values of any shape to float32."""
        clipped = values.astype(np.float32)
        if self.low is not None or self.high is not None:
            clipped = np.clip(clipped, self.low, self.high)
        return np.asarray((clipped - np.float32(self.mean)) / np.float32(self.std), dtype=np.float32)

    def invert(self, values: FloatArray) -> FloatArray:
        """Return normalised values to their unit."""
        return np.asarray(values * np.float32(self.std) + np.float32(self.mean), dtype=np.float32)


class CaseZScore(BaseModel):
    """(value - mean) / std of the very volume that is given: for MR, whose unit no two scanners share (ALGORITHMS 1.2).

    Mean and std are over the bounding box of the voxels that are not 0, as nnU-Net's are: how much empty margin a
    registration left must not matter. Nothing is fitted beforehand and nothing kept, so there is no inverse: this is
    for a network's input alone, and no `Normalisation`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["case-z-score"] = "case-z-score"

    def apply(self, values: AnyArray) -> FloatArray:
        """Normalise a whole volume of any shape to float32; a constant or empty one becomes 0."""
        return fit_z_score(values[_bounding_box(values)]).apply(values)


class CasePercentile(BaseModel):
    """Percentiles of the very volume that is given become 0 and 1, and what lies beyond is clipped: for MR (paper 003).

    Counted are positive voxels alone: how much empty margin an image has must not matter. Nothing is kept, so there is
    no inverse: this is for a network's input alone, and no `Normalisation`.

    Attributes:
        lower: percentile that becomes 0; with 0 the least positive value.
        upper: percentile that becomes 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["case-percentile"] = "case-percentile"
    lower: float = Field(default=0.0, ge=0, le=100)
    upper: float = Field(default=99.5, ge=0, le=100)

    @model_validator(mode="after")
    def _require_ordered_bounds(self) -> CasePercentile:
        if not self.lower < self.upper:
            raise ValueError(f"lower {self.lower:g} is not below upper {self.upper:g}")
        return self

    def apply(self, values: AnyArray) -> FloatArray:
        """Normalise a whole volume of any shape to float32 in 0..1; one without two positive values becomes 0."""
        floats = values.astype(np.float32)
        positive = floats[floats > 0]
        if not positive.size:
            return np.zeros(values.shape, dtype=np.float32)
        low, high = (float(bound) for bound in np.percentile(positive.astype(np.float64), (self.lower, self.upper)))
        if not low < high:
            return np.zeros(values.shape, dtype=np.float32)
        scaled = (floats - np.float32(low)) / np.float32(high - low)
        return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)


Normalisation = Annotated[LinearScale | ZScore, Field(discriminator="kind")]
"""Either kind, told apart by `kind`, as model.json holds it."""


def fit_z_score(values: AnyArray, *, low: float | None = None, high: float | None = None) -> ZScore:
    """Fit mean and standard deviation (population) to voxels; a constant image gets std 1.

    Args:
        values: voxels of one case (MR) or of a data set (CT, CBCT), any shape.
        low: clip bound applied before fitting, or None.
        high: the same above.
    """
    sample = values.astype(np.float64)
    if low is not None or high is not None:
        sample = np.clip(sample, low, high)
    first = float(sample.flat[0]) if sample.size else 0.0
    if np.all(sample == first):  # asked like this, since rounding gives a constant image a tiny deviation
        return ZScore(mean=first, std=1.0, low=low, high=high)
    return ZScore(mean=float(sample.mean()), std=float(sample.std()), low=low, high=high)


def _bounding_box(values: AnyArray) -> tuple[slice, ...]:
    """The smallest box that holds all voxels that are not 0; everything where there is none."""
    box = []
    for axis in range(values.ndim):
        used = np.flatnonzero(values.any(axis=tuple(other for other in range(values.ndim) if other != axis)))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(None))
    return tuple(box)


def _require_ordered(low: float | None, high: float | None) -> None:
    if low is not None and high is not None and not low < high:
        raise ValueError(f"low {low:g} is not below high {high:g}")
