"""TotalSegmentator's labels, grouped into the compact extractor's six (ALGORITHMS 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError

__all__ = ["COMPACT_LABELS", "TISSUE_GROUPS", "TOTAL_GROUPS", "group_labels"]

COMPACT_LABELS: Mapping[int, str] = MappingProxyType(
    {1: "organs", 2: "cardiac", 3: "muscles", 4: "bones", 5: "ribs", 6: "vertebrae"}
)
"""The network's classes; 0 is the background. Cardiac is the heart with the great vessels."""


_ORGANS = (*range(1, 25), 79, 90)
_CARDIAC = range(51, 69)
_MUSCLES = range(80, 90)
_BONES = (25, *range(69, 79), 91)
_RIBS = range(92, 118)
_VERTEBRAE = range(26, 51)

TOTAL_GROUPS: Mapping[int, int] = MappingProxyType(
    {
        label: group
        for group, members in enumerate((_ORGANS, _CARDIAC, _MUSCLES, _BONES, _RIBS, _VERTEBRAE), start=1)
        for label in members
    }
)
"""Label 1 ... 117 of TotalSegmentator v2, task "total", to our class.

The six groups are the published ones; which label is in which is inference where the names do not say: spinal cord and
brain are organs, sacrum and skull bones, S1 a vertebra, sternum and costal cartilages ribs.
"""

TISSUE_GROUPS: Mapping[int, int] = MappingProxyType({1: 0, 2: 0, 3: 3, 4: 4, 5: 4})
"""The tissue judge's classes (air, fat, soft tissue, spongy and compact bone) to ours, where nothing better is known.

All soft tissue counts as muscle and all bone as bones: true enough of a limb, of no other region.
"""


def group_labels(labels: npt.NDArray[Any], groups: Mapping[int, int], where: str) -> npt.NDArray[np.uint8]:
    """Map a label map to our classes.

    Args:
        labels: whole numbers, any shape; 0 stays 0.
        groups: class of each label.
        where: the file, for messages.

    Raises:
        InputError: a label is in no group.
    """
    present = [int(label) for label in np.unique(labels) if label != 0]
    unknown = [label for label in present if label not in groups]
    if unknown:
        raise InputError(f"{where}: holds label {unknown[0]}; expected labels from {min(groups)} to {max(groups)}")
    grouped = np.zeros(labels.shape, dtype=np.uint8)
    for label in present:
        grouped[labels == label] = groups[label]
    return grouped
