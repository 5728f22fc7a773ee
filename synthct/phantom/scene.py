"""A body as an ordered list of parts, and the painter that turns it into a tissue map and a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from synthct.phantom.combine import Inset
from synthct.phantom.grid import Grid, Pose, slabs
from synthct.phantom.shapes import Point, Shape
from synthct.phantom.tissues import Tissue
from synthct.phantom.waves import FloatArray

__all__ = ["Part", "Scene", "Variation", "paint"]

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """One brush stroke.

    Attributes:
        shape: where.
        tissue: what it is made of.
        label: its id in the segmentation; 0 for a structure without one, None to keep what is there.
        over: the tissues that it may replace; empty for all.
    """

    shape: Shape
    tissue: Tissue
    label: int | None
    over: tuple[Tissue, ...]


@dataclass
class Scene:
    """A body: its outline, which nothing leaves, and its parts; later parts cover earlier ones."""

    outline: Shape
    pose: Pose
    parts: list[Part] = field(default_factory=list)

    def add(self, shape: Shape, tissue: Tissue, label: int | None = 0, *, over: Sequence[Tissue] = ()) -> None:
        """Add one part on top of those before."""
        self.parts.append(Part(shape, tissue, label, tuple(over)))

    def add_bone(self, shape: Shape, cortex: float, label: int = 0, *, core: Tissue = Tissue.SPONGY) -> None:
        """Add a bone: a compact shell of `cortex` mm around a core."""
        self.add(shape, Tissue.COMPACT, label)
        self.add(Inset(shape, cortex), core, label)

    def add_hollow(self, shape: Shape, wall: float, inside: Tissue, label: int, *, skin: Tissue = Tissue.BOWEL) -> None:
        """Add a hollow organ: a soft wall of `wall` mm around its contents."""
        self.add(shape, skin, label)
        self.add(Inset(shape, wall), inside, label)


class Variation:
    """Draws the small differences between patients."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def size(self, value: float, spread: float = 0.06) -> float:
        """Return `value` changed by a fraction of at most `spread`."""
        return float(value * (1 + self.rng.uniform(-spread, spread)))

    def sizes(self, values: Point, spread: float = 0.06) -> Point:
        """Return three radii, each changed by a fraction of at most `spread`."""
        return (self.size(values[0], spread), self.size(values[1], spread), self.size(values[2], spread))

    def place(self, point: Point, reach: float = 3.0) -> Point:
        """Return `point` moved by at most `reach` mm along each axis."""
        x, y, z = self.rng.uniform(-reach, reach, size=3)
        return (float(point[0] + x), float(point[1] + y), float(point[2] + z))

    def between(self, low: float, high: float) -> float:
        """Return a number between two bounds."""
        return float(self.rng.uniform(low, high))


def paint(scene: Scene, axes: tuple[FloatArray, FloatArray, FloatArray]) -> tuple[ByteArray, ByteArray]:
    """Draw a scene on the grid of three axes (x, y, z in mm from the body's centre).

    Returns:
        The tissue map and the segmentation, both (z, y, x); both are 0 outside the outline.
    """
    x, y, z = axes
    tissues = np.zeros((z.size, y.size, x.size), dtype=np.uint8)
    labels = np.zeros_like(tissues)
    for slab in slabs((x.size, y.size, z.size)):
        grid = Grid.posed(scene.pose, x, y, z[slab])
        body = scene.outline.level(grid) < 0
        for part in scene.parts:
            _paint_part(part, grid, body, tissues[slab], labels[slab])
    return tissues, labels


def _paint_part(part: Part, grid: Grid, body: npt.NDArray[np.bool_], tissues: ByteArray, labels: ByteArray) -> None:
    window = grid.window(part.shape.bounds)
    if window is None:
        return
    inside = (part.shape.level(grid.crop(window)) < 0) & body[window]
    if part.over:
        allowed = np.zeros(len(Tissue), dtype=np.bool_)
        allowed[list(part.over)] = True
        inside &= allowed[tissues[window]]
    tissues[window][inside] = part.tissue
    if part.label is not None:
        labels[window][inside] = part.label
