"""Where a scan holds data: ends of fields of view against real air and suppressed backgrounds."""

from __future__ import annotations

import numpy as np

from synthct.training.coverage import covered_voxels, fill_uncovered, shrunk

SHAPE = (10, 20, 20)


def noisy_ct() -> np.ndarray:
    rng = np.random.default_rng(3)
    ct = rng.normal(-960, 20, SHAPE).clip(-1000, None)
    ct[:, 5:15, 5:15] = rng.normal(40, 20, (10, 10, 10))
    return np.rint(ct).astype(np.int16)


def test_noisy_air_is_data() -> None:
    assert covered_voxels(noisy_ct(), noisy_ct()).all()


def test_empty_slices_and_a_strip_of_one_voxel_are_no_data() -> None:
    ct = noisy_ct()
    ct[:2] = -1000
    ct[:, :, -1] = -1000
    covered = covered_voxels(ct, ct)
    assert not covered[:2].any()
    assert not covered[:, :, -1].any()
    assert covered[2:, :, :-1].all()


def test_a_flat_background_is_air() -> None:
    ct = noisy_ct()
    outside = np.ones(SHAPE, bool)
    outside[:, 5:15, 5:15] = False
    mr = np.where(outside, 0, 300).astype(np.int16)
    assert covered_voxels(mr, ct).all()
    flat_ct = np.where(outside, -1000, 40).astype(np.int16)
    assert covered_voxels(flat_ct, flat_ct).all()


def test_a_corner_of_an_oblique_scan_is_no_data() -> None:
    mr = np.random.default_rng(4).integers(1, 400, SHAPE).astype(np.int16)
    corner = np.add.outer(np.arange(20), np.arange(20)) < 12
    mr[:, corner] = 0
    covered = covered_voxels(mr, noisy_ct())
    assert not covered[:, :5, :5].any()
    assert covered[:, ~corner].all()


def test_a_dark_place_inside_is_data() -> None:
    mr = np.random.default_rng(4).integers(1, 400, SHAPE).astype(np.int16)
    mr[3:7, 6:14, 6:14] = 0
    assert covered_voxels(mr, noisy_ct()).all()


def test_missing_places_take_the_nearest_value_in_millimetres() -> None:
    voxels = np.array([[[1, 2, 3]], [[0, 0, 6]], [[7, 8, 9]]])
    covered = np.array([[[True] * 3], [[False, False, True]], [[True] * 3]])
    near_slices = fill_uncovered(voxels, covered, (1.0, 1.0, 5.0))
    assert near_slices[1, 0, 1] in (2, 8)
    near_columns = fill_uncovered(voxels, covered, (5.0, 1.0, 1.0))
    assert near_columns[1, 0].tolist() == [6, 6, 6]


def test_nothing_to_fill_and_nothing_to_fill_from() -> None:
    voxels = np.zeros((2, 2, 2))
    assert fill_uncovered(voxels, np.ones((2, 2, 2), bool), (1, 1, 1)) is voxels
    assert fill_uncovered(voxels, np.zeros((2, 2, 2), bool), (1, 1, 1)) is voxels


def test_shrinking_takes_one_voxel_off_the_edge_but_not_off_the_faces() -> None:
    covered = np.ones((4, 4, 6), bool)
    covered[:, :, :2] = False
    kept = shrunk(covered)
    assert not kept[:, :, 2].any()
    assert kept[:, :, 3:].all()
