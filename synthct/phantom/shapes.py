"""Shapes as level functions: about the distance to the surface in mm, negative inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthct.phantom.grid import Box, Grid
from synthct.phantom.waves import FloatArray

__all__ = ["Capsule", "Column", "Ellipsoid", "HalfSpace", "Plate", "Point", "Shape"]

Point = tuple[float, float, float]

_FAR = 1e4
_EVERYWHERE: Box = ((-_FAR, -_FAR, -_FAR), (_FAR, _FAR, _FAR))


class Shape(ABC):
    """A region of space."""

    @property
    @abstractmethod
    def bounds(self) -> Box:
        """A box that holds the shape."""

    @abstractmethod
    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm at each voxel of `grid`, negative inside."""


@dataclass(frozen=True)
class Ellipsoid(Shape):
    """An ellipsoid; `turn` is its rotation about x, y, z in degrees, applied in that order."""

    centre: Point
    radii: Point
    turn: Point = (0.0, 0.0, 0.0)

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        reach = self.radii if self.turn == (0.0, 0.0, 0.0) else (max(self.radii),) * 3
        return _around(self.centre, reach)

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        x, y, z = (got - np.float32(at) for got, at in zip((grid.x, grid.y, grid.z), self.centre, strict=True))
        if self.turn != (0.0, 0.0, 0.0):
            rows = _rotation(self.turn).astype(np.float32)
            x, y, z = (row[0] * x + row[1] * y + row[2] * z for row in rows)
        u, v, w = (part / np.float32(radius) for part, radius in zip((x, y, z), self.radii, strict=True))
        inner = np.sqrt(u * u + v * v + w * w)
        u, v, w = (part / np.float32(radius) for part, radius in zip((u, v, w), self.radii, strict=True))
        slope = np.sqrt(u * u + v * v + w * w)
        # The first-order distance; at the very centre both terms vanish and the smallest radius is the answer.
        level: FloatArray = np.where(
            slope > 1e-6, inner * (inner - 1) / np.maximum(slope, 1e-6), -np.float32(min(self.radii))
        )
        return level


@dataclass(frozen=True)
class Column(Shape):
    """What runs along z: a cross-section whose place and size change with height.

    Attributes:
        heights: z in mm of the given cross-sections, rising; above and below them the last one goes on.
        centres: (x, y) per height.
        radii: half axes (x, y) per height.
        power: 2 for an ellipse, more for a box with round corners.
        lobes: number of corners (3: a rounded triangle), of relative height `lobe`, the first at `lobe_angle` degrees
            from +x towards +y.
        ends: the lowest and highest z, cut flat.
    """

    heights: Sequence[float]
    centres: Sequence[tuple[float, float]]
    radii: Sequence[tuple[float, float]]
    power: float = 2.0
    lobes: int = 0
    lobe: float = 0.0
    lobe_angle: float = 0.0
    ends: tuple[float, float] = (-_FAR, _FAR)

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        # 1.1: a smooth curve through the cross-sections may overshoot the largest of them.
        reach = 1.1 * (1 + abs(self.lobe))
        low = [min(c[i] - reach * r[i] for c, r in zip(self.centres, self.radii, strict=True)) for i in (0, 1)]
        high = [max(c[i] + reach * r[i] for c, r in zip(self.centres, self.radii, strict=True)) for i in (0, 1)]
        return ((low[0], low[1], self.ends[0]), (high[0], high[1], self.ends[1]))

    def section(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return centre x, centre y, half axis x and half axis y at each height of `z`."""
        centre_x, centre_y = (_smooth(z, self.heights, [c[i] for c in self.centres]) for i in (0, 1))
        radius_x, radius_y = (_smooth(z, self.heights, [r[i] for r in self.radii]) for i in (0, 1))
        return centre_x, centre_y, radius_x, radius_y

    def surface_point(self, degrees: float, z: float, *, depth: float = 0.0) -> Point:
        """Return the point `depth` mm below the surface at height `z`, `degrees` from the back (+y) towards +x."""
        centre_x, centre_y, radius_x, radius_y = (
            float(value[0]) for value in self.section(np.array([z], dtype=np.float32))
        )
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        across = np.sign(sine) * abs(sine) ** (2 / self.power) * (radius_x - depth)
        down = np.sign(cosine) * abs(cosine) ** (2 / self.power) * (radius_y - depth)
        return (centre_x + float(across), centre_y + float(down), z)

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        centre_x, centre_y, radius_x, radius_y = self.section(grid.z)
        x, y = grid.x - centre_x, grid.y - centre_y
        u, v = x / radius_x, y / radius_y
        if self.power == 2.0:
            inner = np.sqrt(u * u + v * v)
        else:
            power = np.float32(self.power)
            inner = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
        if self.lobes:
            angle = np.arctan2(y, x) - np.float32(np.radians(self.lobe_angle))
            inner /= 1 + np.float32(self.lobe) * np.cos(self.lobes * angle)
        inner = np.maximum(inner, np.float32(1e-4))
        radius = np.maximum(np.sqrt(x * x + y * y), np.float32(1e-4) * np.float32(max(map(max, self.radii))))
        level: FloatArray = radius * (1 - 1 / inner)
        if self.ends != (-_FAR, _FAR):
            level = np.maximum(level, np.maximum(self.ends[0] - grid.z, grid.z - self.ends[1]))
        return level


@dataclass(frozen=True)
class Capsule(Shape):
    """A rod from `start` to `stop` with round ends; `tall` > 1 makes its cross-section higher (z) than wide."""

    start: Point
    stop: Point
    radii: tuple[float, float]
    tall: float = 1.0

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        reach = max(self.radii)
        low, high = np.minimum(self.start, self.stop), np.maximum(self.start, self.stop)
        rise = reach * self.tall
        return (
            (float(low[0]) - reach, float(low[1]) - reach, float(low[2]) - rise),
            (float(high[0]) + reach, float(high[1]) + reach, float(high[2]) + rise),
        )

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        flat = np.array([1.0, 1.0, 1.0 / self.tall])
        start = (np.asarray(self.start) * flat).astype(np.float32)
        along = (np.asarray(self.stop) * flat).astype(np.float32) - start
        x, y, z = grid.x - start[0], grid.y - start[1], grid.z * np.float32(flat[2]) - start[2]
        length = np.float32(max(float(along @ along), 1e-6))
        share = np.clip((x * along[0] + y * along[1] + z * along[2]) / length, 0, 1)
        x, y, z = x - share * along[0], y - share * along[1], z - share * along[2]
        radius = np.float32(self.radii[0]) + share * np.float32(self.radii[1] - self.radii[0])
        level: FloatArray = np.sqrt(x * x + y * y + z * z) - radius
        return level


@dataclass(frozen=True)
class Plate(Shape):
    """A flat bone: everything within `thickness` mm of a triangle."""

    corners: tuple[Point, Point, Point]
    thickness: float

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        low, high = np.min(self.corners, axis=0), np.max(self.corners, axis=0)
        return _around(tuple((low + high) / 2), tuple((high - low) / 2 + self.thickness))

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        corners = np.asarray(self.corners, dtype=np.float64)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal /= np.linalg.norm(normal)
        height = np.abs(_along(grid, corners[0], normal))
        beyond: FloatArray | None = None
        edges: FloatArray | None = None
        for first, second in ((0, 1), (1, 2), (2, 0)):
            a, b = corners[first], corners[second]
            outward = np.cross(b - a, normal)
            side = _along(grid, a, outward)
            beyond = side if beyond is None else np.maximum(beyond, side)
            rod = Capsule(tuple(a), tuple(b), (0.0, 0.0)).level(grid)
            edges = rod if edges is None else np.minimum(edges, rod)
        if beyond is None or edges is None:  # a triangle has edges; this is for the type checker
            return height
        return np.where(beyond < 0, height, edges) - np.float32(self.thickness)


@dataclass(frozen=True)
class HalfSpace(Shape):
    """All points on the far side of a plane: those that `normal` points to."""

    point: Point
    normal: Point

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _EVERYWHERE

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        normal = np.asarray(self.normal, dtype=np.float64)
        return -_along(grid, np.asarray(self.point), normal / np.linalg.norm(normal))


def _around(centre: Sequence[float], reach: Sequence[float]) -> Box:
    return (
        (float(centre[0] - reach[0]), float(centre[1] - reach[1]), float(centre[2] - reach[2])),
        (float(centre[0] + reach[0]), float(centre[1] + reach[1]), float(centre[2] + reach[2])),
    )


def _along(grid: Grid, origin: npt.NDArray[np.float64], axis: npt.NDArray[np.float64]) -> FloatArray:
    """Return the coordinate of each voxel along `axis`, counted from `origin`."""
    offset = np.float32(origin @ axis)
    step = axis.astype(np.float32)
    coordinate: FloatArray = grid.x * step[0] + grid.y * step[1] + (grid.z * step[2] - offset)
    return coordinate


def _rotation(turn: Point) -> npt.NDArray[np.float64]:
    """Return the matrix that takes a point into the frame of a shape turned about x, y, z (degrees)."""
    matrix = np.eye(3)
    for axis, degrees in enumerate(turn):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        first, second = [i for i in range(3) if i != axis]
        step = np.eye(3)
        step[first, first] = step[second, second] = cosine
        step[first, second], step[second, first] = sine, -sine
        matrix = step @ matrix
    return matrix


def _smooth(z: FloatArray, knots: Sequence[float], values: Sequence[float]) -> FloatArray:
    """Interpolate `values` at height z by a cubic that is smooth at the knots and constant beyond the last ones."""
    if len(knots) == 1:
        return np.full_like(z, values[0])
    at, value = np.asarray(knots, dtype=np.float64), np.asarray(values, dtype=np.float64)
    tangent = np.gradient(value, at)
    tangent[0] = tangent[-1] = 0.0
    inside = np.clip(z.astype(np.float64), at[0], at[-1])
    index = np.clip(np.searchsorted(at, inside, side="right") - 1, 0, len(at) - 2)
    width = at[index + 1] - at[index]
    t = (inside - at[index]) / width
    start = (1 + 2 * t) * (1 - t) ** 2 * value[index] + t * (1 - t) ** 2 * width * tangent[index]
    stop = t * t * (3 - 2 * t) * value[index + 1] + t * t * (t - 1) * width * tangent[index + 1]
    return (start + stop).astype(np.float32)
