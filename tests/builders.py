"""Small real images and case folders, written by SimpleITK itself and not by the code under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from synthct.volume import Geometry, Volume

__all__ = ["Array", "make_volume", "save_case", "save_image"]

Array = npt.NDArray[Any]
Vector = tuple[float, float, float]

SHAPE = (3, 4, 5)
"""Default shape (z, y, x) of a small image: three different numbers, so that a swapped axis shows."""


def make_volume(voxels: Array, *, spacing: Vector = (1.0, 1.0, 3.0), origin: Vector = (0.0, 0.0, 0.0)) -> Volume:
    """Wrap an array (z, y, x) as a volume."""
    z, y, x = voxels.shape
    return Volume(voxels, Geometry((x, y, z), spacing, origin))


def save_image(
    path: Path, voxels: Array | None = None, *, spacing: Vector = (1.0, 1.0, 3.0), origin: Vector = (0.0, 0.0, 0.0)
) -> Path:
    """Write an image, with the folders above it; ones of int16 where no voxels are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ones(SHAPE, np.int16) if voxels is None else voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path), True)
    return path


def save_case(
    folder: Path, *, suffix: str = ".mha", reference: bool = True, mask: Array | None = None, **more: Array
) -> Path:
    """Write a case folder: mr or cbct as the first character of its name says, mask, and ct unless told not to.

    Each of `more` is another file: its stem and voxels.
    """
    image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    save_image(folder / f"{'mr' if folder.name.startswith('1') else 'cbct'}{suffix}", image)
    save_image(folder / f"mask{suffix}", np.ones(SHAPE, np.uint8) if mask is None else mask)
    if reference:
        save_image(folder / f"ct{suffix}", (image * 10 - 300).astype(np.int16))
    for stem, voxels in more.items():
        save_image(folder / f"{stem}{suffix}", voxels)
    return folder
