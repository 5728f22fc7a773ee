"""The coordinates that shapes are evaluated on: one slab of a volume, in mm, after the body's pose and warp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthct.phantom.waves import FloatArray, WaveField

__all__ = ["Box", "Grid", "Pose", "Window", "slabs"]

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lowest and highest corner, each (x, y, z) in mm."""

Window = tuple[slice, slice, slice]

_SLAB_VOXELS = 1_000_000


@dataclass(frozen=True)
class Pose:
    """How one patient differs from the drawing board: size, position on the table and the irregularity of nature.

    Attributes:
        scale: size of the body relative to the drawing, along x, y, z.
        turn: rotation about the long axis in degrees.
        lean: sideways drift in mm per mm of height.
        bend: mm of low-frequency displacement in x and y.
        bends: the two fields that displace x and y.
        relief: the field that roughens boundaries (waves of some 30 mm).
        folds: the field that folds boundaries (waves of some 14 mm).
    """

    scale: tuple[float, float, float]
    turn: float
    lean: float
    bend: float
    bends: tuple[WaveField, WaveField]
    relief: WaveField
    folds: WaveField

    @classmethod
    def draw(cls, rng: np.random.Generator, *, bend: float, wavelength: float) -> Pose:
        """Draw a pose; bends have waves of `wavelength` to twice that, in mm."""
        scale = rng.uniform(0.96, 1.04, size=3)
        return cls(
            scale=(float(scale[0]), float(scale[1]), float(scale[2])),
            turn=float(rng.uniform(-2.5, 2.5)),
            lean=float(rng.uniform(-0.03, 0.03)),
            bend=bend,
            bends=(
                WaveField.draw(rng, wavelength, 2 * wavelength, count=5),
                WaveField.draw(rng, wavelength, 2 * wavelength, count=5),
            ),
            relief=WaveField.draw(rng, 24, 50),
            folds=WaveField.draw(rng, 11, 18),
        )


@dataclass(frozen=True)
class Grid:
    """Part of a volume as the shapes see it.

    Attributes:
        axes: x, y, z of the voxel centres in mm before bending, for finding windows.
        x: bent x per voxel, (z, y, x).
        y: bent y per voxel.
        z: height per slice, (z, 1, 1); height is never bent, so that what runs along z stays cheap to draw.
        relief: boundary roughness per voxel.
        folds: boundary folding per voxel.
        slack: largest distance in mm by which any voxel is bent.
    """

    axes: tuple[FloatArray, FloatArray, FloatArray]
    x: FloatArray
    y: FloatArray
    z: FloatArray
    relief: FloatArray
    folds: FloatArray
    slack: float

    @classmethod
    def posed(cls, pose: Pose, x: FloatArray, y: FloatArray, z: FloatArray) -> Grid:
        """Build the grid of the voxel centres `x`, `y`, `z` (mm from the body's centre) for a pose."""
        x, y, z = (axis / np.float32(factor) for axis, factor in zip((x, y, z), pose.scale, strict=True))
        plane_x, plane_y = x[None, None, :], y[None, :, None]
        height = z[:, None, None]
        sine, cosine = np.float32(np.sin(np.radians(pose.turn))), np.float32(np.cos(np.radians(pose.turn)))
        bent_x = np.float32(pose.bend) * pose.bends[0].sample(x, y, z)
        bent_x += cosine * plane_x - sine * plane_y + np.float32(pose.lean) * height
        bent_y = np.float32(pose.bend) * pose.bends[1].sample(x, y, z)
        bent_y += sine * plane_x + cosine * plane_y
        slack = max(float(np.abs(bent_x - plane_x).max()), float(np.abs(bent_y - plane_y).max()))
        relief, folds = pose.relief.sample(x, y, z), pose.folds.sample(x, y, z)
        return cls((x, y, z), bent_x, bent_y, height, relief, folds, slack)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the slab, (z, y, x)."""
        return (self.axes[2].size, self.axes[1].size, self.axes[0].size)

    def window(self, box: Box) -> Window | None:
        """Return the slices (z, y, x) that hold every voxel which may lie in `box`, or None where there is none."""
        found: list[slice] = []
        for axis, low, high, slack in zip(self.axes, *box, (self.slack, self.slack, 0.0), strict=True):
            start = int(np.searchsorted(axis, low - slack, side="left"))
            stop = int(np.searchsorted(axis, high + slack, side="right"))
            if start >= stop:
                return None
            found.append(slice(start, stop))
        return (found[2], found[1], found[0])

    def crop(self, window: Window) -> Grid:
        """Return the part of this grid inside `window`, without copying."""
        along_z, along_y, along_x = window
        return Grid(
            (self.axes[0][along_x], self.axes[1][along_y], self.axes[2][along_z]),
            self.x[window],
            self.y[window],
            self.z[along_z],
            self.relief[window],
            self.folds[window],
            self.slack,
        )


def slabs(size: tuple[int, int, int]) -> Iterator[slice]:
    """Cut a volume of `size` (x, y, z) along z so that the memory for coordinates does not grow with its height."""
    depth = max(1, _SLAB_VOXELS // (size[0] * size[1]))
    for start in range(0, size[2], depth):
        yield slice(start, min(start + depth, size[2]))
