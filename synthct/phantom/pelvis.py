"""The male pelvis, from the iliac crests to the upper thighs."""

from __future__ import annotations

import numpy as np

from synthct.phantom.combine import Blend, Inset, Intersection, Rough, Septa, Union, tube
from synthct.phantom.grid import Pose
from synthct.phantom.pelvis_bones import add_pelvic_bones
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Column, Ellipsoid, HalfSpace, Point, Shape
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue
from synthct.phantom.torso import add_wall, tube_of_bowel

__all__ = ["draw_pelvis"]


def draw_pelvis(rng: np.random.Generator, seed: int) -> Scene:
    """Draw a pelvis centred between the hip joints and the iliac crests."""
    del seed  # everything that differs between patients comes from the generator
    vary = Variation(rng)
    pose = Pose.draw(rng, bend=3.0, wavelength=140)
    fat = vary.between(15.0, 24.0)
    outline = _outline(vary)
    scene = Scene(Rough(outline, relief=1.5), pose, skin=2.6)
    inner = [(166.0, 96.0), (168.0, 98.0), (158.0, 90.0), (146.0, 84.0)]
    radii = [(a - fat * 0.3, b - fat * 0.3) for a, b in inner]
    centres = [(0.0, 0.0), (0.0, 2.0), (0.0, -2.0), (0.0, -4.0)]
    trunk = Column((-90.0, -20.0, 50.0, 110.0), centres, radii, power=2.3)
    muscle = Rough(Intersection([Inset(outline, fat * 0.7), trunk]), relief=2.0)
    room = [(30.0, 40.0), (64.0, 60.0), (92.0, 66.0), (128.0, 72.0)]
    true_pelvis = Column(
        (-64.0, -12.0, 45.0, 110.0), [(0.0, 8.0), (0.0, 2.0), (0.0, -6.0), (0.0, -6.0)], room, power=2.2
    )
    cavity = Rough(Intersection([true_pelvis, HalfSpace((0.0, 0.0, -68.0), (0.0, 0.0, 1.0))]), relief=2.0)
    add_wall(scene, muscle, cavity)
    axes = [(side * vary.size(x, 0.08), vary.size(y, 0.08)) for side in (1.0, -1.0) for x, y in (
        (95.0, -80.0), (135.0, -45.0), (95.0, -45.0), (55.0, -62.0), (45.0, -25.0),
        (120.0, 20.0), (80.0, 15.0), (110.0, 60.0)
    )]  # fmt: skip
    scene.add(Septa(axes, width=2.6, spread=0.001), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
    for side in (1.0, -1.0):
        _add_side_muscles(scene, vary, side)
    _add_bowel(scene, vary)
    _add_organs(scene, vary)
    _add_vessels(scene)
    for side in (1.0, -1.0):
        _add_groin(scene, side)
    add_pelvic_bones(scene, vary)
    return scene


def _outline(vary: Variation) -> Shape:
    """Return the skin: the trunk above, two thighs below, buttocks behind."""
    width, depth = vary.size(176.0, 0.03), vary.size(112.0, 0.04)
    trunk = Column(
        (-60.0, 0.0, 60.0, 110.0),
        [(0.0, 0.0)] * 4,
        [(width, depth), (width, depth), (width * 0.95, depth), (width * 0.9, depth * 0.98)],
        power=2.4,
        ends=(-66.0, 1e4),
    )
    thighs = Union(
        [
            Column((-160.0, -60.0), [(side * 92.0, 4.0)] * 2, [(78.0, 84.0), (86.0, 100.0)], ends=(-1e4, -20.0))
            for side in (1.0, -1.0)
        ]
    )
    buttocks = Union([Ellipsoid((side * 62.0, 58.0, -30.0), (72.0, 66.0, 72.0)) for side in (1.0, -1.0)])
    return Blend(Blend(trunk, thighs, 14.0), buttocks, 12.0)


def _add_side_muscles(scene: Scene, vary: Variation, side: float) -> None:
    """Add the gluteal muscles and the iliopsoas of one side, each in a film of fat."""
    left = side > 0
    maximus = Structure.GLUTEUS_MAXIMUS_LEFT if left else Structure.GLUTEUS_MAXIMUS_RIGHT
    medius = Structure.GLUTEUS_MEDIUS_LEFT if left else Structure.GLUTEUS_MEDIUS_RIGHT
    minimus = Structure.GLUTEUS_MINIMUS_LEFT if left else Structure.GLUTEUS_MINIMUS_RIGHT
    psoas = Structure.ILIOPSOAS_LEFT if left else Structure.ILIOPSOAS_RIGHT
    scale = vary.size(1.0, 0.06)
    seat = Ellipsoid((side * 76.0, 74.0, -26.0), (64.0 * scale, 27.0 * scale, 78.0), (0.0, side * 14.0, side * -24.0))
    side_muscle = Ellipsoid(
        (side * 124.0, 8.0, 34.0), (24.0 * scale, 50.0 * scale, 64.0), (0.0, side * -8.0, side * 22.0)
    )
    deep = Ellipsoid((side * 118.0, -2.0, 12.0), (15.0 * scale, 34.0 * scale, 42.0), (0.0, 0.0, side * 22.0))
    for shape, label in ((seat, maximus), (side_muscle, medius), (deep, minimus)):
        rough = Rough(shape, relief=2.0)
        scene.add(Inset(rough, -2.0), Tissue.SEPTUM, over=(Tissue.MUSCLE, Tissue.FAT, Tissue.VISCERAL_FAT))
        scene.add(rough, Tissue.MUSCLE, label, over=(Tissue.MUSCLE, Tissue.SEPTUM, Tissue.FAT))
    path: list[Point] = [(side * 48.0, 14.0, 130.0), (side * 60.0, 0.0, 70.0), (side * 78.0, -22.0, 30.0)]
    path += [(side * 90.0, -44.0, -8.0), (side * 98.0, -30.0, -50.0), (side * 108.0, -4.0, -80.0)]
    hip_flexor = Rough(tube(path, [22.0, 24.0, 21.0, 17.0, 14.0, 9.0]), relief=2.0)
    scene.add(Inset(hip_flexor, -2.0), Tissue.SEPTUM)
    scene.add(hip_flexor, Tissue.MUSCLE, psoas)
    # The iliacus fills the hollow of the iliac wing.
    wing = Rough(Ellipsoid((side * 92.0, 6.0, 58.0), (16.0, 38.0, 44.0), (0.0, 0.0, side * 40.0)), relief=1.5)
    scene.add(wing, Tissue.MUSCLE, psoas, over=(Tissue.VISCERAL_FAT, Tissue.MUSCLE, Tissue.SEPTUM))


def _add_bowel(scene: Scene, vary: Variation) -> None:
    """Add coils of small bowel, caecum, descending and sigmoid colon, and the rectum."""
    for index in range(10):
        row, column = divmod(index, 4)
        start = vary.place((-48.0 + 30.0 * column, -44.0 + 8.0 * (index % 2), 40.0 + 24.0 * row), 6.0)
        coil = [start, vary.place((start[0] + 16, start[1] + 12, start[2] + 5), 6.0)]
        coil.append(vary.place((start[0] + 8, start[1] + 28, start[2] + 8), 5.0))
        tube_of_bowel(scene, tube(coil, vary.between(9.0, 12.0)), Structure.SMALL_BOWEL)
    front = Rough(HalfSpace((0.0, -18.0, 0.0), (0.0, -1.0, 0.0)), relief=6.0)
    caecum: list[Point] = [(-84.0, -22.0, 34.0), (-92.0, -20.0, 70.0), (-102.0, -12.0, 120.0)]
    tube_of_bowel(scene, tube(caecum, [17.0, 22.0, 21.0]), Structure.COLON, gas=front)
    left: list[Point] = [(106.0, -8.0, 120.0), (92.0, -22.0, 70.0), (72.0, -30.0, 48.0), (30.0, -4.0, 34.0)]
    left += [(-14.0, 6.0, 44.0), (-6.0, 34.0, 36.0)]
    tube_of_bowel(scene, tube([vary.place(p, 3.0) for p in left], 13.0), Structure.COLON, gas=front)
    rectum: list[Point] = [
        (-6.0, 34.0, 36.0),
        (2.0, 46.0, 8.0),
        (0.0, 42.0, -22.0),
        (0.0, 36.0, -50.0),
        (0.0, 46.0, -90.0),
    ]
    pocket = Ellipsoid(vary.place((0.0, 36.0, -14.0), 3.0), (8.0, 6.0, 14.0))
    tube_of_bowel(scene, tube(rectum, [13.0, 15.0, 17.0, 13.0, 9.0]), Structure.COLON, gas=pocket)


def _add_organs(scene: Scene, vary: Variation) -> None:
    """Add bladder, prostate and seminal vesicles, the bladder full to a different degree in each patient."""
    filling = vary.between(0.85, 1.15)
    radii = (40.0 * filling, 32.0 * filling, 28.0 * filling)
    bladder = Rough(Ellipsoid((0.0, -22.0, -30.0 + radii[2]), radii, (8.0, 0.0, 0.0)), relief=2.0)
    scene.add(Inset(bladder, -2.0), Tissue.VISCERAL_FAT)
    scene.add_hollow(bladder, 3.5, Tissue.FLUID, Structure.BLADDER, tissue=Tissue.MUSCLE)
    prostate = Rough(Ellipsoid((0.0, -8.0, -44.0), vary.sizes((25.0, 18.0, 19.0), 0.15)), relief=1.5)
    scene.add(Inset(prostate, -2.5), Tissue.VISCERAL_FAT, over=(Tissue.MUSCLE, Tissue.SEPTUM))
    scene.add(prostate, Tissue.ORGAN, Structure.PROSTATE, over=(Tissue.VISCERAL_FAT, Tissue.MUSCLE, Tissue.SEPTUM))
    vesicles = Union([Ellipsoid((side * 19.0, 15.0, -16.0), (19.0, 6.0, 8.0)) for side in (1.0, -1.0)])
    scene.add(Rough(vesicles, relief=1.0, folds=1.5), Tissue.ORGAN, over=(Tissue.VISCERAL_FAT,))


def _add_vessels(scene: Scene) -> None:
    """Add the iliac arteries and veins, inside the pelvis."""
    for side in (1.0, -1.0):
        path: list[Point] = [(side * 30.0, -4.0, 120.0), (side * 46.0, -12.0, 60.0), (side * 64.0, -36.0, 20.0)]
        path += [(side * 74.0, -66.0, -14.0), (side * 78.0, -62.0, -50.0), (side * 80.0, -52.0, -120.0)]
        scene.add(Inset(tube(path, 8.0), -6.0), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
        scene.add(tube(path, 4.6), Tissue.BLOOD)
        scene.add(tube([(x - side * 10.0, y + 4.0, z) for x, y, z in path], 5.6), Tissue.BLOOD)


def _add_groin(scene: Scene, side: float) -> None:
    """Add the fat between the thigh muscles and the ischiorectal fat beside the anal canal."""
    pocket = Ellipsoid((side * 30.0, 56.0, -66.0), (20.0, 30.0, 24.0), (0.0, 0.0, side * 25.0))
    scene.add(Rough(pocket, relief=2.5), Tissue.FAT, over=(Tissue.MUSCLE, Tissue.SEPTUM))
    nerve = tube([(side * 62.0, 46.0, 10.0), (side * 84.0, 52.0, -40.0), (side * 96.0, 50.0, -120.0)], 9.0)
    scene.add(nerve, Tissue.SEPTUM, over=(Tissue.MUSCLE,))
