"""Label maps kept on disk, found again by the content of the image and of the weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evaluation.segmenters.interface import LabelArray
from evaluation.segmenters.label_map import read_label_map
from synthct.errors import InputError
from synthct.volume import Volume, write_volume

__all__ = ["PIPELINE_VERSION", "cache_key", "cached_labels"]

PIPELINE_VERSION = 1
"""Goes up whenever the way from an image to its labels changes, so that older files are not found any more."""


def cache_key(image: Volume, *, name: str, weights: str | None) -> str:
    """Key of a label map: sha256 in hexadecimal over voxels, their type and shape, the grid, and the segmenter.

    Args:
        image: voxels (z, y, x); the file they came from does not count.
        name: of the segmenter.
        weights: of the segmenter.
    """
    grid = image.geometry
    numbers = [float(value).hex() for value in (*grid.spacing, *grid.origin, *grid.direction)]
    voxels = np.ascontiguousarray(image.voxels)
    head = (PIPELINE_VERSION, name, weights, voxels.dtype.str, voxels.shape, numbers)
    digest = hashlib.sha256(repr(head).encode())
    digest.update(voxels.data)
    return digest.hexdigest()


def cached_labels(
    folder: Path | None, image: Volume, compute: Callable[[], LabelArray], *, name: str, weights: str | None
) -> LabelArray:
    """Take the labels of an image from the cache, or compute and keep them.

    Args:
        folder: of the cache, made where it is missing; None computes without one.
        image: voxels (z, y, x) in HU.
        compute: gives the labels (z, y, x).
        name: of the segmenter.
        weights: of the segmenter.

    Returns:
        The labels (z, y, x). A damaged file is computed anew, with a warning.

    Raises:
        OutputError: the folder cannot be written to.
    """
    if folder is None:
        return compute()
    path = folder / f"{cache_key(image, name=name, weights=weights)}.mha"
    if path.is_file():
        try:
            return read_label_map(path, image)
        except InputError as error:
            warnings.warn(f"damaged cache file, computed anew: {error}", stacklevel=2)
    labels = compute()
    write_volume(image.with_voxels(labels), path)
    return labels
