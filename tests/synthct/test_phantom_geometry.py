"""Poses, boxes, and what the painter makes of shapes: volumes and places a person can work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from phantom_cases import centred_axes

from synthct.phantom import grid as grid_module
from synthct.phantom.combine import Blend, Difference, Inset, Intersection, Rough, Septa, Union, tube
from synthct.phantom.grid import Grid, Pose
from synthct.phantom.scene import Layer, Scene, Variation, paint
from synthct.phantom.shapes import Capsule, Column, Ellipsoid, HalfSpace, Plate, Shape
from synthct.phantom.skeleton import Vertebra, add_rib, spine
from synthct.phantom.structures import Structure, rib, vertebra
from synthct.phantom.tissues import Tissue
from synthct.phantom.waves import WaveField

AXES = centred_axes((60, 60, 60), (1.0, 1.0, 1.0))
STILL = replace(
    Pose.draw(np.random.default_rng(0), bend=0.0, wavelength=100), scale=(1.0, 1.0, 1.0), turn=0.0, lean=0.0
)
BALL = Ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
ROD = Ellipsoid((0.0, 0.0, 0.0), (24.0, 4.0, 4.0))


def ball(radius: float, x: float = 0.0) -> Ellipsoid:
    return Ellipsoid((x, 0.0, 0.0), (radius, radius, radius))


def ball_volume(radius: float) -> float:
    return 4 / 3 * math.pi * radius**3


def inside(shape: Shape, pose: Pose = STILL) -> npt.NDArray[np.bool_]:
    return np.broadcast_to(shape.level(Grid.posed(pose, *AXES)), (60, 60, 60)) < 0


def scene(skin: float = 0.0, radius: float = 28.0) -> Scene:
    """Return a ball of fat."""
    return Scene(ball(radius), STILL, skin=skin)


def wavy(seed: int) -> Grid:
    """Return a grid of half a millimetre with fields of its own."""
    axes = centred_axes((110, 110, 110), (0.5, 0.5, 0.5))
    rng = np.random.default_rng(seed)
    pose = replace(STILL, relief=WaveField.draw(rng, 24, 50), folds=WaveField.draw(rng, 11, 18))
    return Grid.posed(pose, *axes)


@pytest.mark.parametrize(
    "shape",
    [
        Inset(BALL, -3.0),
        Inset(Ellipsoid((1.0, 2.0, 0.0), (18.0, 8.0, 12.0), (0.0, 14.0, -24.0)), -2.0),
        Inset(tube([(-8.0, 0.0, 0.0), (8.0, 3.0, 5.0)], [4.0, 7.0]), -4.0),
        Inset(BALL, 3.0),
        Rough(BALL, relief=2.0),
        Rough(BALL, relief=1.5, folds=2.2),
        Rough(Inset(BALL, -2.0), relief=3.0),
        Blend(ball(8.0, -7.0), ball(8.0, 7.0), 6.0),
        Difference(BALL, HalfSpace((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))),
        Intersection([BALL, ball(10.0, 6.0)]),
        Union([ball(6.0, -12.0), ball(5.0, 12.0)]),
        Column([-10.0, 10.0], [(0.0, 0.0), (5.0, 3.0)], [(8.0, 6.0), (5.0, 9.0)], lobes=3, lobe=0.12, ends=(-9.0, 9.0)),
        Capsule((-5.0, 0.0, 0.0), (5.0, 2.0, 4.0), (6.0, 3.0), tall=1.6),
        Plate(((-9.0, -6.0, 0.0), (9.0, -6.0, 2.0), (0.0, 9.0, 5.0)), 2.5),
    ],
)
def test_painter_never_cuts_a_shape_at_its_box(shape: Shape) -> None:
    # A part is drawn only where its box is: what sticks out of the box would be cut flat.
    low, high = (np.array(corner) for corner in shape.bounds)
    for seed in (1, 6, 11):
        at = wavy(seed)
        found = np.argwhere(np.broadcast_to(shape.level(at), at.shape) < 0)[:, ::-1] * 0.5 - 27.25
        assert found.size
        assert (found >= low).all(), f"{(low - found).max():.2f} mm below the box"
        assert (found <= high).all(), f"{(found - high).max():.2f} mm above the box"


@pytest.mark.parametrize("scale", [(1.2, 1.0, 1.0), (0.9, 1.1, 1.3)])
def test_scale_multiplies_volumes(scale: tuple[float, float, float]) -> None:
    count = np.count_nonzero(inside(BALL, replace(STILL, scale=scale)))
    assert count == pytest.approx(ball_volume(10) * math.prod(scale), rel=0.03)


@pytest.mark.parametrize("degrees", [-30.0, 25.0, 90.0])
def test_turn_rotates_the_body_and_keeps_its_volume(degrees: float) -> None:
    turned = inside(ROD, replace(STILL, turn=degrees))
    assert np.count_nonzero(turned) == pytest.approx(4 / 3 * math.pi * 24 * 16, rel=0.03)
    points = np.argwhere(turned)[:, :0:-1] - 29.5
    first = np.linalg.eigh(np.cov(points.T))[1][:, -1]
    # The grid is turned by +degrees, so the drawing appears turned the other way.
    assert abs(first @ [math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))]) > 0.999


def test_lean_moves_higher_slices_sideways() -> None:
    leaning = inside(Column([0.0], [(0.0, 0.0)], [(8.0, 8.0)]), replace(STILL, lean=0.2))
    middles = [float(np.argwhere(leaning[z])[:, 1].mean()) - 29.5 for z in (10, 50)]
    assert middles[0] == pytest.approx(0.2 * 19.5, abs=0.3)
    assert middles[1] == pytest.approx(-0.2 * 20.5, abs=0.3)


@pytest.mark.parametrize("seed", range(6))
def test_drawn_poses_stay_small(seed: int) -> None:
    pose = Pose.draw(np.random.default_rng(seed), bend=3.0, wavelength=130)
    assert all(0.96 <= factor <= 1.04 for factor in pose.scale)
    assert abs(pose.turn) <= 2.5
    assert abs(pose.lean) <= 0.03
    assert Grid.posed(pose, *AXES).slack < 3 * math.sqrt(2.5) + 30 * math.radians(2.6) + 0.03 * 32


def test_frustum_has_the_textbook_volume() -> None:
    # A rod of radius 10 to 5 over 20 mm between the centres of its round ends.
    flat = [HalfSpace((-10.0, 0.0, 0.0), (1.0, 0.0, 0.0)), HalfSpace((10.0, 0.0, 0.0), (-1.0, 0.0, 0.0))]
    frustum = Intersection([tube([(-10.0, 0.0, 0.0), (10.0, 0.0, 0.0)], [10.0, 5.0]), *flat])
    assert np.count_nonzero(inside(frustum)) == pytest.approx(math.pi * 20 / 3 * (100 + 50 + 25), rel=0.03)


def test_tall_capsules_are_higher_than_wide() -> None:
    rod = inside(Capsule((-10.0, 0.0, 0.0), (10.0, 0.0, 0.0), (6.0, 6.0), tall=2.0))
    assert np.count_nonzero(rod[:, 29, 29]) == 24
    assert np.count_nonzero(rod[29, :, 29]) == 12


def test_septum_between_two_axes_is_the_middle_plane() -> None:
    # On the line between the axes the two distances differ by 2 |x|, so a wall of width 6 spans |x| < 3.
    at = Grid.posed(STILL, *AXES)
    flat = replace(at, folds=np.zeros_like(at.folds))
    wall = Septa([(-10.0, 0.0), (10.0, 0.0)], width=6.0).level(flat) < 0
    assert np.flatnonzero(wall[30, 29]).tolist() == list(range(27, 33))
    assert wall[:, :, 29:31].all()


def test_later_parts_cover_earlier_ones() -> None:
    drawn = scene()
    drawn.add(BALL, Tissue.LIVER, Structure.LIVER)
    drawn.add(ball(7.0), Tissue.AIR, Structure.STOMACH)
    tissues, labels = paint(drawn, AXES)
    assert np.count_nonzero(tissues == Tissue.AIR) == pytest.approx(ball_volume(7), rel=0.05)
    assert np.count_nonzero(tissues == Tissue.LIVER) == pytest.approx(ball_volume(10) - ball_volume(7), rel=0.03)
    np.testing.assert_array_equal(labels == Structure.LIVER, tissues == Tissue.LIVER)
    drawn.parts.reverse()
    assert not (paint(drawn, AXES)[0] == Tissue.AIR).any()


def test_over_restricts_what_is_replaced_and_none_keeps_the_label() -> None:
    drawn = scene()
    drawn.add(BALL, Tissue.LIVER, Structure.LIVER)
    drawn.add(ball(10.0, 10.0), Tissue.BLOOD, None, over=(Tissue.LIVER,))
    tissues, labels = paint(drawn, AXES)
    # Two balls of 10 mm, 10 mm apart, share 5 / 16 of one.
    assert np.count_nonzero(tissues == Tissue.BLOOD) == pytest.approx(ball_volume(10) * 5 / 16, rel=0.05)
    assert np.count_nonzero(labels == Structure.LIVER) == pytest.approx(ball_volume(10), rel=0.03)


def test_bones_and_hollow_organs_are_shells() -> None:
    drawn = scene()
    drawn.add_bone(ball(10.0, -14.0), 3.0, Structure.FEMUR_RIGHT)
    drawn.add_hollow(ball(10.0, 14.0), 4.0, Tissue.FLUID, Structure.BLADDER)
    tissues, labels = paint(drawn, AXES)
    shares = {Tissue.SPONGY: 343, Tissue.COMPACT: 1000 - 343, Tissue.FLUID: 216, Tissue.BOWEL: 1000 - 216}
    for tissue, cubes in shares.items():
        assert np.count_nonzero(tissues == tissue) == pytest.approx(4 / 3 * math.pi * cubes, rel=0.06), tissue
    assert set(np.unique(tissues[labels == Structure.BLADDER])) == {Tissue.FLUID, Tissue.BOWEL}


def test_layer_of_negative_depth_lies_outside_the_surface() -> None:
    drawn = scene()
    drawn.add_layers(Inset(ball(12.0), 2.0), Layer(-1.0, Tissue.COMPACT, 1), Layer(0.0, Tissue.WHITE, 2))
    labels = paint(drawn, AXES)[1]
    assert np.count_nonzero(labels) == pytest.approx(ball_volume(11), rel=0.03)
    assert np.count_nonzero(labels == 2) == pytest.approx(ball_volume(10), rel=0.03)


def test_skin_covers_all_but_airways_and_nothing_leaves_the_outline() -> None:
    drawn = scene(skin=3.0, radius=20.0)
    drawn.add(ball(15.0, 18.0), Tissue.COMPACT, Structure.SKULL)
    drawn.add(Capsule((0.0, 0.0, 0.0), (0.0, -40.0, 0.0), (4.0, 4.0)), Tissue.AIR, Structure.TRACHEA)
    tissues, labels = paint(drawn, AXES)
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*AXES, indexing="ij"))).transpose(2, 1, 0)
    assert not tissues[distance > 20.01].any()
    assert not labels[distance > 20.01].any()
    shell = (distance < 19.99) & (distance > 17.01)
    assert set(np.unique(tissues[shell])) == {Tissue.SKIN, Tissue.AIR}
    assert set(np.unique(labels[shell])) == {0, Structure.TRACHEA}
    assert tissues[distance < 19.99].all()


def test_slabs_leave_no_trace_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Scene(ball(26.0), Pose.draw(np.random.default_rng(3), bend=3.0, wavelength=60), skin=2.0)
    drawn.add_bone(Rough(tube([(-9.0, 4.0, -12.0), (8.0, -6.0, 14.0)], 6.0), relief=1.5, folds=1.0), 2.0, 75)
    at_once = paint(drawn, AXES)
    monkeypatch.setattr(grid_module, "_SLAB_VOXELS", 60 * 60 * 7)
    for whole, cut in zip(at_once, paint(drawn, AXES), strict=True):
        assert np.mean(whole != cut) < 1e-4  # rounding of float32 at the very surface


def test_parts_outside_the_field_are_left_out() -> None:
    drawn = scene()
    drawn.add(ball(5.0, 200.0), Tissue.LIVER, Structure.LIVER)
    drawn.add(Union([ball(5.0, 200.0), BALL]), Tissue.SPLEEN, Structure.SPLEEN)
    assert np.unique(paint(drawn, AXES)[1]).tolist() == [0, Structure.SPLEEN]


def test_variation_keeps_its_bounds() -> None:
    vary = Variation(np.random.default_rng(0))
    sizes = [vary.size(50.0, 0.1) for _ in range(300)]
    assert min(sizes) >= 45
    assert max(sizes) <= 55
    assert max(sizes) - min(sizes) > 9
    moved = np.array([vary.place((1.0, 2.0, 3.0), 2.0) for _ in range(300)]) - (1.0, 2.0, 3.0)
    assert 1.9 < np.abs(moved).max() <= 2.0
    assert np.std([vary.sizes((9.0, 9.0, 9.0)) for _ in range(9)], axis=1).min() > 0  # each radius for itself
    assert Variation(np.random.default_rng(1)).between(3, 4) == Variation(np.random.default_rng(1)).between(3, 4)


def test_vertebrae_stack_by_their_pitch() -> None:
    # Lumbar pitch 33 mm, thoracic 24: the step between the two kinds is the mean, 28.5.
    stack = spine(["L2", "L1", "T12", "T11"], middle=("L1", 10.0), curve=[(-50.0, 40.0), (50.0, 40.0)])
    assert [one.name for one in stack] == ["L2", "L1", "T12", "T11"]
    assert [one.z for one in stack] == pytest.approx([-23.0, 10.0, 38.5, 62.5])
    assert [one.y for one in stack] == pytest.approx([40.0] * 4)
    assert stack[0].canal_y == pytest.approx(40.0 + 17.0 + 8.0)
    assert stack[0].half_width > stack[-1].half_width


@pytest.mark.parametrize("side", [1, -1])
def test_rib_runs_from_its_vertebra_round_the_cage_and_down(side: int) -> None:
    drawn = scene()
    cage = Column([0.0], [(0.0, 0.0)], [(25.0, 25.0)])
    front = add_rib(drawn, 7, side, cage, Vertebra("T7", 10.0, 8.0, 5.0, 4.0, 24.0), drop=20.0, stop=90.0)
    assert front == pytest.approx((side * 20.0, 0.0, 8.0 + 2.0 - 20.0), abs=1e-4)
    labels = paint(drawn, AXES)[1]
    assert np.unique(labels).tolist() == [0, rib(7, side)]
    assert set(np.sign(np.argwhere(labels)[:, 2] - 29.5)) == {side}


def test_ids_of_vertebrae_ribs_and_organs_are_all_different() -> None:
    names = ["S1", *(f"L{n}" for n in range(1, 6)), *(f"T{n}" for n in range(1, 13)), *(f"C{n}" for n in range(1, 8))]
    ids = [vertebra(name) for name in names] + [rib(n, side) for n in range(1, 13) for side in (1, -1)]
    ids += [int(structure) for structure in Structure]
    assert len(set(ids)) == len(ids) == 25 + 24 + len(Structure)
    assert min(ids) >= 1
    assert max(ids) <= 117
    with pytest.raises(ValueError, match="L6"):
        vertebra("L6")
