"""The upper abdomen, from the bases of the lungs to L4."""

from __future__ import annotations

import numpy as np

from synthct.phantom.combine import Blend, Difference, Inset, Intersection, Rough, Union, tube
from synthct.phantom.grid import Pose
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Column, Ellipsoid, HalfSpace, Point, Shape
from synthct.phantom.skeleton import add_rib, add_spine, spine
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue
from synthct.phantom.torso import add_back_muscles, add_wall, tube_of_bowel

__all__ = ["draw_abdomen"]

_NAMES = ["L5", "L4", "L3", "L2", "L1", *(f"T{n}" for n in range(12, 4, -1))]
_CURVE = [(-120.0, 38.0), (-40.0, 33.0), (40.0, 42.0), (130.0, 50.0)]


def draw_abdomen(rng: np.random.Generator, seed: int) -> Scene:
    """Draw an abdomen centred at L2."""
    del seed  # everything that differs between patients comes from the generator
    vary = Variation(rng)
    pose = Pose.draw(rng, bend=3.0, wavelength=130)
    width, depth = vary.size(164.0, 0.04), vary.size(110.0, 0.05)
    heights = (-110.0, 0.0, 110.0)
    frame = [(width, depth), (width * 0.97, depth), (width, depth * 1.02)]
    outline = Rough(Column(heights, [(0.0, 0.0)] * 3, frame, power=2.4), relief=1.5)
    fat = vary.between(12.0, 19.0)
    wall = Column(heights, [(0.0, 0.0)] * 3, [(a - fat, b - fat) for a, b in frame], power=2.4)
    cavity = Column(heights, [(0.0, -1.0)] * 3, [(a - fat - 10.0, b - fat - 9.0) for a, b in frame], power=2.4)
    scene = Scene(outline, pose, skin=2.6)
    add_wall(scene, Rough(wall, relief=1.0), Rough(cavity, relief=1.0))
    _add_bowel(scene, vary)
    _add_liver(scene, vary, cavity)
    _add_left_organs(scene, vary, cavity)
    _add_lung_bases(scene, cavity)
    _add_retroperitoneum(scene, vary)
    add_back_muscles(scene, y=75.0, width=24.0, depth=18.0)
    vertebrae = spine(_NAMES, middle=("L2", vary.between(-6.0, 6.0)), curve=_CURVE)
    add_spine(scene, vertebrae)
    roots = {one.name: one for one in vertebrae}
    for number, drop, stop in ((12, 40.0, 75.0), (11, 62.0, 105.0), (10, 88.0, 125.0), (9, 100.0, 132.0)):
        for side in (1, -1):
            add_rib(scene, number, side, wall, roots[f"T{number}"], drop=drop, stop=stop)
    for number, drop in ((8, 108.0), (7, 114.0), (6, 120.0)):
        for side in (1, -1):
            add_rib(scene, number, side, wall, roots[f"T{number}"], drop=drop, stop=138.0)
    return scene


def _add_bowel(scene: Scene, vary: Variation) -> None:
    """Add the colon, a frame around coils of small bowel."""
    gas = Rough(HalfSpace((0.0, -66.0, 0.0), (0.0, -1.0, 0.0)), relief=8.0)
    for index in range(30):
        row, column = divmod(index, 6)
        start = vary.place((-74.0 + 27.0 * column, -45.0 + 9.0 * (index % 3), -106.0 + 18.0 * row), 6.0)
        coil: list[Point] = [start, vary.place((start[0] + 16, start[1] - 14, start[2] + 6), 6.0)]
        coil.append(vary.place((start[0] + 24, start[1] + 10, start[2] + 4), 6.0))
        tube_of_bowel(scene, tube(coil, vary.between(9.0, 12.0)), Structure.SMALL_BOWEL)
    frame: list[Point] = [(-104.0, 18.0, -120.0), (-106.0, 10.0, -60.0), (-98.0, -8.0, -18.0), (-66.0, -56.0, -22.0)]
    frame += [(0.0, -68.0, -34.0), (60.0, -62.0, -18.0), (104.0, -18.0, 14.0), (112.0, 16.0, -30.0)]
    frame += [(110.0, 20.0, -120.0)]
    radii = [vary.size(r, 0.12) for r in (21.0, 22.0, 20.0, 18.0, 17.0, 17.0, 17.0, 15.0, 14.0)]
    tube_of_bowel(scene, tube([vary.place(point, 3.0) for point in frame], radii), Structure.COLON, gas=gas)
    bubbles = [
        Ellipsoid(vary.place((side, 4.0, z), 4.0), (9.0, 7.0, 12.0)) for side in (-105.0, 111.0) for z in (-70, -45)
    ]
    scene.add(Union(bubbles), Tissue.AIR, Structure.COLON, over=(Tissue.CONTENTS,))


def _add_liver(scene: Scene, vary: Variation, cavity: Shape) -> None:
    """Add the liver (patient's right, -x) with its vessels, and the gallbladder below it."""
    right = Ellipsoid(vary.place((-68.0, -4.0, 46.0)), vary.sizes((76.0, 84.0, 84.0), 0.04), (0.0, 0.0, 12.0))
    left = Ellipsoid(vary.place((2.0, -46.0, 54.0)), vary.sizes((66.0, 30.0, 36.0)))
    whole = Intersection([Blend(right, left, 16.0), Inset(cavity, 2.0)])
    liver = Rough(Difference(whole, Ellipsoid((-22.0, 62.0, 20.0), (60.0, 52.0, 120.0))), relief=2.0)
    scene.add(liver, Tissue.LIVER, Structure.LIVER)
    trunk: Point = (-22.0, -10.0, 26.0)
    for _ in range(9):
        goal = vary.place((-80.0, -8.0, 52.0), 42.0)
        middle = vary.place(((trunk[0] + goal[0]) / 2, (trunk[1] + goal[1]) / 2, (trunk[2] + goal[2]) / 2), 8.0)
        scene.add(tube([trunk, middle, goal], [5.0, 3.4, 1.6]), Tissue.BLOOD, None, over=(Tissue.LIVER,))
    gallbladder = Ellipsoid(vary.place((-46.0, -46.0, 2.0)), vary.sizes((13.0, 18.0, 20.0), 0.15), (20.0, 0.0, 0.0))
    scene.add_hollow(gallbladder, 1.5, Tissue.FLUID, Structure.GALLBLADDER)


def _add_left_organs(scene: Scene, vary: Variation, cavity: Shape) -> None:
    """Add spleen, stomach, duodenum and pancreas."""
    spleen = Ellipsoid(vary.place((102.0, 30.0, 48.0)), vary.sizes((30.0, 44.0, 42.0)), (0.0, 0.0, -25.0))
    shape = Rough(Intersection([spleen, Inset(cavity, 2.0)]), relief=2.0)
    scene.add(shape, Tissue.SPLEEN, Structure.SPLEEN)
    duodenum: list[Point] = [(-30.0, -34.0, 10.0), (-44.0, -14.0, 2.0), (-42.0, -4.0, -28.0), (-6.0, -8.0, -40.0)]
    tube_of_bowel(scene, tube(duodenum, 11.0), Structure.DUODENUM)
    pancreas: list[Point] = [(-30.0, -10.0, -8.0), (-12.0, -20.0, 6.0), (18.0, -22.0, 16.0), (50.0, -2.0, 26.0)]
    pancreas.append((82.0, 14.0, 36.0))
    path = [vary.place(point, 2.0) for point in pancreas]
    scene.add(
        Rough(tube(path, [13.0, 10.0, 9.5, 9.5, 8.0]), relief=1.5, folds=2.2), Tissue.PANCREAS, Structure.PANCREAS
    )
    fundus = Ellipsoid(vary.place((62.0, -16.0, 62.0)), vary.sizes((36.0, 40.0, 40.0)))
    outlet: list[Point] = [(58.0, -40.0, 44.0), (48.0, -58.0, 22.0), (18.0, -62.0, 8.0), (-24.0, -44.0, 10.0)]
    antrum = tube(outlet, [28.0, 22.0, 16.0, 9.0])
    stomach = Rough(Blend(fundus, antrum, 14.0), relief=2.5)
    scene.add_hollow(Intersection([stomach, Inset(cavity, 3.0)]), 4.0, Tissue.CONTENTS, Structure.STOMACH)
    # Gas rises: the patient lies on the back, so the bubble has a level surface and lies in front.
    level = vary.between(-42.0, -34.0)
    bubble = Intersection([Inset(Blend(fundus, antrum, 14.0), 5.0), HalfSpace((0.0, level, 0.0), (0.0, -1.0, 0.0))])
    scene.add(bubble, Tissue.AIR, Structure.STOMACH, over=(Tissue.CONTENTS,))


def _add_lung_bases(scene: Scene, cavity: Shape) -> None:
    """Add the lungs' lower edges: what lies in the chest above the domes of the diaphragm."""
    domes = Blend(
        Ellipsoid((-66.0, -6.0, 10.0), (72.0, 86.0, 102.0)), Ellipsoid((66.0, -4.0, 6.0), (70.0, 84.0, 98.0)), 40.0
    )
    for side, label in ((1.0, Structure.LUNG_LOWER_LEFT), (-1.0, Structure.LUNG_LOWER_RIGHT)):
        half = HalfSpace((side * 26.0, 0.0, 0.0), (side, 0.0, 0.0))
        above = HalfSpace((0.0, 0.0, 44.0), (0.0, 0.0, 1.0))
        chest = Intersection([Inset(cavity, -2.0), half, above])
        lung = Difference(chest, domes, gap=3.0)
        scene.add(Difference(chest, domes), Tissue.MUSCLE)
        scene.add(Inset(lung, 1.0), Tissue.LUNG, label)


def _add_retroperitoneum(scene: Scene, vary: Variation) -> None:
    """Add kidneys in their fat, aorta, vena cava and the psoas muscles."""
    for side, z, label in ((1.0, 8.0, Structure.KIDNEY_LEFT), (-1.0, -8.0, Structure.KIDNEY_RIGHT)):
        centre = vary.place((side * 66.0, 38.0, z), 4.0)
        radii = vary.sizes((27.0, 25.0, 50.0))
        turn = (0.0, side * 10.0, side * 20.0)
        scene.add(Ellipsoid(centre, (radii[0] + 8, radii[1] + 8, radii[2] + 8), turn), Tissue.VISCERAL_FAT)
        kidney = Rough(Ellipsoid(centre, radii, turn), relief=1.5)
        scene.add(kidney, Tissue.KIDNEY, label)
        hilum = Ellipsoid((centre[0] - side * 20.0, centre[1] - 8.0, z), (19.0, 12.0, 22.0))
        scene.add(Rough(hilum, relief=2.0, folds=3.0), Tissue.VISCERAL_FAT, over=(Tissue.KIDNEY,))
        vein: list[Point] = [(side * 8.0, 12.0, z + 6.0), (side * 30.0, 16.0, z + 4.0), (side * 46.0, 28.0, z)]
        scene.add(tube(vein, [4.5, 4.5, 3.0]), Tissue.BLOOD, over=(Tissue.VISCERAL_FAT,))
    for side, label in ((1.0, Structure.ILIOPSOAS_LEFT), (-1.0, Structure.ILIOPSOAS_RIGHT)):
        psoas = Column(
            (-110.0, -40.0, 30.0),
            [(side * 46.0, 36.0), (side * 40.0, 38.0), (side * 27.0, 46.0)],
            [(21.0, 22.0), (16.0, 17.0), (6.0, 8.0)],
            ends=(-200.0, 36.0),
        )
        scene.add(Rough(psoas, relief=1.2), Tissue.MUSCLE, label)
        quadratus = Column([0.0], [(side * 66.0, 66.0)], [(24.0, 9.0)], ends=(-200.0, 50.0))
        scene.add(Rough(quadratus, relief=1.2), Tissue.MUSCLE)
    heights = (-110.0, -40.0, 40.0, 130.0)
    aorta = [(6.0, 8.0), (9.0, 5.0), (10.0, 14.0), (14.0, 24.0)]
    scene.add(Column(heights, aorta, [(vary.size(10.5), 10.5)] * 4), Tissue.BLOOD, Structure.AORTA)
    cava = [(-20.0, 10.0), (-20.0, 6.0), (-24.0, 2.0), (-26.0, -6.0)]
    scene.add(Column(heights, cava, [(13.0, vary.size(10.5, 0.15))] * 4), Tissue.BLOOD, Structure.INFERIOR_VENA_CAVA)
