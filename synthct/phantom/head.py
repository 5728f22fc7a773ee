"""The head, from the vertex to the neck: outline, soft tissue, brain and eyes; bones and neck have their own files."""

from __future__ import annotations

import numpy as np

from synthct.phantom.combine import Blend, Difference, Inset, Intersection, Rough, Septa, Union, tube
from synthct.phantom.grid import Pose
from synthct.phantom.head_bones import add_face_bones, add_jaw, add_skull, temporal_fossa
from synthct.phantom.neck import add_neck, add_neck_spine
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Column, Ellipsoid, HalfSpace, Point, Shape
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["draw_head"]


def draw_head(rng: np.random.Generator, seed: int) -> Scene:
    """Draw a head whose centre lies at the base of the skull; a longer field shows the neck down to the thyroid."""
    del seed  # everything that differs between patients comes from the generator
    vary = Variation(rng)
    pose = Pose.draw(rng, bend=2.0, wavelength=110)
    outline = Rough(_outline(vary), relief=0.8)
    scene = Scene(outline, pose, skin=2.5)
    _add_soft_tissue(scene, outline)
    vault = Ellipsoid((0.0, 4.0, 21.0), (vary.size(70.0, 0.03), vary.size(88.0, 0.03), 62.0))
    add_neck(scene, vary)
    inside = add_skull(scene, vault)
    _add_brain(scene, vary, inside)
    add_face_bones(scene, vary, inside)
    add_jaw(scene, vary)
    _add_eyes(scene, vary)
    add_neck_spine(scene)
    return scene


def _outline(vary: Variation) -> Shape:
    """Return the skin: cranium, face with nose, neck and ears."""
    cranium = Ellipsoid((0.0, 4.0, 22.0), (77.0, 96.0, 68.0))
    face = Column(
        (-92.0, -80.0, -55.0, -20.0, 20.0),
        [(0.0, -46.0), (0.0, -44.0), (0.0, -36.0), (0.0, -30.0), (0.0, -28.0)],
        [(22.0, 36.0), (42.0, 42.0), (60.0, 51.0), (66.0, 56.0), (62.0, 50.0)],
        power=2.2,
        ends=(-88.0, 30.0),
    )
    throat = Column(
        (-170.0, -110.0, -60.0),
        [(0.0, 26.0), (0.0, 24.0), (0.0, 22.0)],
        [(74.0, 64.0), (58.0, 58.0), (58.0, 62.0)],
        ends=(-1e4, -20.0),
    )
    head = Blend(Blend(cranium, face, 14.0), throat, 18.0)
    nose = Ellipsoid((0.0, -86.0, -27.0), (12.0, vary.size(17.0), 22.0), (-18.0, 0.0, 0.0))
    ears = Union(
        [Ellipsoid((side * 74.0, 20.0, -12.0), (6.0, 15.0, 28.0), (0.0, 0.0, side * 20.0)) for side in (1, -1)]
    )
    return Blend(Blend(head, nose, 8.0), ears, 5.0)


def _add_soft_tissue(scene: Scene, outline: Shape) -> None:
    """Add the muscles of face and neck under their fat, and the temporal and masseter muscles."""
    below = HalfSpace((0.0, 0.0, -14.0), (0.0, 0.1, -1.0))
    muscle = Rough(Intersection([Inset(outline, 8.0), below]), relief=2.5)
    scene.add(muscle, Tissue.MUSCLE)
    axes = [(side * x, y) for side in (1.0, -1.0) for x, y in (
        (12.0, 62.0), (28.0, 58.0), (44.0, 42.0), (48.0, 12.0), (34.0, -4.0),
        (52.0, -20.0), (14.0, -40.0), (36.0, -58.0),
    )]  # fmt: skip
    scene.add(Septa(axes, width=2.0, spread=0.0015), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
    for side in (1.0, -1.0):
        temporal = Ellipsoid((side * 68.0, -22.0, 2.0), (8.0, 32.0, 30.0), (0.0, 0.0, side * -8.0))
        scene.add(temporal, Tissue.MUSCLE)
        cheek = Ellipsoid((side * 44.0, -70.0, -34.0), (18.0, 20.0, 20.0))
        scene.add(Rough(cheek, relief=2.0), Tissue.FAT, over=(Tissue.MUSCLE, Tissue.SEPTUM))


def _add_brain(scene: Scene, vary: Variation, inside: Shape) -> None:
    """Add the brain in its fluid: folded grey around white matter, deep nuclei, ventricles, cerebellum, brainstem."""
    label = Structure.BRAIN
    floor = HalfSpace((0.0, 0.0, -12.0), (0.0, 0.35, 1.0))
    lobes = [temporal_fossa(side) for side in (1.0, -1.0)]
    cerebrum = Intersection([inside, Union([floor, *lobes])])
    scene.add(Rough(Inset(cerebrum, 3.2), relief=0.3, folds=4.5), Tissue.GREY, label, over=(Tissue.FLUID,))
    scene.add(Rough(Inset(cerebrum, 9.0), relief=0.5, folds=10.0), Tissue.WHITE, label, over=(Tissue.GREY,))
    fissure = Difference(
        Ellipsoid((0.0, 2.0, 30.0), (1.5, 100.0, 70.0)), Ellipsoid((0.0, 6.0, 8.0), (30.0, 52.0, 40.0))
    )
    scene.add(Intersection([fissure, inside]), Tissue.FLUID, 0, over=(Tissue.GREY, Tissue.WHITE))
    for side in (1.0, -1.0):
        sylvian = tube(
            [(side * 66.0, -20.0, 4.0), (side * 42.0, -12.0, 4.0), (side * 62.0, 14.0, 18.0)], [3.2, 1.8, 2.2]
        )
        scene.add(Inset(sylvian, -3.5), Tissue.GREY, label, over=(Tissue.WHITE,))
        scene.add(sylvian, Tissue.FLUID, 0, over=(Tissue.GREY, Tissue.WHITE))
        for centre, radii in (((12.0, 10.0, 18.0), (8.5, 14.0, 9.0)), ((25.0, -6.0, 14.0), (6.5, 17.0, 10.0))):
            nucleus = Ellipsoid(
                vary.place((side * centre[0], centre[1], centre[2]), 1.0), radii, (0.0, 0.0, side * -14.0)
            )
            scene.add(nucleus, Tissue.GREY, label, over=(Tissue.WHITE,))
    hind = Rough(Ellipsoid((0.0, 50.0, -24.0), (48.0, 30.0, 20.0), (-12.0, 0.0, 0.0)), relief=1.0, folds=1.0)
    back = Intersection([hind, Inset(inside, 1.5)])
    scene.add(Intersection([Inset(hind, -2.0), inside]), Tissue.FLUID)
    scene.add(back, Tissue.GREY, label)
    scene.add(Intersection([Rough(Inset(hind, 6.5), relief=0.0, folds=4.0), inside]), Tissue.WHITE, label)
    stem: list[Point] = [(0.0, 14.0, 10.0), (0.0, 18.0, -12.0), (0.0, 25.0, -32.0), (0.0, 33.0, -52.0)]
    scene.add(tube(stem, [14.0, 13.0, 10.0, 7.5]), Tissue.FLUID, over=(Tissue.GREY, Tissue.FLUID))
    scene.add(tube(stem, [13.0, 12.0, 8.5, 6.0]), Tissue.WHITE, label)
    _add_ventricles(scene, vary)


def _add_ventricles(scene: Scene, vary: Variation) -> None:
    """Add the lateral ventricles, narrow or wide as age would have it, and the third and fourth."""
    wide = vary.between(0.8, 1.35)
    for side in (1.0, -1.0):
        horn: list[Point] = [(side * 11.0, -34.0, 20.0), (side * 8.0, -14.0, 30.0), (side * 13.0, 12.0, 34.0)]
        horn += [(side * 24.0, 34.0, 24.0), (side * 26.0, 50.0, 18.0)]
        scene.add(tube(horn, [4.0 * wide, 6.0 * wide, 6.5 * wide, 7.5 * wide, 3.0 * wide]), Tissue.FLUID)
        temporal: list[Point] = [(side * 24.0, 34.0, 22.0), (side * 33.0, 18.0, 4.0), (side * 32.0, -4.0, -2.0)]
        scene.add(tube(temporal, [5.0 * wide, 3.5 * wide, 2.2]), Tissue.FLUID)
    scene.add(Ellipsoid((0.0, 6.0, 16.0), (2.6 * wide, 14.0, 9.0)), Tissue.FLUID)
    scene.add(Ellipsoid((0.0, 32.0, -22.0), (7.0, 5.0, 12.0)), Tissue.FLUID)


def _add_eyes(scene: Scene, vary: Variation) -> None:
    """Add the eyes, lens forward, in the fat of the orbits, with the optic nerves and muscles."""
    for side in (1.0, -1.0):
        centre = vary.place((side * 32.0, -70.0, -8.0), 1.0)
        ball = Ellipsoid(centre, (12.5, 12.5, 12.5))
        back = (centre[0] - side * 2.0, centre[1] + 12.0, centre[2])
        scene.add(tube([back, (side * 14.0, -26.0, -3.0)], 2.2), Tissue.WHITE, over=(Tissue.FAT, Tissue.COMPACT))
        for across, up in ((11.0, 0.0), (-11.0, 0.0), (0.0, 11.0), (0.0, -11.0)):
            start = (centre[0] + across, centre[1] + 4.0, centre[2] + up)
            scene.add(tube([start, (side * 18.0, -32.0, -4.0)], [1.8, 1.5]), Tissue.MUSCLE, over=(Tissue.FAT,))
        scene.add(ball, Tissue.MUSCLE)
        scene.add(Inset(ball, 1.2), Tissue.FLUID)
        scene.add(Ellipsoid((centre[0], centre[1] - 8.5, centre[2]), (4.5, 2.4, 4.5)), Tissue.CARTILAGE)
