"""Reading a label map on an image's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.segmenters.interface import LabelArray
from synthct.errors import InputError
from synthct.header import read_header, require_size
from synthct.volume import Volume, read_volume, require_same_grid

__all__ = ["LARGEST_LABEL", "read_label_map"]

LARGEST_LABEL = 255
"""Label maps are uint8; TotalSegmentator's labels end at 117."""


def read_label_map(path: Path, image: Volume, *, require_grid: bool = True) -> LabelArray:
    """Read a label map.

    Args:
        path: .mha or .nii.gz; a floating type is accepted as long as all values are whole numbers.
        image: the image that the labels belong to.
        require_grid: refuse another grid of the same size.

    Returns:
        Labels (z, y, x); all 0 for an empty map.

    Raises:
        GeometryError: the file lies on another grid than the image.
        InputError: it cannot be read, or holds fractions or values outside 0 ... `LARGEST_LABEL`.
    """
    require_size(read_header(path), image.geometry.size, of=image.path or Path("its image"))
    labels = read_volume(path)
    if require_grid:
        require_same_grid(image, labels)
    voxels = labels.voxels
    if voxels.dtype.kind == "f" and not np.array_equal(voxels, np.trunc(voxels)):
        raise InputError(f"{path}: holds fractions or NaN; expected whole numbers, one label per voxel")
    smallest, largest = voxels.min(), voxels.max()
    if smallest < 0 or largest > LARGEST_LABEL:
        raise InputError(f"{path}: holds labels from {smallest:g} to {largest:g}; expected 0 to {LARGEST_LABEL}")
    return voxels.astype(np.uint8)
