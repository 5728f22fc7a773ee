"""The spine and the ribs, which several bodies share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from synthct.phantom.combine import Rough, Union, tube
from synthct.phantom.scene import Scene
from synthct.phantom.shapes import Capsule, Column, Point, Shape
from synthct.phantom.structures import Structure, rib, vertebra
from synthct.phantom.tissues import Tissue

__all__ = ["Vertebra", "add_rib", "add_spine", "spine"]


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: its name, where the middle of its body lies (y, z), and its half axes and pitch in mm."""

    name: str
    y: float
    z: float
    half_width: float
    half_depth: float
    pitch: float

    @property
    def canal_y(self) -> float:
        """Where the middle of the spinal canal lies."""
        return self.y + self.half_depth + 8.0


def spine(names: Sequence[str], *, middle: tuple[str, float], curve: Sequence[tuple[float, float]]) -> list[Vertebra]:
    """Return the vertebrae `names` (from low to high), `middle` = (name, z) fixed, along `curve` = [(z, y), ...].

    Size and pitch follow from the kind of vertebra, and the others stack up from the fixed one.
    """
    at = {"L": (24.0, 17.0, 33.0), "T": (17.0, 14.5, 24.0), "C": (11.5, 8.5, 16.0)}
    line = Column([z for z, _ in curve], [(0.0, y) for _, y in curve], [(1.0, 1.0)] * len(curve))
    heights = [0.0]
    for below, above in pairwise(names):
        heights.append(heights[-1] + (at[below[0]][2] + at[above[0]][2]) / 2)
    shift = middle[1] - heights[list(names).index(middle[0])]
    return [
        Vertebra(name, line.surface_point(0.0, z + shift, depth=1.0)[1], z + shift, *at[name[0]])
        for name, z in zip(names, heights, strict=True)
    ]


def add_spine(scene: Scene, vertebrae: Sequence[Vertebra], *, roof: float | None = None) -> None:
    """Add vertebrae with discs, canal and cord.

    Args:
        scene: the body.
        vertebrae: from low to high.
        roof: z at which canal and cord end; None to run on above the highest vertebra.
    """
    heights = [v.z for v in vertebrae]
    floor = heights[0] - vertebrae[0].pitch / 2
    top = heights[-1] + vertebrae[-1].pitch / 2
    widths = [(v.half_width * 0.98, v.half_depth * 0.98) for v in vertebrae]
    scene.add(Column(heights, [(0.0, v.y) for v in vertebrae], widths, ends=(floor, top)), Tissue.CARTILAGE)
    for one in vertebrae:
        label = vertebra(one.name)
        scene.add_bone(_arch(one), 1.6, label)
        full = (one.half_width, one.half_depth)
        body = Column(
            [one.z - one.pitch * 0.38, one.z, one.z + one.pitch * 0.38],
            [(0.0, one.y)] * 3,
            [full, (one.half_width * 0.9, one.half_depth * 0.93), full],
            ends=(one.z - one.pitch * 0.38, one.z + one.pitch * 0.38),
        )
        scene.add_bone(Rough(body, relief=0.5), 1.5, label)
    centres = [(0.0, v.canal_y) for v in vertebrae]
    for radii, tissue, label in (
        ((10.0, 8.0), Tissue.FAT, 0),
        ((8.5, 6.8), Tissue.FLUID, 0),
        ((5.6, 4.4), Tissue.WHITE, Structure.SPINAL_CORD),
    ):
        canal = Column(heights, centres, [radii] * len(heights), ends=(floor, top + 60.0 if roof is None else roof))
        scene.add(canal, tissue, label)


def _arch(one: Vertebra) -> Union:
    """Return the ring around the canal with its spinous and transverse processes, as one shape."""
    y, z, half = one.canal_y, one.z - one.pitch * 0.08, one.pitch * 0.3
    ring = Column([z], [(0.0, y)], [(15.0, 12.5)], ends=(z - half, z + half))
    back = y + (34.0 if one.name[0] == "L" else 30.0 if one.name[0] == "T" else 20.0)
    drop = 16.0 if one.name[0] == "T" else 5.0
    parts: list[Shape] = [ring, Capsule((0.0, y + 10.0, z), (0.0, back, z - drop), (3.6, 3.8), tall=1.7)]
    reach = one.half_width + (18.0 if one.name[0] == "L" else 14.0 if one.name[0] == "T" else 8.0)
    for side in (-1.0, 1.0):
        lateral = (side * reach, y + (2.0 if one.name[0] == "L" else 10.0 if one.name[0] == "T" else -6.0), z + 2.0)
        parts.append(Capsule((side * 11.0, y - 2.0, z), lateral, (4.4, 3.2), tall=1.3))
        # The pedicle joins body and ring.
        parts.append(Capsule((side * 12.0, one.y + one.half_depth - 3.0, z + 2.0), (side * 12.0, y, z), (4.0, 4.0)))
    return Union(parts)


def add_rib(scene: Scene, number: int, side: int, cage: Column, root: Vertebra, *, drop: float, stop: float) -> Point:
    """Add one rib in the wall of the chest.

    Args:
        scene: the body.
        number: 1 to 12.
        side: +1 left, -1 right.
        cage: the outer surface of the rib cage.
        root: the vertebra that it starts from.
        drop: how much lower its front end is than its root, in mm.
        stop: where it ends, in degrees from the back.

    Returns:
        The front end, where cartilage may go on.
    """
    points: list[Point] = [(side * (root.half_width + 2.0), root.canal_y - 5.0, root.z + 4.0)]
    steps = 11
    for index in range(steps):
        share = index / (steps - 1)
        degrees = 27.0 + share * (stop - 27.0)
        points.append(cage.surface_point(side * degrees, root.z + 2.0 - drop * share**1.1, depth=5.0))
    label = rib(number, side)
    scene.add_bone(tube(points, 3.9, tall=1.55), 1.4, label)
    return points[-1]
