"""Rigid registration: known motions are found again, on a made limb and on real ones."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders import make_volume
from textured_limb import SPACING, centre_of, limb_ct, limb_mask, limb_mr, motion_of, shifted

from synthct.dataset import Case, find_cases, load_case
from synthct.training import registration
from synthct.training.coverage import covered_voxels
from synthct.training.registration import RigidMotion, find_motion, mask_points, move_reference, to_itk
from synthct.volume import Volume

Vector = tuple[float, float, float]
NOWHERE = (0.0, 0.0, 0.0)


def recovery_error(image: Volume, ct: Volume, mask: Volume, known: RigidMotion) -> tuple[float, float]:
    """How far (mean over the body in mm, and in degrees) the motion found for a moved CT misses the known one.

    The motion found for the pair as it is is taken off, so that only the known one is left.
    """
    as_it_is, moved = _motion_as_it_is(image, ct, mask), find_motion(image, shifted(ct, known), mask)
    assert as_it_is is not None
    assert moved is not None
    points = mask_points(mask)
    millimetres = np.linalg.norm(known.apply(moved.apply(points)) - as_it_is.apply(points), axis=1).mean()
    turn = known.matrix @ moved.matrix @ as_it_is.matrix.T
    return float(millimetres), math.degrees(math.acos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))


@cache
def _motion_as_it_is(image: Volume, ct: Volume, mask: Volume) -> RigidMotion | None:
    """Volumes are compared by identity, so each pair that is read or made once is registered once."""
    return find_motion(image, ct, mask)


@cache
def _made_pair() -> tuple[Volume, Volume, Volume]:
    ct = limb_ct()
    return limb_mr(ct), ct, limb_mask()


@cache
def _real_pair(folder: Path) -> Case:
    (files,) = find_cases(folder)
    return load_case(files)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["1EXA035", "1EXA051"])
@pytest.mark.parametrize(
    ("mm", "degrees"),
    [
        ((2.0, 0, 0), NOWHERE),
        ((0, -5.0, 0), NOWHERE),
        ((0, 0, 10.0), NOWHERE),
        (NOWHERE, (0, 0, 2.0)),
        (NOWHERE, (5.0, 0, 0)),
    ],
    ids=["x +2 mm", "y -5 mm", "z +10 mm", "z +2 deg", "x +5 deg"],
)
def test_known_motion_of_a_real_limb_is_recovered(data_root: Path, case: str, mm: Vector, degrees: Vector) -> None:
    pair = _real_pair(data_root / "sts" / "Task1" / "EX" / case)
    assert pair.reference is not None
    error_mm, error_deg = recovery_error(
        pair.image, pair.reference, pair.mask, motion_of(pair.image, mm=mm, degrees=degrees)
    )
    assert error_mm <= 1.0
    assert error_deg <= 1.0


@pytest.mark.parametrize(
    ("mm", "degrees"),
    [((5.0, 0, 0), NOWHERE), ((0, -4.0, 6.0), NOWHERE), (NOWHERE, (0, 0, 5.0)), ((3.0, 0, -3.0), (2.0, 0, 3.0))],
)
def test_known_motion_of_a_made_limb_is_recovered(mm: Vector, degrees: Vector) -> None:
    image, ct, mask = _made_pair()
    error_mm, error_deg = recovery_error(image, ct, mask, motion_of(ct, mm=mm, degrees=degrees))
    assert error_mm <= 1.0
    assert error_deg <= 1.0


def test_a_pair_that_is_aligned_by_making_has_no_motion() -> None:
    ct = limb_ct()
    found = find_motion(limb_mr(ct), ct, limb_mask())
    assert found is not None
    assert found.displacement_mm(limb_mask()) < 0.5
    assert found.degrees < 0.5


def test_the_same_pair_gives_the_same_motion() -> None:
    ct = limb_ct()
    moved = shifted(ct, motion_of(ct, mm=(3.0, 0, 0)))
    assert find_motion(limb_mr(ct), moved, limb_mask()) == find_motion(limb_mr(ct), moved, limb_mask())


@pytest.mark.parametrize("how", ["empty mask", "no contrast", "three slices"])
def test_what_cannot_be_registered_has_no_motion(how: str) -> None:
    ct = limb_ct()
    image, mask = limb_mr(ct), limb_mask()
    if how == "empty mask":
        mask = mask.with_voxels(np.zeros_like(mask.voxels))
    elif how == "no contrast":
        image = image.with_voxels(np.zeros_like(image.voxels))
    else:
        image, ct, mask = (make_volume(volume.voxels[:3], spacing=SPACING) for volume in (image, ct, mask))
    assert find_motion(image, ct, mask) is None


def test_points_go_where_itk_takes_them() -> None:
    motion = motion_of(limb_ct(), mm=(1.0, -2.0, 3.0), degrees=(10.0, 20.0, 30.0))
    points = np.array([[0.0, 0.0, 0.0], [10.0, -5.0, 7.0]])
    expected = [motion.transform().TransformPoint(point.tolist()) for point in points]
    np.testing.assert_allclose(motion.apply(points), expected, atol=1e-9)


def test_displacement_by_hand() -> None:
    mask = make_volume(np.ones((5, 5, 5), np.uint8), spacing=(1.0, 1.0, 1.0))
    shift = motion_of(mask, mm=(3.0, 0.0, 4.0))
    assert shift.displacement_mm(mask) == pytest.approx(5.0)
    assert shift.degrees == 0.0
    two_points = np.zeros((1, 1, 5), np.uint8)
    two_points[0, 0, [0, 4]] = 1  # 2 mm left and right of the centre of the turn
    turn = motion_of(mask.with_voxels(np.zeros((5, 5, 5), np.uint8)), degrees=(0.0, 0.0, 90.0))
    about = RigidMotion(turn.rotation, turn.translation, (2.0, 0.0, 0.0))
    assert about.displacement_mm(make_volume(two_points, spacing=(1.0, 1.0, 1.0))) == pytest.approx(2 * math.sqrt(2))
    assert shift.displacement_mm(mask.with_voxels(np.zeros((5, 5, 5), np.uint8))) == 0.0


def test_half_a_motion_twice_is_the_whole() -> None:
    motion = motion_of(limb_ct(), mm=(4.0, 0.0, -2.0), degrees=(0.0, 0.0, 8.0))
    half = motion.scaled(0.5)
    assert half.degrees == pytest.approx(4.0)
    assert half.translation == pytest.approx((2.0, 0.0, -1.0))
    np.testing.assert_allclose(half.matrix @ half.matrix, motion.matrix, atol=1e-9)
    assert motion.scaled(0.0).displacement_mm(limb_mask()) == pytest.approx(0.0, abs=1e-9)
    assert motion.scaled(1.0).matrix == pytest.approx(motion.matrix)


def test_moving_by_whole_voxels_moves_voxels_and_marks_what_is_missing() -> None:
    ct = limb_ct()
    moved, valid = move_reference(ct, motion_of(ct, mm=(4.0, 0.0, 3.0)).transform())  # 2 voxels along x, 1 along z
    np.testing.assert_array_equal(moved.voxels[:-1, :, :-2], ct.voxels[1:, :, 2:])
    np.testing.assert_array_equal(valid[:-1, :, :-2], True)
    assert not valid[-1].any()
    assert not valid[:, :, -2:].any()
    assert (moved.voxels[~valid] == -1000).all()
    assert moved.voxels.dtype == np.int16
    assert moved.geometry == ct.geometry


def test_moving_half_a_voxel_takes_the_mean_and_blends_no_fill_in() -> None:
    ct = limb_ct()
    moved, valid = move_reference(ct, motion_of(ct, mm=(1.0, 0.0, 0.0)).transform())
    assert valid[:, :, :-1].all()
    mean = (ct.voxels[:, :, :-1].astype(float) + ct.voxels[:, :, 1:]) / 2
    assert np.abs(moved.voxels[:, :, :-1] - mean).max() <= 0.5
    assert moved.voxels[valid].min() >= -1000


def test_a_moved_ct_that_is_moved_again_keeps_its_missing_places() -> None:
    ct = limb_ct()
    once, valid = move_reference(ct, motion_of(ct, mm=(0.0, 0.0, 6.0)).transform())
    back, known = move_reference(once, motion_of(ct, mm=(0.0, 0.0, -6.0)).transform())
    assert not valid[-2:].any()
    assert not known[:2].any()
    np.testing.assert_array_equal(back.voxels[2:], ct.voxels[2:])


def test_no_voxel_leaves_the_range_of_the_ct_it_came_from() -> None:
    ct = limb_ct()
    known = ct.voxels.copy()
    known[:, :10] = -1000  # a field of view that ends within the volume
    moved, valid = move_reference(
        ct.with_voxels(known), motion_of(ct, mm=(0.7, -3.1, 1.3), degrees=(2.0, 3.0, 4.0)).transform()
    )
    assert not valid.all()
    assert moved.voxels.min() >= known.min()
    assert moved.voxels.max() <= known.max()


def test_itk_sees_the_grid_of_the_volume() -> None:
    volume = make_volume(np.zeros((2, 3, 4), np.int16), spacing=(1.0, 2.0, 3.0), origin=(5.0, 6.0, 7.0))
    image = to_itk(volume, np.float32)
    assert image.GetSize() == (4, 3, 2)
    assert image.GetOrigin() == (5.0, 6.0, 7.0)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert image.TransformContinuousIndexToPhysicalPoint((1.5, 1.0, 0.5)) == centre_of(volume)


def test_running_out_of_memory_is_not_taken_for_a_pair_without_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError("Failed to allocate memory for image.")

    monkeypatch.setattr(registration, "_descend", starved)
    with pytest.raises(RuntimeError, match="allocate memory"):
        find_motion(*_made_pair())


def test_air_below_minus_1000_is_not_mistaken_for_data_after_a_move() -> None:
    """CTs of SynthRAD reach -1024: what has no data after a move is told by being flat at the lowest value."""
    image, ct, _ = _made_pair()
    noise = np.random.default_rng(4).integers(-24, 1, ct.voxels.shape)
    noisy = ct.with_voxels(np.where(ct.voxels <= -1000, -1000 + noise, ct.voxels).astype(np.int16))
    moved, valid = move_reference(noisy, motion_of(ct, mm=(0.0, 0.0, 15.0)).transform())
    assert moved.voxels.min() == -1000
    assert covered_voxels(moved.voxels, moved.voxels).mean() == pytest.approx(valid.mean(), abs=0.02)
    assert valid.mean() < 0.95
    assert image.voxels.shape == moved.voxels.shape
