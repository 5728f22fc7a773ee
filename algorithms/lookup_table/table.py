"""The table: bins of input value, each with the median CT value of the training voxels that fell into it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthct.errors import InputError

__all__ = ["TableConfig", "fit_table", "look_up"]

AnyArray = npt.NDArray[np.generic]

HU_FLOOR, HU_CEILING = -1024, 3071
MIN_VOXELS = 50
"""A bin with fewer training voxels than this takes its value from its neighbours by linear interpolation."""


class TableConfig(BaseModel):
    """Bins of input value: `bins` bins of equal width from `low` to `high`; values beyond fall into the outer ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float = 0.0
    high: float = 2000.0
    bins: int = Field(default=250, gt=1)

    @model_validator(mode="after")
    def _require_width(self) -> TableConfig:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self

    def bin_of(self, values: AnyArray) -> npt.NDArray[np.int64]:
        """Return the bin number of each value."""
        scaled = (values.astype(np.float32) - self.low) * (self.bins / (self.high - self.low))
        return np.asarray(np.clip(np.floor(scaled), 0, self.bins - 1), dtype=np.int64)


def fit_table(pairs: Iterable[tuple[AnyArray, AnyArray]], config: TableConfig) -> npt.NDArray[np.float32]:
    """Fit the table: per bin the median over all voxels of all cases, exact to 1 HU.

    Of an even number of voxels it is the lower of the two middle values, so that it is a value that occurs.

    Args:
        pairs: per case the input values and the CT in HU, both of the voxels inside the mask, in one order.
        config: the bins.

    Returns:
        Median HU per bin, shape (bins,).

    Raises:
        InputError: no bin holds enough voxels.
    """
    levels = HU_CEILING - HU_FLOOR + 1
    counts = np.zeros((config.bins, levels), np.int64)
    for image, ct in pairs:
        hu = np.clip(np.rint(ct.astype(np.float32)), HU_FLOOR, HU_CEILING).astype(np.int64) - HU_FLOOR
        joint = np.bincount(config.bin_of(image) * levels + hu, minlength=config.bins * levels)
        counts += joint.reshape(config.bins, levels)
    totals = counts.sum(axis=1)
    filled = np.flatnonzero(totals >= MIN_VOXELS)
    if filled.size == 0:
        raise InputError(f"no input value has {MIN_VOXELS} voxels inside the masks; expected more training data")
    cumulated = counts[filled].cumsum(axis=1)
    medians = (cumulated >= (totals[filled, None] + 1) // 2).argmax(axis=1) + HU_FLOOR
    return np.asarray(np.interp(np.arange(config.bins), filled, medians), dtype=np.float32)


def look_up(image: AnyArray, table: npt.NDArray[np.float32], config: TableConfig) -> npt.NDArray[np.float32]:
    """Translate input values of any shape into HU."""
    return np.asarray(table[config.bin_of(image)], dtype=np.float32)
