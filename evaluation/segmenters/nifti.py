"""Volumes as nibabel images in memory, as they would come back from a NIfTI file.

nibabel's own types do not follow through its classes, so its images are passed on as `Any`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from synthct.volume import Volume

__all__ = ["canonical_image", "labels_image", "labels_like", "nifti_image"]


def nifti_image(volume: Volume) -> Any:  # noqa: ANN401
    """Wrap a volume.

    Args:
        volume: voxels (z, y, x), geometry in ITK's LPS.

    Returns:
        float64 image (x, y, z) whose affine leads to RAS, rounded to float32 as a NIfTI file would hold it. For a grid
        along the axes it is that of the file bit for bit. For an oblique grid ITK's writer also makes the direction
        orthogonal again, which moves the last bit. Resampling works with the rounded shape, so that no label changes,
        but for oblique voxels of 3 mm on all axes: there the last bit decides whether they are resampled at all.
    """
    grid = volume.geometry
    affine = np.eye(4)
    # ITK's writer rounds direction and spacing to float32 before it multiplies them.
    direction = np.array(grid.direction, np.float64).reshape(3, 3).astype(np.float32)
    affine[:3, :3] = direction * np.array(grid.spacing, np.float32)
    affine[:3, 3] = np.array(grid.origin, np.float32)
    affine[:2] *= -1
    return _nibabel().Nifti1Image(volume.voxels.T.astype(np.float64), affine)


def canonical_image(image: Any) -> Any:  # noqa: ANN401
    """The same image with its axes flipped and swapped so that they come closest to RAS."""
    return _nibabel().as_closest_canonical(image)


def labels_image(labels: LabelArray, affine: npt.NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Wrap labels (z, y, x) as an image (x, y, z)."""
    return _nibabel().Nifti1Image(labels.T, affine)


def labels_like(canonical: Any, original: Any) -> LabelArray:  # noqa: ANN401
    """Turn labels on the canonical axes back to those of the original image.

    Returns:
        Labels (z, y, x).
    """
    from totalsegmentator.alignment import undo_canonical

    turned: Any = np.asarray(undo_canonical(canonical, original).dataobj)
    return np.ascontiguousarray(turned.T.astype(np.uint8))


def _nibabel() -> Any:  # noqa: ANN401
    return importlib.import_module("nibabel")
