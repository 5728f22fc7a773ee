"""The bones of the head with the air spaces in them: vault, base, orbits, sinuses, nose, jaws and teeth."""

from __future__ import annotations

import numpy as np

from synthct.phantom.combine import Difference, Inset, Intersection, Rough, Union, tube
from synthct.phantom.scene import Layer, Scene, Variation
from synthct.phantom.shapes import Capsule, Ellipsoid, HalfSpace, Point, Shape
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["add_face_bones", "add_jaw", "add_skull", "temporal_fossa"]

_LABEL = Structure.SKULL
_WALL = 3.5  # mm of bone that any hollow leaves between itself and the brain
_NOT_BRAIN = (Tissue.FAT, Tissue.MUSCLE, Tissue.SEPTUM, Tissue.COMPACT, Tissue.SPONGY)


def add_skull(scene: Scene, vault: Shape) -> Shape:
    """Add vault and base: an outer and an inner table with spongy bone between.

    Returns:
        The space inside, filled with fluid, in which the brain takes its place.
    """
    # The base steps down from the front (over the orbits) to the back (around the cerebellum).
    base = HalfSpace((0.0, 0.0, -18.0), (0.0, 0.45, 1.0))
    floor = Union([base, *(temporal_fossa(side) for side in (1.0, -1.0))])
    bone = Rough(Intersection([vault, floor]), relief=0.8)
    for side in (1.0, -1.0):
        mastoid = Rough(Ellipsoid((side * 54.0, 26.0, -34.0), (13.0, 17.0, 20.0)), relief=1.5)
        scene.add_bone(mastoid, 1.8, _LABEL)
        cells = Rough(Ellipsoid((side * 54.0, 28.0, -34.0), (10.0, 13.0, 16.0)), relief=0.0, folds=7.0)
        scene.add(Inset(cells, 3.5), Tissue.AIR, _LABEL, over=(Tissue.SPONGY,))
    scene.add_layers(
        bone,
        Layer(-0.3, Tissue.COMPACT, _LABEL),
        Layer(1.3, Tissue.SPONGY, _LABEL),
        Layer(4.2, Tissue.COMPACT, _LABEL),
        Layer(5.4, Tissue.FLUID, 0),
    )
    inside = Inset(bone, 5.4)
    for side in (1.0, -1.0):
        petrous = petrous_bone(side)
        scene.add_bone(Rough(petrous, relief=1.0), 3.0, _LABEL)
        canal = Capsule((side * 44.0, 16.0, -20.0), (side * 110.0, 20.0, -20.0), (4.0, 3.2))
        scene.add(Difference(canal, inside, gap=_WALL), Tissue.AIR)
    clivus = tube([(0.0, -12.0, -17.0), (0.0, 4.0, -26.0), (0.0, 14.0, -42.0)], [11.0, 8.0, 5.0])
    scene.add_bone(clivus, 1.5, _LABEL)
    foramen = Capsule((0.0, 28.0, -22.0), (0.0, 34.0, -56.0), (17.0, 13.0))
    scene.add(foramen, Tissue.FLUID, over=(Tissue.COMPACT, Tissue.SPONGY))
    return inside


def temporal_fossa(side: float) -> Shape:
    """Return the hollow of the base that holds a temporal lobe."""
    return Ellipsoid((side * 42.0, -14.0, -10.0), (31.0, 31.0, 23.0))


def petrous_bone(side: float) -> Union:
    """Return the dense ridge that holds the inner ear; it rises into the skull, so the brain leaves it free."""
    path: list[Point] = [(side * 60.0, 26.0, -22.0), (side * 42.0, 19.0, -20.0), (side * 16.0, 4.0, -16.0)]
    return tube(path, [10.0, 9.0, 5.0])


def add_face_bones(scene: Scene, vary: Variation, inside: Shape) -> None:
    """Add orbits, cheek bones and upper jaw, with sinuses and nasal cavity, all clear of the skull's `inside`."""
    middle = Rough(Ellipsoid((0.0, -56.0, -34.0), (37.0, 30.0, 24.0)), relief=1.0)
    scene.add(middle, Tissue.COMPACT, _LABEL, over=_NOT_BRAIN)
    scene.add(Inset(middle, 1.6), Tissue.SPONGY, _LABEL, over=(Tissue.COMPACT,))
    for side in (1.0, -1.0):
        orbit = Ellipsoid((side * 30.0, -56.0, -7.0), (22.0, 31.0, 21.0), (0.0, 0.0, side * 12.0))
        scene.add(
            Intersection([orbit, HalfSpace((0.0, -72.0, 0.0), (0.0, 1.0, 0.0))]),
            Tissue.COMPACT,
            _LABEL,
            over=_NOT_BRAIN,
        )
        arch: list[Point] = [(side * 36.0, -72.0, -30.0), (side * 56.0, -60.0, -24.0), (side * 68.0, -30.0, -20.0)]
        arch.append((side * 66.0, 2.0, -18.0))
        scene.add_bone(tube(arch, [9.0, 8.0, 4.0, 5.0], tall=1.2), 1.6, _LABEL)
        brow = tube([(side * 6.0, -84.0, 8.0), (side * 34.0, -82.0, 14.0), (side * 54.0, -66.0, 2.0)], 5.0)
        scene.add_bone(brow, 1.6, _LABEL)
        rim = tube([(side * 54.0, -66.0, 2.0), (side * 56.0, -62.0, -22.0)], 4.5)
        scene.add_bone(rim, 1.6, _LABEL)
    _add_air_spaces(scene, vary, inside)
    for side in (1.0, -1.0):
        orbit = Ellipsoid((side * 31.0, -58.0, -7.0), (18.5, 29.0, 17.5), (0.0, 0.0, side * 12.0))
        space = Difference(orbit, inside, gap=_WALL)
        scene.add(space, Tissue.FAT, over=(Tissue.COMPACT, Tissue.SPONGY, Tissue.MUSCLE, Tissue.SEPTUM))


def _add_air_spaces(scene: Scene, vary: Variation, inside: Shape) -> None:
    """Add maxillary, ethmoid, frontal and sphenoid sinuses, and the nasal cavity with septum and conchae."""
    ethmoid = Ellipsoid((0.0, -50.0, -8.0), (13.0, 27.0, 14.0))
    scene.add(Inset(ethmoid, -2.0), Tissue.COMPACT, _LABEL, over=_NOT_BRAIN)
    scene.add(Difference(Rough(ethmoid, relief=1.0), inside, gap=_WALL), Tissue.AIR, 0)
    for index in range(4):
        y = -68.0 + 11.0 * index
        scene.add(
            Intersection([ethmoid, _slice_at((0.0, y, 0.0), (0.0, 1.0, 0.2), 0.7)]),
            Tissue.CARTILAGE,
            over=(Tissue.AIR,),
        )
    for side in (1.0, -1.0):
        antrum = Ellipsoid(vary.place((side * 25.0, -56.0, -36.0), 1.5), vary.sizes((12.0, 18.0, 15.0), 0.12))
        scene.add(Rough(antrum, relief=1.5), Tissue.AIR)
        frontal = Rough(Ellipsoid((side * 9.0, -82.0, 14.0), (vary.size(9.0, 0.3), 4.2, 10.0)), relief=1.0)
        scene.add(Inset(frontal, -1.8), Tissue.COMPACT, _LABEL, over=_NOT_BRAIN)
        scene.add(Difference(frontal, inside, gap=_WALL), Tissue.AIR, over=(Tissue.COMPACT, Tissue.SPONGY))
    sphenoid = Rough(Ellipsoid((0.0, -20.0, -12.0), (12.0, 11.0, 10.0)), relief=1.0)
    scene.add(Inset(sphenoid, -2.0), Tissue.COMPACT, _LABEL, over=_NOT_BRAIN)
    scene.add(Difference(sphenoid, inside, gap=_WALL), Tissue.AIR)
    nose = Ellipsoid((0.0, -60.0, -34.0), (11.0, 34.0, 16.0))
    scene.add(Intersection([nose, HalfSpace((0.0, -95.0, 0.0), (0.0, 1.0, 0.0))]), Tissue.AIR)
    for side in (1.0, -1.0):
        scene.add(tube([(side * 5.0, -84.0, -42.0), (side * 6.0, -94.0, -58.0)], 3.8), Tissue.AIR)
        for z, radius in ((-40.0, 3.6), (-29.0, 3.0)):
            concha = Capsule((side * 7.0, -80.0, z), (side * 7.0, -42.0, z), (radius, radius))
            scene.add(concha, Tissue.CARTILAGE, over=(Tissue.AIR,))
    scene.add(Intersection([Inset(nose, -1.0), _slice_at((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.0)]), Tissue.CARTILAGE)


def add_jaw(scene: Scene, vary: Variation) -> None:
    """Add palate, tongue, mandible and both rows of teeth."""
    palate = Ellipsoid((0.0, -60.0, -51.0), (27.0, 32.0, 4.5))
    scene.add(palate, Tissue.COMPACT, _LABEL, over=_NOT_BRAIN)
    tongue = Rough(Ellipsoid((0.0, -50.0, -66.0), (23.0, 30.0, 13.0)), relief=1.0)
    scene.add(Inset(tongue, -1.5), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
    scene.add(tongue, Tissue.MUSCLE)
    scene.add(Ellipsoid((0.0, -52.0, -55.5), (14.0, 17.0, 1.8)), Tissue.AIR)
    half: list[Point] = [(0.0, -80.0, -80.0), (17.0, -74.0, -80.0), (34.0, -50.0, -76.0), (45.0, -22.0, -68.0)]
    half += [(48.0, -14.0, -52.0), (49.0, -2.0, -38.0)]
    rods = []
    for side in (1.0, -1.0):
        path: list[Point] = [(side * x, y, z) for x, y, z in half]
        rods += list(tube(path, [7.0, 6.5, 6.5, 6.5, 5.0, 5.5], tall=1.35).parts)
    scene.add_bone(Union(rods), 2.4, _LABEL)
    lost = vary.rng.random(14) < 0.1
    for row, (low, high) in enumerate(((-61.5, -53.0), (-72.0, -62.5))):
        for index in range(14):
            if lost[index] and row:
                continue
            angle = np.radians(-82.0 + 164.0 * index / 13)
            x, y = 27.0 * np.sin(angle), -44.0 - 34.0 * np.cos(angle)
            tooth = Capsule((float(x), float(y), low), (float(x), float(y), high), (2.7, 2.7))
            scene.add(tooth, Tissue.TOOTH, _LABEL)


def _slice_at(point: Point, normal: Point, half_thickness: float) -> Shape:
    """Return a sheet through `point`, across `normal`."""
    back = (-normal[0], -normal[1], -normal[2])
    sides = [HalfSpace(point, normal), HalfSpace(point, back)]
    return Intersection([Inset(side, -half_thickness) for side in sides])
