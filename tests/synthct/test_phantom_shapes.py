"""The shapes behind the phantoms, by volumes that a person can work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthct.phantom.combine import Blend, Difference, Inset, Intersection, Rough, Union, tube
from synthct.phantom.grid import Grid, Pose, slabs
from synthct.phantom.shapes import Capsule, Column, Ellipsoid, HalfSpace, Plate, Shape
from synthct.phantom.waves import WaveField

BALL = Ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
BALL_ML = 4 / 3 * math.pi * 1000
LEFT = HalfSpace((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
BIG = Ellipsoid((0.0, 0.0, 0.0), (20.0, 14.0, 9.0), (0.0, 0.0, 30.0))
PLATE = Plate(((-15.0, -10.0, 0.0), (15.0, -10.0, 0.0), (0.0, 14.0, 5.0)), 2.0)


def grid() -> Grid:
    """Return an undeformed grid of 1 mm over a cube of 60 mm."""
    axis = (np.arange(60) - 29.5).astype(np.float32)
    _, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    relief = np.sin(x / 3).astype(np.float32)
    return Grid((axis, axis, axis), x, y, axis[:, None, None], relief, -relief, 0.0)


def volume(shape: Shape) -> int:
    return int(np.count_nonzero(np.broadcast_to(shape.level(grid()), (60, 60, 60)) < 0))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (BALL, BALL_ML),
        (Ellipsoid((1.0, -2.0, 3.0), (20.0, 10.0, 5.0)), 4 / 3 * math.pi * 1000),
        (Ellipsoid((1.0, -2.0, 3.0), (20.0, 10.0, 5.0), (20.0, 30.0, 40.0)), 4 / 3 * math.pi * 1000),
        (Column([0.0], [(0.0, 0.0)], [(12.0, 8.0)], ends=(-10.0, 10.0)), math.pi * 12 * 8 * 20),
        (Capsule((-10.0, 0.0, 0.0), (10.0, 0.0, 0.0), (8.0, 8.0)), math.pi * 64 * 20 + 4 / 3 * math.pi * 512),
        (Inset(BALL, 4.0), 4 / 3 * math.pi * 216),
        (Intersection([BALL, LEFT]), BALL_ML / 2),
        (Difference(BALL, LEFT), BALL_ML / 2),
        (Difference(BALL, Inset(BALL, 2.0)), BALL_ML - 4 / 3 * math.pi * 512),
        (Union([BALL, BALL, Inset(BALL, 3.0)]), BALL_ML),
        (Union([Ellipsoid((x, 0.0, 0.0), (10.0, 10.0, 10.0)) for x in (-14.0, 14.0)]), 2 * BALL_ML),
        (tube([(-10.0, 0.0, 0.0), (0.0, 0.0, 0.0), (10.0, 0.0, 0.0)], 8.0), math.pi * 4096 / 3.2 + 2144.66),
        (Plate(((-20.0, -20.0, 0.0), (20.0, -20.0, 0.0), (-20.0, 20.0, 0.0)), 2.0), 800 * 4 + 137 * math.pi * 2),
    ],
)
def test_volume_is_the_textbook_one(shape: Shape, expected: float) -> None:
    assert volume(shape) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("shape", [BALL, BIG, PLATE, tube([(-9.0, 5.0, 2.0), (8.0, -6.0, 9.0)], [6.0, 3.0], tall=1.5)])
def test_box_holds_the_shape(shape: Shape) -> None:
    inside = np.argwhere(np.broadcast_to(shape.level(grid()), (60, 60, 60)) < 0)[:, ::-1] - 29.5
    low, high = shape.bounds
    assert (inside >= np.array(low)).all()
    assert (inside <= np.array(high)).all()


def test_level_is_about_the_distance() -> None:
    level = BALL.level(grid())
    radius = np.sqrt(sum(axis**2 for axis in np.broadcast_arrays(grid().x, grid().y, grid().z)))
    np.testing.assert_allclose(level, radius - 10, atol=1e-3)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (10.0, 20.0, 30.0)])
def test_centre_of_an_ellipsoid_is_its_deepest_point(turn: tuple[float, float, float]) -> None:
    axis = np.array([-1.0, 0.0, 1.0], dtype=np.float32)
    _, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    at = Grid((axis, axis, axis), x, y, axis[:, None, None], 0 * x, 0 * x, 0.0)
    assert Ellipsoid((0.0, 0.0, 0.0), (9.0, 6.0, 4.0), turn).level(at)[1, 1, 1] == pytest.approx(-4.0)
    assert Column([0.0], [(0.0, 0.0)], [(9.0, 6.0)]).level(at)[1, 1, 1] < -5.0


def test_turn_about_z_takes_x_towards_y() -> None:
    rod = Ellipsoid((0.0, 0.0, 0.0), (20.0, 3.0, 3.0), (0.0, 0.0, 30.0))
    inside = np.argwhere(rod.level(grid()) < 0)[:, ::-1] - 29.5
    slope = np.polyfit(inside[:, 0], inside[:, 1], 1)[0]
    assert math.degrees(math.atan(slope)) == pytest.approx(30, abs=3)


def test_blend_rounds_the_seam_outwards_only() -> None:
    pair = [Ellipsoid((x, 0.0, 0.0), (10.0, 10.0, 10.0)) for x in (-8.0, 8.0)]
    plain, blended = Union(pair).level(grid()) < 0, Blend(pair[0], pair[1], 6.0).level(grid()) < 0
    assert (blended | ~plain).all()
    assert np.count_nonzero(blended) > 1.02 * np.count_nonzero(plain)


def test_rough_surfaces_stay_nested() -> None:
    outer, inner = Rough(BALL, relief=2.0), Rough(Inset(BALL, 3.0), relief=2.0)
    assert not ((inner.level(grid()) < 0) & (outer.level(grid()) >= 0)).any()
    assert ((outer.level(grid()) < 0) != (BALL.level(grid()) < 0)).any()


def test_column_surface_points_lie_on_the_surface() -> None:
    column = Column((-20.0, 20.0), [(1.0, 2.0), (3.0, -2.0)], [(20.0, 12.0), (16.0, 10.0)], power=2.4)
    for degrees in (-170.0, -60.0, 0.0, 45.0, 90.0):
        x, y, z = column.surface_point(degrees, 5.0)
        at = tuple(np.array([value], dtype=np.float32) for value in (x, y, z))
        one = np.ones((1, 1, 1), dtype=np.float32)
        level = column.level(Grid((at[0], at[1], at[2]), at[0][0] * one, at[1][0] * one, at[2][0] * one, one, one, 0.0))
        assert float(level[0, 0, 0]) == pytest.approx(0.0, abs=1e-3)


def test_windows_hold_every_voxel_of_the_box_and_no_empty_ones() -> None:
    found = grid().window(((-3.0, -2.0, -1.0), (3.0, 2.0, 1.0)))
    assert found == (slice(29, 31), slice(28, 32), slice(27, 33))
    assert grid().window(((100.0, 0.0, 0.0), (110.0, 1.0, 1.0))) is None
    assert grid().crop(found).shape == (2, 4, 6)


def test_slabs_cover_every_slice_once() -> None:
    for size in ((8, 8, 8), (400, 300, 150), (3000, 3000, 5)):
        covered = [z for slab in slabs(size) for z in range(slab.start, slab.stop)]
        assert covered == list(range(size[2]))


def test_wave_fields_are_functions_of_position() -> None:
    field = WaveField.draw(np.random.default_rng(0), 30, 60)
    fine = np.arange(0, 60, 1, dtype=np.float32)
    coarse = fine[::3]
    np.testing.assert_allclose(
        field.sample(fine, fine, fine)[::3, ::3, ::3], field.sample(coarse, coarse, coarse), atol=1e-5
    )
    assert np.abs(field.sample(fine, fine, fine)).max() <= 2.0
    assert 0.2 < field.sample(fine, fine, fine).std() < 0.8


def test_pose_bends_by_no_more_than_its_slack() -> None:
    pose = Pose.draw(np.random.default_rng(1), bend=3.0, wavelength=100)
    axis = np.linspace(-100, 100, 21, dtype=np.float32)
    posed = Grid.posed(pose, axis, axis, axis)
    assert np.abs(posed.x - posed.axes[0][None, None, :]).max() <= posed.slack + 1e-4
    assert np.abs(posed.y - posed.axes[1][None, :, None]).max() <= posed.slack + 1e-4
