"""Scores and limits: outlines by hand, real pairs that are misaligned and real ones that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import make_volume
from textured_limb import limb_ct, limb_mask, limb_mr, motion_of, shifted

from synthct.dataset import find_cases, load_case
from synthct.training.alignment_check import PairScore, body_dice, image_body, reference_body, score_pair
from synthct.training.thresholds import FEWEST_PAIRS, Thresholds, fit_thresholds

SOUND = PairScore(0.97, 0.5, 4.0, 2.0, None)


def real_score(folder: Path) -> PairScore:
    (files,) = find_cases(folder)
    case = load_case(files)
    assert case.reference is not None
    return score_pair(case.image, case.reference, case.mask)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["1EXA001", "1EXA021"])
def test_misaligned_pairs_are_flagged(data_root: Path, case: str) -> None:
    assert Thresholds().flags(real_score(data_root / "sts" / "misaligned" / case))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["1EXA035", "1EXA051"])
def test_aligned_pairs_are_not_flagged(data_root: Path, case: str) -> None:
    score = real_score(data_root / "sts" / "Task1" / "EX" / case)
    assert Thresholds().flags(score) == ()
    assert score.body_dice > 0.95
    assert score.residual_mm is not None
    assert score.residual_mm < 3


def test_score_of_a_pair_that_is_aligned_by_making() -> None:
    ct = limb_ct()
    score = score_pair(limb_mr(ct), ct, limb_mask())
    assert score.body_dice > 0.95
    assert score.residual_mm == pytest.approx(0, abs=0.5)
    assert score.residual_deg == pytest.approx(0, abs=0.5)


def test_a_shift_shows_in_each_figure() -> None:
    ct = limb_ct()
    image, mask = limb_mr(ct), limb_mask()
    moved = shifted(ct, motion_of(ct, mm=(6.0, 0.0, 0.0)))
    before, after = score_pair(image, ct, mask), score_pair(image, moved, mask)
    assert after.body_dice < before.body_dice - 0.02
    assert after.mutual_information < 0.8 * before.mutual_information
    assert after.residual_mm == pytest.approx(6.0, abs=0.5)
    assert after.motion is not None
    assert after.motion.translation[0] == pytest.approx(-6.0, abs=0.5)


def test_a_pair_that_cannot_be_registered_has_no_residual() -> None:
    ct = limb_ct()
    blank = ct.with_voxels(np.zeros_like(ct.voxels))
    score = score_pair(blank, ct, limb_mask())
    assert (score.residual_mm, score.residual_deg, score.motion) == (None, None, None)
    assert score.body_dice == 0.0
    assert score.mutual_information == pytest.approx(0.0)
    assert "no rigid motion could be found" in Thresholds().flags(score)


def block(start: int, stop: int, *, value: int, background: int) -> np.ndarray:
    """Ten slices with a block of 40 rows; rows of noise keep air from being flat."""
    rng = np.random.default_rng(0)
    voxels = background + rng.integers(0, 30, (10, 80, 100))
    voxels[:, 20:60, start:stop] = value + rng.integers(0, 30, (10, 40, stop - start))
    return voxels.astype(np.int16)


def test_dice_of_two_blocks() -> None:
    image = make_volume(block(20, 70, value=400, background=0), spacing=(1.0, 1.0, 3.0))
    ct = make_volume(block(30, 80, value=40, background=-1000), spacing=(1.0, 1.0, 3.0))
    assert body_dice(image, ct) == pytest.approx(2 * 40 / 100, abs=0.02)  # 50 columns each, 40 of them common
    same = make_volume(block(20, 70, value=40, background=-1000), spacing=(1.0, 1.0, 3.0))
    assert body_dice(image, same) > 0.95  # the two thresholds draw the edge a voxel apart
    left = np.zeros(ct.voxels.shape, bool)
    left[:, :, 30:70] = True
    assert body_dice(image, ct, inside=left) > 0.97  # both are there everywhere
    assert body_dice(image, ct, inside=np.zeros_like(left)) == 0.0


def test_outline_of_a_ct_is_its_largest_piece_filled() -> None:
    voxels = block(20, 70, value=40, background=-1000)
    voxels[:, 30:40, 30:40] = -900  # gas inside
    voxels[:, 70:72, :] = 0  # the table
    body = reference_body(make_volume(voxels, spacing=(1.0, 1.0, 3.0)))
    assert body[:, 35, 35].all()
    assert not body[:, 71].any()
    assert np.count_nonzero(body) == pytest.approx(10 * 40 * 50, rel=0.03)


def test_outline_of_nothing_is_empty() -> None:
    air = make_volume(np.full((4, 10, 10), -1000, np.int16))
    assert not reference_body(air).any()
    assert not image_body(air, air).any()
    assert body_dice(air, air) == 0.0


def test_reasons_name_figure_and_limit() -> None:
    limits = Thresholds(min_body_dice=0.9, min_mutual_information=0.3, max_residual_mm=10.0)
    assert limits.flags(SOUND) == ()
    assert limits.flags(PairScore(0.85, 0.2, 12.0, 1.0, None)) == (
        "body Dice 0.850 is below 0.900",
        "mutual information 0.200 is below 0.300",
        "residual 12.0 mm is above 10.0 mm",
    )


def test_fitted_limits_by_hand() -> None:
    # Errors of the outline 1, 2, 4 %: median 2 %, deviations of the logs 0 or log 2, their median log 2.
    errors = [0.01, 0.01, 0.01, 0.02, 0.02, 0.04, 0.04, 0.04]
    scores = [PairScore(1 - error, 50 * error, 400 * error, 0.0, None) for error in errors]
    limits = fit_thresholds(scores)
    factor = 2 ** (3 * 1.4826)
    assert limits.min_body_dice == pytest.approx(1 - 0.02 * factor)
    assert limits.min_mutual_information == pytest.approx(1.0 / factor)
    assert limits.max_residual_mm == pytest.approx(8.0 * factor)


def test_fitted_limits_flag_the_odd_ones_only() -> None:
    rng = np.random.default_rng(6)
    sound = [
        PairScore(1 - 0.03 * np.exp(0.2 * a), 0.5 * np.exp(0.2 * b), 4 * np.exp(0.2 * c), 2.0, None)
        for a, b, c in rng.normal(size=(40, 3)).clip(-2, 2)
    ]
    odd = [
        PairScore(0.7, 0.5, 4.0, 2.0, None),
        PairScore(0.97, 0.1, 4.0, 2.0, None),
        PairScore(0.97, 0.5, 30.0, 2.0, None),
    ]
    limits = fit_thresholds([*sound, *odd])
    assert [bool(limits.flags(score)) for score in odd] == [True] * 3
    assert [limits.flags(score) for score in sound if limits.flags(score)] == []


def test_the_tail_of_a_sound_data_set_is_not_flagged() -> None:
    """Pairs nearly all alike: three robust deviations alone would flag Dice 0.985, 0.40 mm and 0.60 nats."""
    alike = [PairScore(0.99, 0.7 + 0.002 * index, 0.20 + 0.005 * index, 0.1, None) for index in range(9)]
    tail = [
        PairScore(0.985, 0.7, 0.2, 0.1, None),
        PairScore(0.99, 0.60, 0.2, 0.1, None),
        PairScore(0.99, 0.7, 0.40, 0.1, None),
    ]
    limits = fit_thresholds([*alike, *tail])
    assert [limits.flags(score) for score in tail] == [()] * 3
    assert (limits.min_body_dice, limits.max_residual_mm) == (0.97, 3.0)
    assert limits.min_mutual_information == pytest.approx(0.75 * 0.705)
    off = (
        PairScore(0.96, 0.7, 0.2, 0.1, None),
        PairScore(0.99, 0.5, 0.2, 0.1, None),
        PairScore(0.99, 0.7, 3.1, 0.1, None),
    )
    assert [len(limits.flags(score)) for score in off] == [1] * 3


def test_few_pairs_get_the_shipped_limits() -> None:
    assert fit_thresholds([SOUND] * (FEWEST_PAIRS - 1)) == Thresholds()
    assert fit_thresholds([]) == Thresholds()
    nothing_found = fit_thresholds([PairScore(0.97, 0.5, None, None, None)] * FEWEST_PAIRS)
    assert nothing_found.max_residual_mm == Thresholds().max_residual_mm
