"""Resampling: the extent stays, known functions stay known, and the way back ends on the very same grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from builders import make_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.errors import InputError, UsageError
from synthct.resample import resample_like, resample_to_spacing, resample_wanted, resampled_shape
from synthct.volume import Geometry, Volume

Array = npt.NDArray[Any]
ANGLE = math.radians(20)
OBLIQUE = (math.cos(ANGLE), -math.sin(ANGLE), 0.0, math.sin(ANGLE), math.cos(ANGLE), 0.0, 0.0, 0.0, -1.0)


def volume_of(voxels: Array, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0), **geometry: Any) -> Volume:
    z, y, x = voxels.shape
    return Volume(voxels, Geometry((x, y, z), spacing, **geometry))


def corners(geometry: Geometry) -> Array:
    """The two outermost corners of the extent in mm, half a voxel beyond the outermost centres."""
    direction = np.array(geometry.direction).reshape(3, 3)
    places = [np.full(3, -0.5), np.array(geometry.size) - 0.5]
    return np.array([np.array(geometry.origin) + direction @ (place * geometry.spacing) for place in places])


def positions(geometry: Geometry) -> Array:
    """Centres of all voxels in mm: (3 for x, y, z; then z, y, x)."""
    z, y, x = np.indices(geometry.shape, dtype=np.float64)
    index = np.stack([x, y, z]) * np.array(geometry.spacing).reshape(3, 1, 1, 1)
    direction = np.array(geometry.direction).reshape(3, 3)
    return np.einsum("ij,jzyx->izyx", direction, index) + np.array(geometry.origin).reshape(3, 1, 1, 1)


def ramp_on(geometry: Geometry) -> Array:
    """A value that is linear in mm: 2 x - 3 y + 0.5 z."""
    return np.einsum("i,izyx->zyx", np.array([2.0, -3.0, 0.5]), positions(geometry)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "spacing", "wanted", "expected"),
    [
        ((10, 20, 30), (3.0, 1.0, 1.0), (3.0, 1.0, 1.0), (10, 20, 30)),
        ((10, 20, 30), (3.0, 1.0, 1.0), (1.5, 2.0, 1.0), (20, 10, 30)),
        ((10, 21, 30), (3.0, 1.0, 1.0), (3.0, 2.0, 1.0), (10, 10, 30)),  # 10.5 rounds to the even number
        ((1, 2, 2), (1.0, 1.0, 1.0), (9.0, 9.0, 9.0), (1, 1, 1)),
    ],
)
def test_shape_by_hand(shape: Any, spacing: Any, wanted: Any, expected: Any) -> None:
    assert resampled_shape(shape, spacing, wanted) == expected


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_same_spacing_returns_the_volume_itself(order: Any) -> None:
    volume = volume_of(np.zeros((600, 4, 5), np.int16))
    assert resample_to_spacing(volume, (3.0, 1.0, 1.0), order) is volume
    assert resample_to_spacing(volume, (3.0 * 1.0009, 1.0, 0.9992), order) is volume
    assert resample_to_spacing(volume, (3.0 * 1.002, 1.0, 1.0), order) is not volume


def test_a_spacing_that_leaves_the_size_returns_the_volume_itself() -> None:
    volume = volume_of(np.zeros((6, 7, 8), np.int16))
    assert resample_to_spacing(volume, (3.1, 0.98, 1.03), 3) is volume


@pytest.mark.parametrize("direction", [Geometry((1, 1, 1)).direction, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("wanted", [(2.0, 0.7, 1.7), (5.5, 0.4, 0.4), (1.0, 1.0, 1.0)])
def test_the_extent_stays(direction: Any, wanted: Any) -> None:
    volume = volume_of(np.zeros((9, 11, 14), np.int16), origin=(-7.0, 12.5, 300.0), direction=direction)
    made = resample_to_spacing(volume, wanted, 0)
    assert made.geometry.shape == resampled_shape((9, 11, 14), (3.0, 1.0, 1.0), wanted)
    assert corners(made.geometry) == pytest.approx(corners(volume.geometry), abs=1e-9)
    assert made.geometry.direction == direction
    extent = np.array(volume.geometry.size) * volume.geometry.spacing
    assert np.array(made.geometry.spacing) == pytest.approx(extent / made.geometry.size)


@pytest.mark.parametrize(("order", "within"), [(1, 1e-3), (3, 0.05)])
@pytest.mark.parametrize("direction", [Geometry((1, 1, 1)).direction, OBLIQUE], ids=["straight", "oblique"])
def test_a_ramp_in_mm_stays_that_ramp(order: Any, within: float, direction: Any) -> None:
    grid = Geometry((24, 22, 20), (1.0, 1.0, 3.0), (-7.0, 12.5, 300.0), direction)
    made = resample_to_spacing(Volume(ramp_on(grid), grid), (2.0, 0.8, 1.3), order)
    assert made.voxels.dtype == np.float32
    inner = (slice(9, -9), slice(8, -8), slice(6, -6))  # a spline feels its border, where the ramp ends
    assert made.voxels[inner] == pytest.approx(ramp_on(made.geometry)[inner], abs=within)


def test_edges_go_on_instead_of_falling_to_0() -> None:
    volume = volume_of(np.full((5, 6, 7), -1000, np.int16))
    for order in (0, 1, 3):
        fine = resample_to_spacing(volume, (1.1, 0.3, 0.3), order)  # type: ignore[arg-type]
        assert fine.voxels == pytest.approx(np.full(fine.voxels.shape, -1000.0), abs=1e-3)
    wide = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (-8.0, -8.0, -8.0))
    assert set(np.unique(resample_like(volume, wide, 1).voxels)) == {-1000.0}


def test_a_mask_stays_a_mask() -> None:
    voxels = np.zeros((8, 12, 12), np.uint8)
    voxels[2:6, 3:9, 3:9] = 1
    made = resample_to_spacing(volume_of(voxels), (1.5, 0.5, 0.5), 0)
    assert made.voxels.dtype == np.uint8
    expected = voxels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(made.voxels, expected)
    boolean = resample_to_spacing(volume_of(voxels > 0), (1.5, 0.5, 0.5), 0)
    assert boolean.voxels.dtype == np.bool_
    assert np.array_equal(boolean.voxels, expected > 0)


def test_there_and_back_ends_on_the_very_grid() -> None:
    grid = Geometry((31, 29, 17), (0.977, 0.977, 3.27), (-7.0, 12.5, 300.0), OBLIQUE)
    z, y, x = np.indices(grid.shape)
    smooth = (200 * np.sin(x / 6.0) * np.cos(y / 7.0) + 10 * z).astype(np.float32)
    volume = Volume(smooth, grid)
    there = resample_to_spacing(volume, (3.0, 0.9, 1.0), 3)
    assert there.voxels.shape != smooth.shape
    back = resample_like(there, grid)
    assert back.geometry == grid
    assert np.abs(back.voxels - smooth)[1:-1, 2:-2, 2:-2].max() < 4.0
    by_volume = resample_like(there, volume)
    assert by_volume.geometry == grid
    assert np.array_equal(by_volume.voxels, back.voxels)


def test_like_its_own_grid_is_the_volume_itself() -> None:
    volume = volume_of(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    assert resample_like(volume, volume.geometry) is volume
    near = Geometry((5, 4, 3), (1.0, 1.0, 3.0), (0.0005, 0.0, 0.0))
    made = resample_like(volume, near)
    assert made.geometry is near
    assert made.voxels is volume.voxels


def test_a_coarse_axis_takes_the_nearest_slice() -> None:
    z, y, x = np.indices((6, 16, 16))
    volume = volume_of((z * 100 + x * 4 + y).astype(np.float32), (1.0, 1.0, 5.0))
    apart = resample_to_spacing(volume, (2.5, 0.5, 0.5), 3, separate_axis=True)
    assert apart.voxels.shape == (12, 32, 32)
    assert np.array_equal(apart.voxels[0::2], apart.voxels[1::2])  # each slice twice, nothing between
    together = resample_to_spacing(volume, (2.5, 0.5, 0.5), 3)
    assert not np.array_equal(together.voxels[0::2], together.voxels[1::2])
    middle = (slice(6, -6), slice(6, -6))
    in_plane = resample_to_spacing(volume, (5.0, 0.5, 0.5), 3)
    assert apart.voxels[4][middle] == pytest.approx(in_plane.voxels[2][middle], abs=1e-3)


def test_an_axis_that_is_not_coarse_is_not_taken_apart() -> None:
    voxels = np.random.default_rng(1).normal(size=(8, 9, 10)).astype(np.float32)
    volume = volume_of(voxels, (1.0, 1.0, 3.0))  # the ratio is 3, the rule wants more
    for wanted in ((2.0, 0.7, 0.7), (2.9, 1.0, 1.2)):
        plain = resample_to_spacing(volume, wanted, 3)
        assert np.array_equal(resample_to_spacing(volume, wanted, 3, separate_axis=True).voxels, plain.voxels)
    two_coarse = volume_of(voxels, (0.5, 4.0, 4.0))
    plain = resample_to_spacing(two_coarse, (2.0, 2.0, 0.5), 3)
    assert np.array_equal(resample_to_spacing(two_coarse, (2.0, 2.0, 0.5), 3, separate_axis=True).voxels, plain.voxels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("coarse", [0, 2])
def test_agrees_with_nnunet_away_from_the_border(separate: bool, coarse: int) -> None:
    resampling = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    from scipy.ndimage import gaussian_filter

    shape, wanted = [40, 42, 44], [0.8, 1.3, 0.9]
    shape[coarse], wanted[coarse] = 28, 140 / 48  # 28 to 48 slices: no new one lies halfway between two
    spacing = tuple(5.0 if axis == coarse else 1.0 for axis in range(3))
    voxels = (gaussian_filter(np.random.default_rng(1).normal(size=shape), 2) * 3000).astype(np.float32)
    volume = volume_of(voxels, (spacing[2], spacing[1], spacing[0]))
    made = resample_to_spacing(volume, (wanted[0], wanted[1], wanted[2]), 3, separate_axis=separate)
    theirs = resampling.resample_data_or_seg(
        voxels[None], made.voxels.shape, False, coarse if separate else None, 3, separate, order_z=0
    )[0]
    inner = (slice(11, -11),) * 3
    difference = np.abs(made.voxels - theirs)[inner]
    # nnU-Net cuts a slice to its own range: a few voxels at its brightest spots differ.
    assert np.quantile(difference, 0.97) < 0.05
    assert voxels.std() > 100


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 9, 9), (9, 2, 9)])
def test_few_slices_are_interpolated_linearly(shape: Any) -> None:
    voxels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    made = resample_to_spacing(volume_of(voxels), (2.0, 0.5, 0.5), 3)
    assert np.array_equal(made.voxels, resample_to_spacing(volume_of(voxels), (2.0, 0.5, 0.5), 1).voxels)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.floats(0.4, 6.0)] * 3), st.sampled_from([0, 1, 3]))
def test_any_shape_comes_back_whole(shape: Any, wanted: Any, order: Any) -> None:
    volume = volume_of(np.full(shape, 7, np.int16))
    there = resample_to_spacing(volume, wanted, order)
    back = resample_like(there, volume.geometry, order)
    assert back.geometry == volume.geometry
    assert back.voxels == pytest.approx(np.full(shape, 7.0), abs=1e-4)


@pytest.mark.parametrize("wanted", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan), (math.inf, 1.0, 1.0)])
def test_a_spacing_that_cannot_be_meant(wanted: Any) -> None:
    with pytest.raises(UsageError, match=r"spacing \(.*\) mm \(z, y, x\) .*expected numbers above 0"):
        resample_to_spacing(volume_of(np.zeros((3, 3, 3))), wanted, 1)


def test_an_unknown_order() -> None:
    volume = volume_of(np.zeros((3, 3, 3)))
    for call in (
        lambda: resample_to_spacing(volume, (1.0, 1.0, 1.0), 2),  # type: ignore[arg-type]
        lambda: resample_like(volume, volume.geometry, 5),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"order [25] of interpolation is unknown; expected 0"):
            call()


def test_what_itk_refuses_is_one_line() -> None:
    flat = Geometry((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r"^volume: cannot be resampled to .* expected a volume on a sound grid$"):
        resample_like(Volume(np.zeros((3, 3, 3), np.float32), flat), Geometry((4, 4, 4)))


def test_nothing_thin_that_is_wanted_falls_between_the_voxels() -> None:
    """One slice of 0.5 mm in a stack of 20, wherever it lies, is wanted on a grid of 2.5 mm too."""
    for place in range(20):
        voxels = np.zeros((20, 4, 4), np.uint8)
        voxels[place, 1:3, 1:3] = 1
        mask = make_volume(voxels, spacing=(1.0, 1.0, 0.5))
        grid = resample_to_spacing(mask, (2.5, 1.0, 1.0), order=0).geometry
        wanted = resample_wanted(mask, grid)
        assert wanted.shape == (4, 4, 4)
        assert wanted[place // 5, 1:3, 1:3].all(), place
        assert wanted.any(axis=(1, 2)).sum() <= 2
        assert not wanted[:, 0].any()


def test_a_mask_on_its_own_or_a_finer_grid_is_wanted_as_it_is() -> None:
    voxels = np.zeros((4, 6, 6), np.uint8)
    voxels[1:3, 2:5, 1:4] = 3
    mask = make_volume(voxels, spacing=(2.0, 2.0, 2.0))
    assert np.array_equal(resample_wanted(mask, mask.geometry), voxels > 0)
    finer = resample_to_spacing(mask, (1.0, 1.0, 1.0), order=0)
    assert np.array_equal(resample_wanted(mask, finer.geometry), finer.voxels > 0)
