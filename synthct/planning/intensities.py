"""An exact histogram of intensities: from it follow mean, deviation and percentiles for any clip bounds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthct.errors import UsageError
from synthct.intensity import ZScore

__all__ = ["Intensities"]

SIGNIFICANT_BITS = 14
"""Of a fractional value: a relative error of 6e-5, and few enough different values to keep them all."""

DENSE_RANGE = 1 << 22
"""Range of integers up to which counting is by index; beyond it, by sorting."""

FloatArray = npt.NDArray[np.float64]


class Intensities(BaseModel):
    """How often each intensity occurs. Whole numbers are exact, fractions are rounded to 14 significant bits.

    No voxel at all is allowed; mean, standard deviation, bounds and percentiles are 0 then.

    Attributes:
        values: intensities that occur, rising.
        counts: voxels of each of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    values: tuple[float, ...] = Field(default=(), repr=False)
    counts: tuple[int, ...] = Field(default=(), repr=False)

    @model_validator(mode="after")
    def _require_histogram(self) -> Self:
        values, counts = self._arrays()
        if len(values) != len(counts):
            raise ValueError(f"{len(values)} values and {len(counts)} counts; expected one count a value")
        if (np.diff(values) <= 0).any() or (counts <= 0).any():
            raise ValueError("expected rising values and counts above 0")
        return self

    @classmethod
    def of(cls, voxels: npt.NDArray[Any]) -> Self:
        """Count voxels of any shape; all must be finite."""
        flat = voxels.ravel()
        if flat.size == 0:
            return cls()
        if not np.issubdtype(flat.dtype, np.integer):
            flat = flat.astype(np.float64)
            whole = np.rint(flat)
            if not np.array_equal(whole, flat):
                return cls._counted(_rounded(flat))
            if max(abs(flat.min()), abs(flat.max())) > DENSE_RANGE:
                return cls._counted(flat)
            flat = whole.astype(np.int64)
        low, high = int(flat.min()), int(flat.max())
        if high - low >= DENSE_RANGE:
            return cls._counted(flat)
        counts = np.bincount(flat.astype(np.int64) - low)
        present = np.flatnonzero(counts)
        return cls(values=tuple((present + low).tolist()), counts=tuple(counts[present].tolist()))

    @classmethod
    def _counted(cls, flat: npt.NDArray[Any]) -> Self:
        values, counts = np.unique(flat.astype(np.float64), return_counts=True)
        return cls(values=tuple(values.tolist()), counts=tuple(counts.tolist()))

    def merged(self, other: Intensities) -> Intensities:
        """Return the histogram of both."""
        mine, theirs = self._arrays(), other._arrays()
        values, place = np.unique(np.concatenate([mine[0], theirs[0]]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, place, np.concatenate([mine[1], theirs[1]]))
        return Intensities(values=tuple(values.tolist()), counts=tuple(counts.tolist()))

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Mean intensity."""
        return self._moments(*self._arrays())[0]

    @property
    def std(self) -> float:
        """Standard deviation (population)."""
        return self._moments(*self._arrays())[1]

    @property
    def minimum(self) -> float:
        """Lowest intensity."""
        return self.values[0] if self.values else 0.0

    @property
    def maximum(self) -> float:
        """Highest intensity."""
        return self.values[-1] if self.values else 0.0

    def percentile(self, percent: float) -> float:
        """Intensity below which so many per cent of the voxels lie, linear between neighbours as in NumPy."""
        if not self.values:
            return 0.0
        values, counts = self._arrays()
        last = np.cumsum(counts)
        position = percent / 100 * (int(last[-1]) - 1)
        below = int(position)
        lower = float(values[np.searchsorted(last, below, side="right")])
        upper = float(values[np.searchsorted(last, min(below + 1, int(last[-1]) - 1), side="right")])
        return lower + (upper - lower) * (position - below)

    def z_score(self, low: float, high: float) -> ZScore:
        """Fit mean and deviation to the intensities clipped to [low, high]; std is 1 where that leaves one value.

        Raises:
            UsageError: low is not below high.
        """
        if not low < high:
            raise UsageError(f"clip bounds {low:g} and {high:g} leave nothing between; expected the lower one first")
        values, counts = self._arrays()
        mean, std = self._moments(np.clip(values, low, high), counts)
        return ZScore(mean=mean, std=std if std > 0 else 1.0, low=low, high=high)

    def _arrays(self) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        return np.array(self.values, dtype=np.float64), np.array(self.counts, dtype=np.int64)

    @staticmethod
    def _moments(values: FloatArray, counts: npt.NDArray[np.int64]) -> tuple[float, float]:
        number = int(counts.sum())
        if number == 0:
            return 0.0, 0.0
        # Offsets from one of the values: then a constant image has exactly no deviation.
        offset = values - values[0]
        shift = float(offset @ counts) / number
        spread = float((offset - shift) ** 2 @ counts) / number
        return float(values[0]) + shift, float(np.sqrt(spread))


def _rounded(values: FloatArray) -> FloatArray:
    mantissa, exponent = np.frexp(values)
    digits = np.rint(np.ldexp(mantissa, SIGNIFICANT_BITS))
    return np.asarray(np.ldexp(digits, exponent - SIGNIFICANT_BITS), dtype=np.float64)
