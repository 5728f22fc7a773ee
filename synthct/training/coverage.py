"""Where a scan holds data at all: fields of view end inside a volume once it was moved onto another grid.

Voxels without data hold one value. A metric that takes them for air sees a false outline, and a shift along the
limb's axis then looks better or worse than it is: this alone moved the found motion by up to 10 mm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, binary_opening, distance_transform_edt, label

__all__ = ["covered_voxels", "fill_uncovered", "shrunk"]

FLAT_BLOCKS = ((1, 5, 5), (5, 1, 5), (5, 5, 1))
"""Voxels (z, y, x) of one value that make a place without data: noise of real air hardly gives that many, and a strip
of one voxel at any face of the volume is found."""

SUPPRESSED_SHARE = 0.9
"""A scan that is flat in more than this share of the air around the body had its background set to one value: then flat
means air, not missing data."""

AIR_HU = -300.0

Mask = npt.NDArray[np.bool_]
Voxels = npt.NDArray[Any]


def covered_voxels(voxels: Voxels, ct: Voxels) -> Mask:
    """Find the voxels of a scan that hold data.

    Args:
        voxels: the scan, (z, y, x): MR, CBCT or CT.
        ct: CT in HU on the same grid, which tells where air is.

    Returns:
        bool, False in flat pieces at the scan's lowest value that reach a face of the volume. All True where the whole
        background is flat.
    """
    lowest = voxels == voxels.min()
    flat = np.zeros(voxels.shape, bool)
    for block in FLAT_BLOCKS:
        flat |= binary_opening(lowest, np.ones(block, bool))
    flat = _at_the_faces(flat)
    air = ct < AIR_HU
    if air.any() and flat[air].mean() > SUPPRESSED_SHARE:
        return np.ones(voxels.shape, bool)
    return np.asarray(~flat)


def fill_uncovered(voxels: Voxels, covered: Mask, spacing_zyx: tuple[float, float, float]) -> Voxels:
    """Give voxels without data the value of the nearest one that has data, so that smoothing blends nothing in.

    Returns:
        The array itself where all or none of it is covered.
    """
    if covered.all() or not covered.any():
        return voxels
    nearest = distance_transform_edt(~covered, sampling=spacing_zyx, return_distances=False, return_indices=True)
    return np.asarray(voxels[tuple(nearest)])


def _at_the_faces(flat: Mask) -> Mask:
    """Keep the pieces that reach a face of the volume: a field of view ends there, a sinus or a dense bone does not."""
    pieces, count = label(flat)
    faces = [np.take(pieces, end, axis=axis).ravel() for axis in range(3) for end in (0, -1)]
    reaching = np.zeros(count + 1, bool)
    reaching[np.unique(np.concatenate(faces))] = True
    reaching[0] = False
    return np.asarray(reaching[pieces])


def shrunk(covered: Mask) -> Mask:
    """Take one voxel off a field of view's edge, where resampling blended data with fill; the volume's faces stay."""
    return np.asarray(binary_erosion(covered, np.ones((3, 3, 3), bool), border_value=1))
