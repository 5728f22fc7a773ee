"""A thigh (even seeds) or a lower leg (odd seeds): fat, muscles, long bones, vessels, at times a soft-tissue mass."""

from __future__ import annotations

import math

import numpy as np

from synthct.phantom.combine import Difference, Rough, Septa, tube
from synthct.phantom.grid import Pose
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Capsule, Column, Ellipsoid, HalfSpace, Point
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["draw_limb"]

_SOFT = (Tissue.MUSCLE, Tissue.SEPTUM)
_HEIGHTS = (-90.0, -30.0, 30.0, 90.0)


def draw_limb(rng: np.random.Generator, seed: int) -> Scene:
    """Draw a limb of 12 cm around mid-thigh or mid-calf; left or right by chance."""
    vary = Variation(rng)
    pose = Pose.draw(rng, bend=2.0, wavelength=70)
    side = 1.0 if rng.random() < 0.5 else -1.0
    tumour = rng.random() < 0.5
    thigh = seed % 2 == 0
    girth = (44.0, 48.0, 51.0, 53.0) if thigh else (36.0, 44.0, 49.0, 47.0)
    factor = vary.size(1.0, 0.04)
    radii = [(factor * r, factor * r * 1.02) for r in girth]
    outline = Rough(Column(_HEIGHTS, [(0.0, 0.0)] * 4, radii, power=2.2), relief=1.0)
    scene = Scene(outline, pose, skin=vary.between(1.6, 2.4))
    # Fat is thicker behind and on the inner side.
    fat = vary.between(7.0, 12.0)
    muscle = Rough(
        Column(_HEIGHTS, [(side * 2.0, -2.5)] * 4, [(a - fat, b - fat) for a, b in radii], power=2.2), relief=1.6
    )
    scene.add(muscle, Tissue.MUSCLE)
    _add_septa(scene, vary, thigh=thigh, side=side)
    if tumour:
        _add_tumour(scene, vary, side)
    if thigh:
        _add_femur(scene, vary, side)
    else:
        _add_shin(scene, vary, side)
    _add_vessels(scene, vary, side, fat)
    return scene


def _add_septa(scene: Scene, vary: Variation, *, thigh: bool, side: float) -> None:
    """Part the muscles by walls of fat, and streak them with it."""
    rings = ((4, 15.0), (8, 36.0)) if thigh else ((3, 13.0), (6, 33.0))
    axes = []
    for count, radius in rings:
        start = vary.between(0.0, 2 * math.pi)
        for index in range(count):
            angle = start + 2 * math.pi * (index + vary.between(-0.2, 0.2)) / count
            axes.append((side * vary.size(radius, 0.15) * math.cos(angle), vary.size(radius, 0.15) * math.sin(angle)))
    scene.add(Septa(axes, width=1.5, spread=0.0015), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
    for _ in range(14):
        angle, radius = vary.between(0.0, 2 * math.pi), vary.between(14.0, 36.0)
        x, y, z = radius * math.cos(angle), radius * math.sin(angle), vary.between(-60.0, 60.0)
        streak: list[Point] = [(x, y, z), vary.place((x * 0.9, y * 0.9, z + 14), 4.0), vary.place((x, y, z + 28), 5.0)]
        scene.add(tube(streak, [0.5, 1.3, 0.5]), Tissue.SEPTUM, over=(Tissue.MUSCLE,))


def _add_tumour(scene: Scene, vary: Variation, side: float) -> None:
    """Add a mass that pushes into the muscles behind the bone, with a necrotic core."""
    centre = vary.place((side * 12.0, 20.0, 0.0), 6.0)
    radii = vary.sizes((18.0, 14.0, 32.0), 0.25)
    turn = (vary.between(-15, 15), 0.0, vary.between(-40, 40))
    mass = Rough(Ellipsoid(centre, radii, turn), relief=3.5, folds=0.7)
    scene.add(mass, Tissue.TUMOUR, over=_SOFT)
    core = Ellipsoid(vary.place(centre, 3.0), (radii[0] * 0.45, radii[1] * 0.45, radii[2] * 0.45), turn)
    scene.add(Rough(core, relief=2.5, folds=1.0), Tissue.NECROSIS, over=(Tissue.TUMOUR,))


def _add_femur(scene: Scene, vary: Variation, side: float) -> None:
    """Add the shaft; towards the knee it widens, its cortex thins and spongy bone replaces fatty marrow."""
    label = Structure.FEMUR_LEFT if side > 0 else Structure.FEMUR_RIGHT
    width = vary.size(13.0, 0.08)
    heights = (-110.0, -60.0, -25.0, 90.0)
    centres = [(side * -2.0, -7.0), (side * -2.0, -8.0), (side * -1.0, -9.0), (side * 1.0, -8.0)]
    outer = [(width * 1.7, width * 1.5), (width * 1.25, width * 1.15), (width, width), (width, width * 1.04)]
    wall = (2.0, 3.5, 5.2, 6.0)
    bone = Rough(Column(heights, centres, outer, lobes=3, lobe=0.04, lobe_angle=90.0), relief=0.4)
    inner = [(a - t, b - t) for (a, b), t in zip(outer, wall, strict=True)]
    cavity = Rough(Column(heights, centres, inner), relief=0.4)
    scene.add(bone, Tissue.COMPACT, label)
    scene.add(cavity, Tissue.MARROW, label)
    end = Difference(cavity, Rough(HalfSpace((0.0, 0.0, -44.0), (0.0, 0.0, 1.0)), relief=5.0))
    scene.add(end, Tissue.SPONGY, label)


def _add_shin(scene: Scene, vary: Variation, side: float) -> None:
    """Add tibia (three-cornered, just under the skin in front) and fibula; neither has an id."""
    width = vary.size(14.0, 0.08)
    heights = (-90.0, -30.0, 40.0, 90.0)
    centres = [(side * -8.0, -14.0), (side * -9.0, -18.0), (side * -9.0, -20.0), (side * -8.0, -18.0)]
    outer = [(width * 0.9, width * 0.95), (width, width * 1.1), (width * 1.1, width * 1.2), (width * 1.5, width * 1.4)]
    wall = (4.0, 4.6, 4.0, 2.0)
    corner = 250.0 if side > 0 else 290.0
    tibia = Column(heights, centres, outer, lobes=3, lobe=0.12, lobe_angle=corner)
    # The membrane of fat over the shin: there is no muscle between the tibia's front and the skin.
    pad = [(a + 2.5, b + 2.5) for a, b in outer]
    scene.add(Column(heights, [(x, y - 5.0) for x, y in centres], pad), Tissue.FAT, over=_SOFT)
    scene.add(tibia, Tissue.COMPACT)
    inner = [(a - t, b - t) for (a, b), t in zip(outer, wall, strict=True)]
    cavity = Column(heights, centres, inner, lobes=3, lobe=0.08, lobe_angle=corner)
    scene.add(cavity, Tissue.MARROW)
    scene.add(Difference(cavity, Rough(HalfSpace((0.0, 0.0, 42.0), (0.0, 0.0, -1.0)), relief=5.0)), Tissue.SPONGY)
    fibula = Capsule((side * 24.0, 5.0, -120.0), (side * 22.0, 3.0, 120.0), (7.2, 6.4))
    scene.add_bone(Rough(fibula, relief=0.3), 2.6, core=Tissue.MARROW)


def _add_vessels(scene: Scene, vary: Variation, side: float, fat: float) -> None:
    """Add the main artery and veins in their sleeve of fat, and veins under the skin."""
    x, y = side * -13.0, 12.0
    sleeve: list[Point] = [
        (x, y, -90.0),
        vary.place((x, y, -30.0), 2.0),
        vary.place((x, y, 30.0), 2.0),
        (x * 1.1, y, 90.0),
    ]
    scene.add(tube(sleeve, 7.0), Tissue.SEPTUM, over=(*_SOFT, Tissue.TUMOUR))
    for shift_x, shift_y, radius in ((-2.5, 0.0, 2.6), (2.6, 1.2, 3.0), (0.0, 4.0, 1.5)):
        vessel: list[Point] = [(a + shift_x, b + shift_y, c) for a, b, c in sleeve]
        scene.add(tube(vessel, radius), Tissue.BLOOD)
    for angle in (vary.between(2.6, 3.6), vary.between(0.8, 1.6)):
        radius = 47.0 - fat / 2
        vein: list[Point] = [
            vary.place((side * radius * math.cos(angle), radius * math.sin(angle), z), 1.5)
            for z in (-90.0, -40.0, 0.0, 40.0, 90.0)
        ]
        scene.add(tube(vein, vary.between(1.3, 2.0)), Tissue.BLOOD, over=(Tissue.FAT,))
