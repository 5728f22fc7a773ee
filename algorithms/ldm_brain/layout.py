"""Where a head lies for the networks: its spacing, shrunk where it has to fit, and the box around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from algorithms.ldm_brain.tiles import Triple
from synthct.resample import resample_wanted
from synthct.volume import Geometry, Volume

__all__ = ["Layout", "WorkingBox", "fit_scale", "working_spacing"]

Layout = Literal["tiles", "whole", "fit"]
Spacing = tuple[float, float, float]
FloatArray = npt.NDArray[np.float32]

MARGIN = 8
"""Voxels that the box leaves about the mask, where the image has them and, for `fit`, the patch has room."""
SPARE = 2
"""Voxels of the patch that a shrunk head leaves free along each axis: its grid is rounded to whole voxels."""


def fit_scale(mask: Volume, spacing: Spacing, patch: Triple) -> float:
    """The factor by which a head is shrunk along all axes so that the mask's box fits into one patch.

    Args:
        mask: above 0 inside, on any grid.
        spacing: of the model in mm, (z, y, x).
        patch: in voxels, (z, y, x).

    Returns:
        At most 1: nothing is enlarged. 1 for an empty mask.
    """
    box = _bounding_box(mask.voxels > 0)
    extents = [(side.stop - side.start) * own for side, own in zip(box, mask.spacing_zyx, strict=True)]
    rooms = [max(1, edge - SPARE) * wanted for edge, wanted in zip(patch, spacing, strict=True)]
    return min(1.0, *(room / extent if extent else 1.0 for room, extent in zip(rooms, extents, strict=True)))


def working_spacing(mask: Volume, layout: Layout, spacing: Spacing, patch: Triple) -> Spacing:
    """Spacing (z, y, x) in mm that a case is resampled to: the model's, or for `fit` a coarser one of its shape.

    Args:
        mask: as for `fit_scale`.
        layout: `tiles` and `whole` leave the model's spacing.
        spacing: of the model in mm, (z, y, x).
        patch: in voxels, (z, y, x).
    """
    scale = fit_scale(mask, spacing, patch) if layout == "fit" else 1.0
    return spacing[0] / scale, spacing[1] / scale, spacing[2] / scale


@dataclass(frozen=True)
class WorkingBox:
    """A box about the mask on the working grid; it may reach beyond the grid.

    Attributes:
        first: its first voxel on the grid, (z, y, x); may be below 0.
        shape: (z, y, x).
        grid: the whole image's working grid.
    """

    first: Triple
    shape: Triple
    grid: Geometry

    @classmethod
    def about(cls, mask: Volume, grid: Geometry, *, layout: Layout, multiple: int, patch: Triple) -> WorkingBox:
        """Draw the box about all that is wanted of a mask, a margin around it, within the grid where there is room.

        With tiles the margin gives way where the box would exceed the patch by it alone: two cost twice as much as one.

        Args:
            mask: above 0 inside, on its own grid.
            grid: the working grid; a part of the mask that is thinner than its voxels is wanted too.
            layout: for `fit` the box is never larger than the patch: what rounding left outside, a voxel or two at
                the very ends, gets its neighbour's value when the box is brought back.
            multiple: of voxels, that each edge is rounded up to.
            patch: of training, (z, y, x).
        """
        wanted = _bounding_box(resample_wanted(mask, grid))
        (z, depth), (y, height), (x, width) = (
            _side(side, size, multiple, edge, layout)
            for side, size, edge in zip(wanted, grid.shape, patch, strict=True)
        )
        return cls((z, y, x), (depth, height, width), grid)

    @property
    def geometry(self) -> Geometry:
        """The grid of the box itself."""
        spacing = np.array(self.grid.spacing)
        direction = np.array(self.grid.direction).reshape(3, 3)
        origin = np.array(self.grid.origin) + direction @ (spacing * self.first[::-1])
        x, y, z = (float(value) for value in origin)
        return Geometry(self.shape[::-1], self.grid.spacing, (x, y, z), self.grid.direction)

    def cut(self, values: FloatArray) -> FloatArray:
        """The box's part of an array on the grid, float32; 0 beyond the grid."""
        result = np.zeros(self.shape, np.float32)
        source, target = [], []
        for first, edge, size in zip(self.first, self.shape, values.shape, strict=True):
            low, high = max(0, first), min(size, first + edge)
            source.append(slice(low, high))
            target.append(slice(low - first, high - first))
        result[tuple(target)] = values[tuple(source)]
        return result


def _side(wanted: slice, size: int, multiple: int, patch: int, layout: Layout) -> tuple[int, int]:
    """First voxel and edge of the box along one axis."""
    extent = wanted.stop - wanted.start
    useful = max(extent, min(extent + 2 * MARGIN, size))  # beyond the image a margin is 0 and nothing else
    edge = math.ceil(useful / multiple) * multiple
    if layout == "fit" or (layout == "tiles" and extent <= patch):
        edge = min(edge, patch)
    first = wanted.start - (edge - extent) // 2
    if edge <= size:  # move it into the grid: real voxels are better than 0
        first = min(max(first, 0), size - edge)
    return first, edge


def _bounding_box(inside: npt.NDArray[Any]) -> tuple[slice, ...]:
    """The smallest box that holds all True voxels; empty at 0 where there is none."""
    box = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    return tuple(box)
