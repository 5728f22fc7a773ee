"""The histogram gives what NumPy gives on the voxels themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from synthct.errors import UsageError
from synthct.intensity import fit_z_score
from synthct.planning.intensities import Intensities

HU = hnp.arrays(np.int16, st.integers(1, 300), elements=st.integers(-1024, 3071))


def test_by_hand() -> None:
    counted = Intensities.of(np.array([[2, 4, 4, 4], [5, 5, 7, 9]], np.int16))
    assert (counted.values, counted.counts) == ((2, 4, 5, 7, 9), (1, 3, 2, 1, 1))
    assert (counted.voxels, counted.mean, counted.std, counted.minimum, counted.maximum) == (8, 5.0, 2.0, 2.0, 9.0)
    assert [counted.percentile(percent) for percent in (0, 50, 75, 100)] == [2.0, 4.5, 5.5, 9.0]


@given(HU, st.floats(0, 100))
def test_as_numpy(voxels: np.ndarray, percent: float) -> None:
    counted = Intensities.of(voxels)
    assert counted.voxels == voxels.size
    assert counted.mean == pytest.approx(voxels.mean(), abs=1e-9)
    assert counted.std == pytest.approx(voxels.astype(np.float64).std(), abs=1e-9)
    assert (counted.minimum, counted.maximum) == (voxels.min(), voxels.max())
    assert counted.percentile(percent) == pytest.approx(np.percentile(voxels.astype(np.float64), percent), abs=1e-6)


@given(HU, HU)
def test_merged_is_both(first: np.ndarray, second: np.ndarray) -> None:
    both = np.concatenate([first, second])
    assert Intensities.of(first).merged(Intensities.of(second)) == Intensities.of(both)
    assert Intensities.of(first).merged(Intensities()) == Intensities.of(first)


@given(HU, st.integers(-1100, 2000), st.integers(1, 3000))
def test_z_score_is_that_of_the_clipped_voxels(voxels: np.ndarray, low: int, width: int) -> None:
    ours = Intensities.of(voxels).z_score(low, low + width)
    fitted = fit_z_score(voxels, low=low, high=low + width)
    assert (ours.low, ours.high) == (low, low + width)
    assert ours.mean == pytest.approx(fitted.mean, abs=1e-9)
    assert ours.std == pytest.approx(fitted.std, rel=1e-9, abs=1e-9)


def test_a_clip_that_leaves_one_value_gets_std_1() -> None:
    score = Intensities.of(np.array([-50, 30, 31])).z_score(-1000, -900)
    assert (score.mean, score.std) == (-900, 1)


@pytest.mark.parametrize(
    "voxels",
    [np.array([3, -70000, 5], np.int32), np.array([1e7, -1e7, 5.0]), np.array([0, 2**40, -5]), np.array([True, False])],
)
def test_whole_numbers_of_any_range_are_exact(voxels: Any) -> None:
    counted = Intensities.of(voxels)
    assert counted.values == tuple(sorted(float(value) for value in voxels))
    assert counted.counts == (1,) * len(voxels)


def test_fractions_keep_14_significant_bits() -> None:
    voxels = np.random.default_rng(1).lognormal(3, 2, 20000).astype(np.float32)
    counted = Intensities.of(voxels)
    assert len(counted.values) < 20000
    assert counted.mean == pytest.approx(float(voxels.astype(np.float64).mean()), rel=1e-5)
    assert counted.maximum == pytest.approx(float(voxels.max()), rel=6.2e-5)
    assert counted.percentile(50) == pytest.approx(float(np.median(voxels)), rel=6.2e-5)
    assert Intensities.of(np.array([0.5, 0.25, 1000.5, -3.0])).values == (-3.0, 0.25, 0.5, 1000.5)


def test_an_mr_between_0_and_1_is_not_lost() -> None:
    counted = Intensities.of(np.linspace(0, 1, 1001, dtype=np.float32))
    assert counted.mean == pytest.approx(0.5, abs=1e-4)
    assert counted.std == pytest.approx(0.289, abs=1e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_nothing(dtype: Any) -> None:
    empty = Intensities.of(np.zeros((0, 3), dtype))
    assert empty == Intensities()
    found = (empty.voxels, empty.mean, empty.std, empty.minimum, empty.maximum, empty.percentile(50))
    assert found == (0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("bounds", [(3.0, 3.0), (5.0, -5.0), (float("nan"), 1.0)])
def test_bounds_that_cannot_be_meant(bounds: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="expected the lower one first"):
        Intensities.of(np.arange(9)).z_score(*bounds)


@pytest.mark.parametrize(
    "content",
    [
        {"values": [1, 2], "counts": [1]},
        {"values": [2, 1], "counts": [1, 1]},
        {"values": [1, 1], "counts": [1, 1]},
        {"values": [1, 2], "counts": [1, 0]},
        {"values": [float("nan")], "counts": [1]},
    ],
)
def test_no_histogram(content: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Intensities.model_validate(content)


def test_json_keeps_it() -> None:
    counted = Intensities.of(np.random.default_rng(1).integers(-1024, 3071, 5000))
    assert Intensities.model_validate_json(counted.model_dump_json()) == counted
    assert len(repr(counted)) < 100
