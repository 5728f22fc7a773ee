"""Hip bones, sacrum and femora."""

from __future__ import annotations

from itertools import pairwise

from synthct.phantom.combine import Difference, Inset, Rough, Union, tube
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Capsule, Column, Ellipsoid, Plate, Point, Shape
from synthct.phantom.skeleton import add_spine, spine
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["add_pelvic_bones"]

_HEAD_RADIUS = 24.0


def add_pelvic_bones(scene: Scene, vary: Variation) -> None:
    """Add the bony ring from back to front, then the femora in their sockets."""
    add_spine(scene, spine(["L5", "L4", "L3"], middle=("L5", 92.0), curve=[(80.0, 36.0), (150.0, 26.0)]))
    _add_sacrum(scene)
    thickness = vary.size(1.0, 0.08)
    for side in (1.0, -1.0):
        _add_hip_bone(scene, side, thickness)
        _add_femur(scene, side, vary)


def _add_sacrum(scene: Scene) -> None:
    """Add the sacrum and coccyx, curved backwards, with the sacral canal and the nerve holes."""
    heights = (-34.0, -20.0, 0.0, 25.0, 50.0, 72.0)
    middle = [(0.0, y) for y in (66.0, 74.0, 80.0, 76.0, 63.0, 50.0)]
    radii = [(9.0, 5.0), (15.0, 7.0), (26.0, 9.0), (40.0, 13.0), (50.0, 19.0), (50.0, 24.0)]
    body = Column(heights, middle, radii, power=2.4, ends=(-36.0, 74.0))
    scene.add_bone(Rough(body, relief=1.0), 1.5, Structure.SACRUM)
    crest = tube([(0.0, 82.0, 62.0), (0.0, 94.0, 30.0), (0.0, 92.0, 5.0)], [8.0, 6.0, 4.0])
    scene.add_bone(crest, 1.6, Structure.SACRUM)
    scene.add(tube([(0.0, 66.0, 90.0), (0.0, 74.0, 50.0), (0.0, 84.0, 20.0)], [7.0, 6.0, 3.0]), Tissue.FLUID)
    holes = [Capsule((s * x, y - 30.0, z), (s * x, y + 4.0, z), (3.6, 3.6)) for s in (1.0, -1.0) for x, y, z in (
        (22.0, 66.0, 50.0), (19.0, 78.0, 28.0), (15.0, 82.0, 8.0)
    )]  # fmt: skip
    scene.add(Union(holes), Tissue.FAT, over=(Tissue.COMPACT, Tissue.SPONGY))


def _add_hip_bone(scene: Scene, side: float, thickness: float) -> None:
    """Add one hip bone: the iliac wing as thin plates, the socket, pubis and ischium with the hole between."""
    label = Structure.HIP_LEFT if side > 0 else Structure.HIP_RIGHT
    socket: Point = (side * 88.0, 2.0, 2.0)
    crest: list[Point] = [(122.0, -50.0, 36.0), (131.0, -34.0, 66.0), (126.0, -4.0, 88.0), (98.0, 34.0, 92.0)]
    crest += [(66.0, 64.0, 72.0), (56.0, 66.0, 40.0)]
    crest = [(side * x, y, z) for x, y, z in crest]
    plates: list[Shape] = [Plate((socket, a, b), 4.6 * thickness) for a, b in pairwise(crest)]
    plates.append(tube(crest, [7.0, 7.5, 7.5, 7.5, 9.0, 8.0]))
    # The wing thickens towards the sacrum and over the socket.
    plates.append(Capsule((side * 60.0, 54.0, 42.0), socket, (9.0, 13.0)))
    scene.add_bone(Union(plates), 1.7 * thickness, label)
    ring: list[Shape] = [
        tube([(side * 78.0, -18.0, -8.0), (side * 46.0, -42.0, -26.0), (side * 14.0, -50.0, -40.0)], [14.0, 8.5, 10.0]),
        tube([(side * 14.0, -50.0, -40.0), (side * 26.0, -28.0, -62.0), (side * 58.0, 22.0, -74.0)], [10.0, 6.5, 11.0]),
        tube([(side * 84.0, 24.0, -14.0), (side * 72.0, 36.0, -44.0), (side * 60.0, 30.0, -72.0)], [14.0, 12.0, 14.0]),
    ]
    head = Ellipsoid((side * 96.0, 0.0, -20.0), (_HEAD_RADIUS, _HEAD_RADIUS, _HEAD_RADIUS))
    cup = Difference(Ellipsoid((side * 90.0, 2.0, -16.0), (31.0, 33.0, 32.0)), Inset(head, -3.0))
    opening = Ellipsoid((side * 122.0, 0.0, -40.0), (30.0, 34.0, 34.0))
    ring.append(Difference(cup, opening))
    scene.add_bone(Union(ring), 1.8 * thickness, label)
    gap = Ellipsoid((0.0, -50.0, -42.0), (4.0, 16.0, 20.0))
    scene.add(gap, Tissue.CARTILAGE)


def _add_femur(scene: Scene, side: float, vary: Variation) -> None:
    """Add one femur: head, neck and trochanters spongy, the shaft with a thick cortex around fatty marrow."""
    label = Structure.FEMUR_LEFT if side > 0 else Structure.FEMUR_RIGHT
    centre: Point = (side * 96.0, 0.0, -20.0)
    joint = Ellipsoid(centre, (_HEAD_RADIUS + 3.0,) * 3)
    scene.add(joint, Tissue.CARTILAGE)
    shaft: list[Point] = [(side * 136.0, 8.0, -60.0), (side * 132.0, 4.0, -90.0), (side * 118.0, 0.0, -220.0)]
    width = vary.size(15.0, 0.07)
    upper: list[Shape] = [
        Ellipsoid(centre, (_HEAD_RADIUS, _HEAD_RADIUS, _HEAD_RADIUS)),
        Capsule(centre, (side * 132.0, 8.0, -46.0), (15.0, 17.0)),
        Ellipsoid((side * 141.0, 14.0, -40.0), (15.0, 18.0, 22.0)),
        Ellipsoid((side * 120.0, 16.0, -74.0), (9.0, 9.0, 12.0)),
    ]
    scene.add(Union([*upper, tube(shaft, [width + 2.0, width, width])]), Tissue.COMPACT, label)
    scene.add(Inset(Union(upper), 1.8), Tissue.SPONGY, label)
    scene.add(tube(shaft, [width - 3.0, width - 5.5, width - 6.5]), Tissue.MARROW, label)
