"""Volumes small enough to stand inside a page: cut to the body, averaged in blocks, int16, gzip, base64."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.report.nifti import nifti_bytes
from synthct.volume import Geometry

__all__ = ["PAGE_LIMIT", "VOXEL_LIMIT", "Preview", "Previews", "make_previews"]

PAGE_LIMIT = 6 << 20
"""Bytes that the packed volumes of one page may have together."""
VOXEL_LIMIT = 128**3
"""Voxels that a volume of a page may have; what is above is not tried."""
MARGIN = 4
"""Voxels kept about the body."""

Array = npt.NDArray[np.generic]
Factors = tuple[int, int, int]


@dataclass(frozen=True)
class Preview:
    """One volume for the viewer: int16 (z, y, x), and a gzipped NIfTI of it in base64."""

    voxels: npt.NDArray[np.int16]
    packed: str


@dataclass(frozen=True)
class Previews:
    """All volumes of a page on one grid.

    Attributes:
        volumes: by name, in the order given.
        geometry: their grid.
        factors: voxels of the original along z, y, x that became one.
        whole: nothing was cut and nothing averaged.
    """

    volumes: Mapping[str, Preview]
    geometry: Geometry
    factors: Factors
    whole: bool

    @property
    def size(self) -> int:
        """Bytes of base64 together."""
        return sum(len(volume.packed) for volume in self.volumes.values())


def make_previews(
    volumes: Mapping[str, Array], inside: npt.NDArray[np.bool_], geometry: Geometry, *, full: bool = False
) -> Previews:
    """Make the volumes of a page.

    Args:
        volumes: by name; numbers of one shape (z, y, x), rounded to whole ones.
        inside: the body, same shape; what is farther than a few voxels from it is cut off.
        geometry: their grid.
        full: neither cut nor averaged, whatever the size.

    Returns:
        Volumes whose base64 is at most PAGE_LIMIT together, unless `full`.
    """
    if full:
        packed = {name: _pack(values, geometry) for name, values in volumes.items()}
        return Previews(packed, geometry, (1, 1, 1), whole=True)
    box = _box(inside)
    cut = {name: values[box] for name, values in volumes.items()}
    corner = _moved(geometry, (box[0].start, box[1].start, box[2].start), (1, 1, 1))
    shape = next(iter(cut.values())).shape
    spacing = geometry.spacing_zyx
    factors = _factors_for(shape, spacing, VOXEL_LIMIT, (1, 1, 1))
    while True:
        small = {name: _block_means(values, factors) for name, values in cut.items()}
        size = next(iter(small.values())).shape
        grid = _moved(corner, (0, 0, 0), factors, size)
        previews = Previews(
            {name: _pack(values, grid) for name, values in small.items()},
            grid,
            factors,
            whole=factors == (1, 1, 1) and shape == inside.shape,
        )
        if previews.size <= PAGE_LIMIT or max(size) <= 2:
            return previews
        fitting = math.prod(size) * PAGE_LIMIT / previews.size  # packing is slow: go near to what fits in one step
        factors = _factors_for(shape, spacing, max(1.0, 1.1 * fitting), _coarser(factors, size, spacing))


def _box(inside: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    found = []
    for axis in range(3):
        places = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = (int(places[0]), int(places[-1]) + 1) if places.size else (0, inside.shape[axis])
        found.append(slice(max(0, low - MARGIN), min(inside.shape[axis], high + MARGIN)))
    return found[0], found[1], found[2]


def _factors_for(shape: tuple[int, ...], spacing: tuple[float, float, float], voxels: float, start: Factors) -> Factors:
    """The first factors from `start` on that leave at most so many voxels, or one of them along each axis."""
    factors = start
    while True:
        size = tuple(math.ceil(count / factor) for count, factor in zip(shape, factors, strict=True))
        if math.prod(size) <= voxels or max(size) <= 1:
            return factors
        factors = _coarser(factors, size, spacing)


def _coarser(factors: Factors, size: tuple[int, ...], spacing: tuple[float, float, float]) -> Factors:
    """Average more along the axis whose voxels are the shortest, so that they stay near to cubes."""
    lengths = [
        factor * step if count > 1 else math.inf for factor, step, count in zip(factors, spacing, size, strict=True)
    ]
    axis = lengths.index(min(lengths))
    found = [factor + (place == axis) for place, factor in enumerate(factors)]
    return found[0], found[1], found[2]


def _block_means(values: Array, factors: Factors) -> npt.NDArray[np.float32]:
    """Means of blocks; a block that reaches over the edge has the mean of the part inside."""
    found = values.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, found.shape[axis], factor)
            counts = np.diff(np.append(starts, found.shape[axis]))
            shape = [1, 1, 1]
            shape[axis] = -1
            found = (np.add.reduceat(found, starts, axis=axis) / counts.reshape(shape)).astype(np.float32)
    return found


def _moved(
    geometry: Geometry, start: tuple[int, ...], factors: Factors, size: tuple[int, ...] | None = None
) -> Geometry:
    """The grid whose first voxel is at an index (z, y, x), and whose voxels are blocks of so many."""
    offset = [first + (factor - 1) / 2 for first, factor in zip(start, factors, strict=True)][::-1]
    matrix = np.array(geometry.direction).reshape(3, 3) * np.array(geometry.spacing)
    origin = np.array(geometry.origin) + matrix @ np.array(offset)
    spacing = [step * factor for step, factor in zip(geometry.spacing, factors[::-1], strict=True)]
    counts = size if size is not None else geometry.shape
    return Geometry(
        (counts[2], counts[1], counts[0]),
        (spacing[0], spacing[1], spacing[2]),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        geometry.direction,
    )


def _pack(values: Array, geometry: Geometry) -> Preview:
    limits = np.iinfo(np.int16)
    voxels = np.clip(np.rint(values.astype(np.float32)), limits.min, limits.max).astype(np.int16)
    packed = base64.b64encode(gzip.compress(nifti_bytes(voxels, geometry), 6, mtime=0)).decode()
    return Preview(voxels, packed)
