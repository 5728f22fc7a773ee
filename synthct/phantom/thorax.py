"""The chest, from the clavicles to the domes of the diaphragm, arms raised out of the field."""

from __future__ import annotations

import numpy as np

from synthct.phantom.combine import Difference, Inset, Intersection, Rough, Septa, Union, tube
from synthct.phantom.grid import Pose
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Capsule, Column, Ellipsoid, HalfSpace, Plate, Point
from synthct.phantom.skeleton import add_rib, add_spine, spine
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue
from synthct.phantom.torso import add_back_muscles, add_wall

__all__ = ["draw_thorax"]

_NAMES = ["L2", "L1", *(f"T{n}" for n in range(12, 0, -1)), "C7", "C6"]
_CURVE = [(-180.0, 38.0), (-60.0, 50.0), (20.0, 56.0), (90.0, 44.0), (150.0, 26.0)]
_CAGE_HEIGHTS = (-150.0, -60.0, 0.0, 45.0, 85.0, 118.0)


def draw_thorax(rng: np.random.Generator, seed: int) -> Scene:
    """Draw a chest centred a little below the carina."""
    del seed  # everything that differs between patients comes from the generator
    vary = Variation(rng)
    pose = Pose.draw(rng, bend=2.5, wavelength=140)
    broad, deep = vary.size(1.0, 0.03), vary.size(1.0, 0.03)
    frame = [(164.0, 114.0), (164.0, 114.0), (167.0, 113.0), (168.0, 108.0), (160.0, 98.0), (128.0, 82.0)]
    radii = [(a * broad, b * deep) for a, b in frame]
    centres = [(0.0, y) for y in (2.0, 2.0, 3.0, 7.0, 12.0, 16.0)]
    outline = Rough(Column(_CAGE_HEIGHTS, centres, radii, power=2.5), relief=1.5)
    fat = vary.between(9.0, 15.0)
    muscle = Rough(Column(_CAGE_HEIGHTS, centres, [(a - fat, b - fat) for a, b in radii], power=2.5), relief=1.2)
    cage_radii = [(138.0, 92.0), (138.0, 91.0), (131.0, 86.0), (114.0, 76.0), (84.0, 60.0), (52.0, 42.0)]
    cage_centres = [(0.0, y) for y in (1.0, 2.0, 5.0, 10.0, 19.0, 24.0)]
    cage = Column(_CAGE_HEIGHTS, cage_centres, [(a * broad, b * deep) for a, b in cage_radii], power=2.3)
    scene = Scene(outline, pose, skin=2.6)
    add_wall(scene, muscle, Inset(cage, 9.0))
    _add_shoulder_muscles(scene, vary)
    vertebrae = spine(_NAMES, middle=("T5", vary.between(20.0, 30.0)), curve=_CURVE)
    _add_upper_abdomen(scene, vary, cage)
    _add_lungs(scene, vary, cage)
    _add_heart(scene, vary)
    _add_great_vessels(scene)
    _add_airways(scene)
    add_back_muscles(scene, y=88.0, width=22.0, depth=12.0)
    add_spine(scene, vertebrae)
    _add_chest_bones(scene, cage)
    roots = {one.name: one for one in vertebrae}
    for number in range(1, 13):
        drop = (26.0, 42.0, 50.0, 56.0, 62.0, 68.0, 74.0, 80.0, 82.0, 80.0, 60.0, 40.0)[number - 1]
        stop = 150.0 if number <= 7 else (138.0, 130.0, 120.0, 95.0, 70.0)[number - 8]
        for side in (1, -1):
            front = add_rib(scene, number, side, cage, roots[f"T{number}"], drop=drop, stop=stop)
            if number <= 8:
                height = front[2] + (4.0 if number <= 4 else 10.0 + 5.0 * (number - 4))
                end = cage.surface_point(side * 172.0, max(height, -62.0), depth=4.0)
                cartilage = tube([front, end], 4.4, tall=1.4)
                scene.add(cartilage, Tissue.CARTILAGE, Structure.COSTAL_CARTILAGES, over=(Tissue.MUSCLE, Tissue.SEPTUM))
    return scene


def _add_shoulder_muscles(scene: Scene, vary: Variation) -> None:
    """Part the muscles of chest wall and shoulder by fat."""
    axes = [(side * vary.size(x), vary.size(y)) for side in (1.0, -1.0) for x, y in (
        (60.0, -85.0), (70.0, -60.0), (120.0, -35.0), (150.0, 20.0), (120.0, 65.0), (95.0, 92.0),
        (60.0, 98.0), (100.0, 30.0)
    )]  # fmt: skip
    scene.add(Septa(axes, width=1.8, spread=0.0008), Tissue.SEPTUM, over=(Tissue.MUSCLE,))


def _add_upper_abdomen(scene: Scene, vary: Variation, cage: Column) -> None:
    """Add diaphragm, liver, stomach and spleen, as far as the domes rise into the field."""
    room = Inset(cage, 10.0)
    right = Ellipsoid(vary.place((-64.0, -4.0, -150.0), 4.0), (74.0, 88.0, 88.0))
    left = Ellipsoid(vary.place((68.0, -2.0, -152.0), 4.0), (70.0, 86.0, 74.0))
    middle = Ellipsoid((0.0, -30.0, -150.0), (90.0, 62.0, 62.0))
    scene.add(Intersection([Union([right, left, middle]), Inset(cage, 7.0)]), Tissue.MUSCLE)
    scene.add(Intersection([Inset(left, 4.0), room]), Tissue.VISCERAL_FAT)
    liver = Intersection([Union([Inset(right, 3.0), Inset(middle, 4.0)]), room])
    scene.add(liver, Tissue.LIVER, Structure.LIVER)
    stomach = Intersection([Ellipsoid((52.0, -18.0, -140.0), (40.0, 42.0, 54.0)), Inset(left, 4.0)])
    scene.add_hollow(stomach, 4.0, Tissue.CONTENTS, Structure.STOMACH)
    bubble = Intersection([Inset(stomach, 5.0), HalfSpace((0.0, -30.0, 0.0), (0.0, -1.0, 0.0))])
    scene.add(bubble, Tissue.AIR, Structure.STOMACH)
    spleen = Intersection([Ellipsoid((98.0, 36.0, -145.0), (28.0, 42.0, 56.0)), Inset(left, 4.0), room])
    scene.add(spleen, Tissue.SPLEEN, Structure.SPLEEN)


def _add_lungs(scene: Scene, vary: Variation, cage: Column) -> None:
    """Add both lungs, parted into lobes by the fissures, with their vessels."""
    heights = (-110.0, -50.0, 20.0, 60.0, 118.0)
    middle = [(6.0, 4.0), (8.0, 2.0), (2.0, 4.0), (0.0, 8.0), (0.0, 14.0)]
    radii = [(30.0, 84.0), (34.0, 86.0), (33.0, 78.0), (29.0, 66.0), (26.0, 48.0)]
    mediastinum = Rough(Column(heights, middle, radii), relief=2.0)
    spine_bed = Column([0.0], [(0.0, 82.0)], [(34.0, 32.0)])
    scene.add(Intersection([spine_bed, Inset(cage, 4.0)]), Tissue.MUSCLE)
    domes = Union(
        [Ellipsoid((-64.0, -4.0, -150.0), (80.0, 100.0, 90.0)), Ellipsoid((68.0, -2.0, -152.0), (76.0, 98.0, 76.0))]
    )
    slope = vary.size(0.95, 0.1)
    oblique = HalfSpace((0.0, 0.0, -8.0), (0.0, -slope, 1.0))
    below = HalfSpace((0.0, 0.0, -8.0), (0.0, slope, -1.0))
    horizontal = vary.between(-12.0, -2.0)
    for side in (1.0, -1.0):
        half = HalfSpace((side * 2.0, 0.0, 0.0), (side, 0.0, 0.0))
        pleura = Rough(Inset(cage, 10.0), relief=1.0)
        apex = HalfSpace((0.0, 0.0, 106.0), (0.0, 0.0, -1.0))
        lung = Difference(Intersection([pleura, half, apex]), Union([mediastinum, spine_bed]))
        lung = Difference(lung, domes, gap=2.0)
        lower, upper = Structure.LUNG_LOWER_LEFT, Structure.LUNG_UPPER_LEFT
        if side < 0:
            lower, upper = Structure.LUNG_LOWER_RIGHT, Structure.LUNG_UPPER_RIGHT
        scene.add(lung, Tissue.LUNG, upper)
        scene.add(Intersection([lung, below]), Tissue.LUNG, lower)
        if side < 0:
            anterior = HalfSpace((0.0, 0.0, horizontal), (0.0, 0.0, -1.0))
            scene.add(Intersection([lung, oblique, anterior]), Tissue.LUNG, Structure.LUNG_MIDDLE_RIGHT)
        _add_lung_vessels(scene, vary, side)


def _add_lung_vessels(scene: Scene, vary: Variation, side: float) -> None:
    """Add a tree of vessels that spreads from the hilum; it keeps the lobes' labels."""
    root: Point = (side * 34.0, 10.0, 2.0)
    for index in range(16):
        goal = vary.place((side * 82.0, 8.0, 5.0 - 75.0 + 10.0 * index), 8.0)
        goal = (goal[0], goal[1] + vary.between(-52.0, 48.0), goal[2])
        fork = vary.place(((root[0] + goal[0]) / 2, (root[1] + goal[1]) / 2, (root[2] + goal[2]) / 2), 6.0)
        scene.add(tube([root, fork, goal], [5.2, 2.8, 1.1]), Tissue.BLOOD, None, over=(Tissue.LUNG,))
        for _ in range(3):
            twig = vary.place(goal, 26.0)
            scene.add(tube([fork, twig], [2.3, 0.9]), Tissue.BLOOD, None, over=(Tissue.LUNG,))


def _add_heart(scene: Scene, vary: Variation) -> None:
    """Add the heart, tip to the left, in its fat: muscle around the left ventricle, thin around the rest."""
    centre = vary.place((20.0, -28.0, -40.0), 4.0)
    radii, turn = vary.sizes((60.0, 42.0, 46.0)), (0.0, 25.0, -32.0)
    sac = Ellipsoid(centre, (radii[0] + 5.0, radii[1] + 4.0, radii[2] + 5.0), turn)
    not_wall = (Tissue.LUNG, Tissue.BLOOD, Tissue.VISCERAL_FAT)
    scene.add(Rough(sac, relief=1.5), Tissue.VISCERAL_FAT, over=not_wall)
    over = (Tissue.VISCERAL_FAT,)
    scene.add(Rough(Ellipsoid(centre, radii, turn), relief=1.5), Tissue.MYOCARDIUM, Structure.HEART, over=over)
    x, y, z = centre
    chambers = (
        ((x + 20.0, y + 2.0, z - 10.0), (24.0, 17.0, 20.0), turn),
        ((x - 4.0, y - 22.0, z - 10.0), (27.0, 12.0, 24.0), turn),
        ((x - 36.0, y - 8.0, z + 6.0), (17.0, 21.0, 26.0), (0.0, 0.0, 0.0)),
        ((x - 12.0, y + 24.0, z + 12.0), (24.0, 13.0, 18.0), (0.0, 0.0, 0.0)),
    )
    for place, size, tilt in chambers:
        chamber = Rough(Ellipsoid(place, size, tilt), relief=1.5)
        scene.add(chamber, Tissue.BLOOD, Structure.HEART, over=(Tissue.MYOCARDIUM,))


def _add_great_vessels(scene: Scene) -> None:
    """Add aorta with its arch, superior vena cava and the pulmonary trunk."""
    fat = tube([(-6.0, -14.0, -8.0), (-2.0, -12.0, 60.0)], [34.0, 24.0])
    scene.add(fat, Tissue.VISCERAL_FAT, over=(Tissue.LUNG, Tissue.BLOOD))
    pulmonary: list[Point] = [(16.0, -34.0, -8.0), (16.0, -22.0, 12.0), (4.0, -8.0, 14.0), (-32.0, 2.0, 8.0)]
    scene.add(tube(pulmonary, [13.0, 13.0, 11.0, 8.0]), Tissue.BLOOD)
    scene.add(tube([(16.0, -18.0, 14.0), (36.0, 8.0, 10.0)], [12.0, 8.0]), Tissue.BLOOD)
    cava: list[Point] = [(-27.0, -14.0, -18.0), (-26.0, -16.0, 40.0), (-16.0, -14.0, 80.0), (-22.0, -6.0, 130.0)]
    scene.add(tube(cava, [10.0, 9.0, 8.0, 7.0]), Tissue.BLOOD, Structure.SUPERIOR_VENA_CAVA)
    aorta: list[Point] = [(2.0, -26.0, -12.0), (-9.0, -26.0, 14.0), (-7.0, -20.0, 40.0), (2.0, -6.0, 54.0)]
    aorta += [(14.0, 14.0, 54.0), (21.0, 30.0, 42.0), (23.0, 35.0, 20.0), (21.0, 34.0, -60.0), (10.0, 24.0, -190.0)]
    scene.add(tube(aorta, [15.0, 15.5, 15.0, 14.0, 13.0, 12.5, 12.0, 11.5, 10.5]), Tissue.BLOOD, Structure.AORTA)
    for start, stop in (((2.0, -6.0, 60.0), (18.0, 0.0, 130.0)), ((-8.0, -14.0, 56.0), (-22.0, 2.0, 130.0))):
        scene.add(Capsule(start, stop, (5.0, 4.0)), Tissue.BLOOD)


def _add_airways(scene: Scene) -> None:
    """Add trachea, main bronchi and, behind them, the oesophagus."""
    gullet = tube([(5.0, 22.0, 140.0), (3.0, 32.0, 50.0), (4.0, 32.0, 0.0), (12.0, 16.0, -110.0)], 8.0)
    scene.add(gullet, Tissue.BOWEL, Structure.OESOPHAGUS)
    split: Point = (0.0, 14.0, 30.0)
    bronchi = [[split, (-24.0, 16.0, 10.0), (-46.0, 16.0, -8.0)], [split, (26.0, 16.0, 8.0), (46.0, 16.0, -6.0)]]
    windpipe: list[Point] = [split, (0.0, 10.0, 70.0), (0.0, 0.0, 150.0)]
    scene.add(tube(windpipe, 11.0), Tissue.CARTILAGE)
    for path in bronchi:
        scene.add(tube(path, [9.0, 8.0, 5.5]), Tissue.CARTILAGE)
    for path in bronchi:
        scene.add(tube(path, [7.4, 6.2, 4.2]), Tissue.AIR)
    scene.add(tube(windpipe, 9.2), Tissue.AIR, Structure.TRACHEA)


def _add_chest_bones(scene: Scene, cage: Column) -> None:
    """Add sternum, clavicles and scapulae."""
    heights = (-56.0, -20.0, 20.0, 50.0, 74.0)
    front = [cage.surface_point(180.0, z, depth=3.0) for z in heights]
    plate = Column(
        heights,
        [(0.0, y) for _, y, _ in front],
        [(9.0, 5.0), (15.0, 5.5), (14.0, 6.0), (22.0, 6.5), (27.0, 6.5)],
        power=2.5,
        ends=(-58.0, 75.0),
    )
    scene.add_bone(Rough(plate, relief=0.5), 1.5, Structure.STERNUM)
    for side, scapula, clavicle in (
        (1.0, Structure.SCAPULA_LEFT, Structure.CLAVICLE_LEFT),
        (-1.0, Structure.SCAPULA_RIGHT, Structure.CLAVICLE_RIGHT),
    ):
        low, inner, outer = (side * 104.0, 82.0, -12.0), (side * 72.0, 88.0, 78.0), (side * 128.0, 52.0, 82.0)
        blade = Union([Plate((low, inner, outer), 3.2), Capsule(outer, low, (6.0, 4.0))])
        scene.add_bone(blade, 1.5, scapula)
        scene.add_bone(Capsule((side * 78.0, 92.0, 62.0), (side * 124.0, 68.0, 85.0), (3.5, 6.0)), 1.5, scapula)
        bar = tube(
            [(side * 20.0, -46.0, 86.0), (side * 66.0, -44.0, 98.0), (side * 124.0, -4.0, 112.0)], [8.5, 6.0, 6.0]
        )
        scene.add_bone(bar, 2.0, clavicle)
