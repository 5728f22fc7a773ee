"""Shapes made from shapes: unions, intersections, differences, insets and rough surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthct.phantom.grid import Box, Grid
from synthct.phantom.shapes import Capsule, Point, Shape
from synthct.phantom.waves import FloatArray

__all__ = ["Blend", "Difference", "Inset", "Intersection", "Rough", "Septa", "Union", "tube"]


@dataclass(frozen=True)
class Union(Shape):
    """What lies in any of the parts; each part is evaluated in its own box only."""

    parts: Sequence[Shape]

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _merge([part.bounds for part in self.parts], outer=True)

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        level = np.full(grid.shape, 1e3, dtype=np.float32)
        for part in self.parts:
            window = grid.window(part.bounds)
            if window is not None:
                level[window] = np.minimum(level[window], part.level(grid.crop(window)))
        return level


@dataclass(frozen=True)
class Intersection(Shape):
    """What lies in all of the parts."""

    parts: Sequence[Shape]

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _merge([part.bounds for part in self.parts], outer=False)

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        level = self.parts[0].level(grid)
        for part in self.parts[1:]:
            level = np.maximum(level, part.level(grid))
        return level


@dataclass(frozen=True)
class Difference(Shape):
    """What lies in `whole` but not in `hole`, keeping `gap` mm from it."""

    whole: Shape
    hole: Shape
    gap: float = 0.0

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return self.whole.bounds

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        level: FloatArray = np.maximum(self.whole.level(grid), np.float32(self.gap) - self.hole.level(grid))
        return level


@dataclass(frozen=True)
class Blend(Shape):
    """A union whose seam is rounded over `width` mm, as skin rounds the step from neck to jaw."""

    first: Shape
    second: Shape
    width: float

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _grown(_merge([self.first.bounds, self.second.bounds], outer=True), self.width)

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        first, second = self.first.level(grid), self.second.level(grid)
        share = np.clip(0.5 + 0.5 * (second - first) / np.float32(self.width), 0, 1)
        level: FloatArray = second + (first - second) * share - np.float32(self.width) * share * (1 - share)
        return level


@dataclass(frozen=True)
class Inset(Shape):
    """The part of a shape that lies deeper than `depth` mm; a negative depth adds that much around it."""

    shape: Shape
    depth: float

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _grown(self.shape.bounds, max(-self.depth, 0.0))

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        return self.shape.level(grid) + np.float32(self.depth)


@dataclass(frozen=True)
class Rough(Shape):
    """A shape whose surface wavers by `relief` mm over centimetres and by `folds` mm over millimetres.

    All shapes of a body share the two fields, so nested surfaces waver together and stay nested.
    """

    shape: Shape
    relief: float
    folds: float = 0.0

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return _grown(self.shape.bounds, 2 * (abs(self.relief) + abs(self.folds)))  # a field reaches 2

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        level = self.shape.level(grid) + np.float32(self.relief) * grid.relief
        return level + np.float32(self.folds) * grid.folds if self.folds else level


@dataclass(frozen=True)
class Septa(Shape):
    """Thin walls between muscles: where the two nearest of some vertical axes are almost equally near.

    Attributes:
        axes: (x, y) of one axis per muscle.
        width: thickness of the walls in mm.
        spread: how much the axes drift apart per mm of height.
    """

    axes: Sequence[tuple[float, float]]
    width: float
    spread: float = 0.0

    @property
    def bounds(self) -> Box:
        """A box that holds the shape."""
        return ((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))

    def level(self, grid: Grid) -> FloatArray:
        """Return about the distance to the surface in mm, negative inside."""
        nearest = np.full(grid.shape, 1e6, dtype=np.float32)
        second = nearest.copy()
        for index, (x, y) in enumerate(self.axes):
            # Alternate axes drift outwards and inwards, so that the pattern changes from slice to slice.
            factor = 1 + np.float32(self.spread * (-1) ** index) * grid.z
            across, down = grid.x - x * factor, grid.y - y * factor
            distance = np.sqrt(across * across + down * down)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
        # Walls thicken and vanish with the folds, as fat between real muscles does.
        return second - nearest - np.float32(self.width) * (1 + np.float32(0.8) * grid.folds)


def tube(points: Sequence[Point], radii: Sequence[float] | float, *, tall: float = 1.0) -> Union:
    """Return a tube through `points` with one radius for all or one per point."""
    sizes = [radii] * len(points) if isinstance(radii, (int, float)) else list(radii)
    return Union(
        [
            Capsule(points[i], points[i + 1], (float(sizes[i]), float(sizes[i + 1])), tall)
            for i in range(len(points) - 1)
        ]
    )


def _grown(box: Box, reach: float) -> Box:
    low, high = box
    return (
        (low[0] - reach, low[1] - reach, low[2] - reach),
        (high[0] + reach, high[1] + reach, high[2] + reach),
    )


def _merge(boxes: Sequence[Box], *, outer: bool) -> Box:
    lows, highs = np.array([box[0] for box in boxes]), np.array([box[1] for box in boxes])
    low = lows.min(axis=0) if outer else lows.max(axis=0)
    high = highs.max(axis=0) if outer else highs.min(axis=0)
    return ((float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2])))
