"""A body as an ordered list of parts, and the painter that turns it into a tissue map and a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from synthct.phantom.grid import Grid, Pose, slabs
from synthct.phantom.shapes import Point, Shape
from synthct.phantom.tissues import Tissue
from synthct.phantom.waves import FloatArray

__all__ = ["Layer", "Part", "Scene", "Variation", "paint"]

ByteArray = npt.NDArray[np.uint8]


class Layer(NamedTuple):
    """What a part is made of from `depth` mm below its surface inwards; a negative depth lies outside.

    `label` is the id in the segmentation: 0 for a structure without one, None to keep what is there.
    """

    depth: float
    tissue: Tissue
    label: int | None


@dataclass(frozen=True)
class Part:
    """One brush stroke.

    Attributes:
        shape: where.
        layers: what it is made of, from the outside inwards.
        over: the tissues that it may replace; empty for all.
    """

    shape: Shape
    layers: tuple[Layer, ...]
    over: tuple[Tissue, ...] = ()


@dataclass
class Scene:
    """A body: skin over fat, and its parts; later parts cover earlier ones.

    Attributes:
        outline: the surface, which nothing leaves.
        pose: how this patient differs from the drawing.
        skin: thickness of the skin in mm; no part but air comes through it.
        parts: what lies inside.
    """

    outline: Shape
    pose: Pose
    skin: float
    parts: list[Part] = field(default_factory=list)

    def add(self, shape: Shape, tissue: Tissue, label: int | None = 0, *, over: Sequence[Tissue] = ()) -> None:
        """Add one part on top of those before."""
        self.parts.append(Part(shape, (Layer(0.0, tissue, label),), tuple(over)))

    def add_layers(self, shape: Shape, *layers: Layer) -> None:
        """Add one part made of layers, from the outside inwards."""
        self.parts.append(Part(shape, layers))

    def add_bone(self, shape: Shape, cortex: float, label: int = 0, *, core: Tissue = Tissue.SPONGY) -> None:
        """Add a bone: a compact shell of `cortex` mm around a core."""
        self.add_layers(shape, Layer(0.0, Tissue.COMPACT, label), Layer(cortex, core, label))

    def add_hollow(
        self, shape: Shape, wall: float, inside: Tissue, label: int, *, tissue: Tissue = Tissue.BOWEL
    ) -> None:
        """Add a hollow organ: a soft wall of `wall` mm around its contents."""
        self.add_layers(shape, Layer(0.0, tissue, label), Layer(wall, inside, label))


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
        surface = scene.outline.level(grid)
        body, deep = surface < 0, surface < -scene.skin
        tissues[slab][body], tissues[slab][deep] = Tissue.SKIN, Tissue.FAT
        for part in scene.parts:
            _paint_part(part, grid, body, tissues[slab], labels[slab])
        # Bones and muscles may come close to the surface, but only airways open through it.
        skin = body & ~deep & (tissues[slab] != Tissue.AIR)
        tissues[slab][skin], labels[slab][skin] = Tissue.SKIN, 0
    return tissues, labels


def _paint_part(part: Part, grid: Grid, body: npt.NDArray[np.bool_], tissues: ByteArray, labels: ByteArray) -> None:
    window = grid.window(part.shape.bounds)
    if window is None:
        return
    allowed = body[window]
    if part.over:
        replaceable = np.zeros(len(Tissue), dtype=np.bool_)
        replaceable[list(part.over)] = True
        allowed = allowed & replaceable[tissues[window]]
    level = part.shape.level(grid.crop(window))
    for layer in part.layers:
        inside = (level < -layer.depth) & allowed
        tissues[window][inside] = layer.tissue
        if layer.label is not None:
            labels[window][inside] = layer.label
