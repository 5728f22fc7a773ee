"""Five tissue classes by CT value, for the MAE per tissue and for bone overlap without a network.

The limits in HU, and where they come from:

* fat to soft tissue, -30: the usual range of adipose tissue in CT body composition is -190 to -30 HU and that of muscle
  -29 to 150 HU (tabulated for instance in doi:10.1038/s41598-025-96238-6, table 1; PMC4043057 finds the same
  upper limit, -30 HU, for adipose tissue when partial volume is taken into account).
* soft tissue to bone, 150: the upper end of that muscle range.
* air to fat, -400: inference. Air lies at -1000 and aerated lung mostly below -500; -400 keeps lung with air, and the
  partial-volume voxels from -400 to -190, which belong to no tissue, with fat.
* spongy to compact bone, 600: inference. On a clinical CT the two differ by partial volume alone; published ranges
  overlap, and no single threshold is standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from synthct.errors import InputError
from synthct.volume import Volume

__all__ = [
    "AIR",
    "BONE",
    "COMPACT_BONE",
    "FAT",
    "LOWER_LIMITS",
    "SOFT_TISSUE",
    "SPONGY_BONE",
    "TISSUES",
    "TissueSegmenter",
    "tissue_labels",
]

AIR, FAT, SOFT_TISSUE, SPONGY_BONE, COMPACT_BONE = 1, 2, 3, 4, 5

TISSUES: Mapping[int, str] = MappingProxyType(
    {AIR: "air", FAT: "fat", SOFT_TISSUE: "soft_tissue", SPONGY_BONE: "spongy_bone", COMPACT_BONE: "compact_bone"}
)
"""Name of each label; air includes aerated lung."""

LOWER_LIMITS: Mapping[int, int] = MappingProxyType({FAT: -400, SOFT_TISSUE: -30, SPONGY_BONE: 150, COMPACT_BONE: 600})
"""A class holds the voxels from its limit in HU (included) to that of the next class (excluded); air has none."""

BONE = (SPONGY_BONE, COMPACT_BONE)
"""The labels whose union is bone: every voxel of 150 HU or more."""


def tissue_labels(hu: npt.NDArray[Any], mask: npt.NDArray[Any]) -> LabelArray:
    """Tissue class of every voxel inside a mask.

    Args:
        hu: voxels in HU; any axis order.
        mask: voxels > 0 get a class; same shape.

    Returns:
        Labels of `TISSUES`, 0 outside the mask; all 0 for an empty mask. A class that does not occur is merely absent.

    Raises:
        InputError: shapes that differ, or NaN inside the mask.
    """
    if hu.shape != mask.shape:
        raise InputError(f"expected arrays of one shape, found image {hu.shape}, mask {mask.shape}")
    inside = mask > 0
    if hu.dtype.kind == "f" and np.isnan(hu, where=inside, out=np.zeros(hu.shape, dtype=bool)).any():
        raise InputError("the image holds NaN inside the mask")
    labels = np.ones(hu.shape, dtype=np.uint8)
    for limit in LOWER_LIMITS.values():
        labels += hu >= limit
    labels *= inside
    return labels


class TissueSegmenter:
    """The segmenter interface on `tissue_labels`; it needs no weights."""

    @property
    def name(self) -> str:
        """Name for options and metrics.json."""
        return "tissue"

    @property
    def labels(self) -> Mapping[int, str]:
        """The five tissues."""
        return TISSUES

    @property
    def weights(self) -> str | None:
        """None: thresholds need no weights."""
        return None

    def segment(self, image: Volume, mask: npt.NDArray[Any], *, case: str) -> LabelArray:
        """Tissue classes inside the mask, (z, y, x); see `tissue_labels`."""
        return tissue_labels(image.voxels, mask)

    def segment_reference(self, image: Volume, mask: npt.NDArray[Any], given: Path | None, *, case: str) -> LabelArray:
        """Tissue classes of the CT, (z, y, x); the given file holds other labels and is not looked at."""
        return tissue_labels(image.voxels, mask)
