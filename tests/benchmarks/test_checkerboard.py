"""The checkerboard index on patterns whose spectrum a person can work out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.checkerboard import LENGTH, checkerboard_index, log_power
from synthct.errors import InputError, UsageError

SHAPE = (3, 48, 64)
MASK = np.ones(SHAPE, np.uint8)
FLAT = np.full(SHAPE, 40, np.int16)
X = np.arange(SHAPE[2])
Y = np.arange(SHAPE[1])[:, None]

# A pattern of +A and -A has, at frequency 1/2, the power A^2 (sum of w)^2 / sum of w^2 = A^2 (L/2)^2 / (3 L/8), that
# is 2/3 L A^2; beside it there is 1/12 alone.
PEAK_OF_TEN = (2 / 3 * LENGTH * 10**2 + 1 / 12) * 12


def noise(seed: int, sigma: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 100, (8, 96, 96))
    return gaussian_filter(drawn, (0, sigma, sigma)) if sigma else drawn


def test_the_ct_itself_has_exactly_one() -> None:
    ct = noise(0)
    assert checkerboard_index(ct, ct, np.ones(ct.shape)) == 1.0


def test_a_checkerboard_by_hand() -> None:
    board = FLAT + (10 * (-1) ** (X + Y)).astype(np.int16)
    assert round(PEAK_OF_TEN) == 25_601
    assert checkerboard_index(board, FLAT, MASK, periods=(2,)) == pytest.approx(25_601, rel=1e-6)
    assert checkerboard_index(FLAT, board, MASK, periods=(2,)) == pytest.approx(1 / 25_601, rel=1e-6)
    # nothing at 1/4: the mean of both periods is the root
    assert checkerboard_index(board, FLAT, MASK) == pytest.approx(math.sqrt(25_601), rel=1e-6)


def test_stripes_count_along_their_own_axis_alone() -> None:
    stripes = FLAT + (10 * (-1) ** X).astype(np.int16)
    assert checkerboard_index(stripes, FLAT, MASK, periods=(2,)) == pytest.approx(math.sqrt(25_601), rel=1e-6)
    turned = FLAT + (10 * (-1) ** Y).astype(np.int16)
    assert checkerboard_index(turned, FLAT, MASK, periods=(2,)) == pytest.approx(math.sqrt(25_601), rel=1e-6)


def test_each_period_has_its_own_peak() -> None:
    pairs = FLAT + np.where(X // 2 % 2 == 0, 10, -10).astype(np.int16)
    assert checkerboard_index(pairs, FLAT, MASK, periods=(2,)) == pytest.approx(1.0, abs=1e-6)
    assert checkerboard_index(pairs, FLAT, MASK, periods=(4,)) > 50
    fours = FLAT + np.where(X // 4 % 2 == 0, 10, -10).astype(np.int16)
    assert checkerboard_index(fours, FLAT, MASK, periods=(8,)) > 50


def test_a_gain_that_changes_from_voxel_to_voxel_is_seen() -> None:
    ct = noise(1, sigma=3.0) + 100
    mask, alternating = np.ones(ct.shape), (-1) ** np.arange(ct.shape[2])
    values = [checkerboard_index(ct * (1 + gain * alternating), ct, mask, periods=(2,)) for gain in (0.0, 0.05, 0.2)]
    assert values[0] == 1.0
    assert values[1] is not None
    assert values[2] is not None
    assert min(values[1], values[2]) > 5  # relative to what lies beside it, which the gain makes larger too


@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8])
def test_blur_is_no_checkerboard(sigma: float) -> None:
    ct = noise(2)
    blurred = gaussian_filter(ct, (0, sigma, sigma))
    assert checkerboard_index(blurred, ct, np.ones(ct.shape)) == pytest.approx(1.0, abs=0.15)
    other = noise(3) * 3
    assert checkerboard_index(other, ct, np.ones(ct.shape)) == pytest.approx(1.0, abs=0.15)


def test_what_lies_outside_the_mask_is_not_looked_at() -> None:
    mask = MASK.copy()
    mask[:, :, 40:] = 0
    board = FLAT.copy()
    board[:, :, 40:] += (50 * (-1) ** (X[40:] + Y)).astype(np.int16)
    assert checkerboard_index(board, FLAT, mask) == 1.0
    assert checkerboard_index(board, FLAT, MASK) > 3


def test_power_of_white_noise_is_its_variance() -> None:
    spectrum = log_power(noise(4), np.ones((8, 96, 96)), 2)
    assert spectrum is not None
    assert spectrum.shape == (LENGTH // 2 + 1,)
    # the mean logarithm of an exponential variable is -0.5772
    assert spectrum[4:15].mean() == pytest.approx(math.log(100**2) - 0.5772, abs=0.05)


def test_too_small_a_mask_has_no_index() -> None:
    for keep in ((slice(None), slice(0, 31), slice(None)), (slice(None), slice(None), slice(0, 31))):
        mask = np.zeros(SHAPE, np.uint8)
        mask[keep] = 1
        assert checkerboard_index(FLAT, FLAT, mask) is None
    small = np.zeros((2, 20, 64), np.int16)
    assert checkerboard_index(small, small, np.ones(small.shape)) is None
    assert checkerboard_index(FLAT, FLAT, np.zeros(SHAPE)) is None


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected one shape \(z, y, x\)"):
        checkerboard_index(FLAT, FLAT[:2], MASK)
    with pytest.raises(InputError, match="one shape"):
        checkerboard_index(FLAT[0], FLAT[0], MASK[0])
    for periods in ((3,), (16,), (1,), ()):
        with pytest.raises(UsageError, match="expected some of 2, 4 and 8"):
            checkerboard_index(FLAT, FLAT, MASK, periods=periods)
