"""Normalisations: values by hand, and the inverse gives every HU back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from synthct.intensity import CasePercentile, CaseZScore, LinearScale, Normalisation, ZScore, fit_z_score

EVERY_HU = np.arange(-1024, 3072, dtype=np.int16)


def test_linear_by_hand() -> None:
    scale = LinearScale(low=-1000, high=1000, offset=200, scale=400)
    normalised = scale.apply(np.array([-2000, -1000, 0, 200, 600, 5000], np.int16))
    assert normalised.dtype == np.float32
    assert normalised.tolist() == [-3.0, -3.0, -0.5, 0.0, 1.0, 2.0]
    assert scale.invert(normalised).tolist() == [-1000.0, -1000.0, 0.0, 200.0, 600.0, 1000.0]


def test_z_score_by_hand() -> None:
    score = ZScore(mean=10, std=4)
    normalised = score.apply(np.array([[2, 10], [12, 18]]))
    assert normalised.dtype == np.float32
    assert normalised.tolist() == [[-2.0, 0.0], [0.5, 2.0]]
    assert score.invert(normalised).tolist() == [[2.0, 10.0], [12.0, 18.0]]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"low": 0.0}, [0.0, 5.0, 99.0]),
        ({"high": 50.0}, [-7.0, 5.0, 50.0]),
        ({"low": 0.0, "high": 50.0}, [0.0, 5.0, 50.0]),
    ],
)
def test_z_score_clips_first(bounds: dict[str, float], expected: list[float]) -> None:
    assert ZScore(mean=0, std=1, **bounds).apply(np.array([-7, 5, 99])).tolist() == expected


@given(st.floats(-1024, 3071), st.floats(1, 5000))
def test_linear_inverse_gives_every_hu_back(offset: float, scale: float) -> None:
    normalisation = LinearScale(low=-1024, high=3071, offset=offset, scale=scale)
    assert np.array_equal(np.rint(normalisation.invert(normalisation.apply(EVERY_HU))), EVERY_HU)


@given(st.floats(-1024, 3071), st.floats(1, 5000))
def test_z_score_inverse_gives_every_hu_back(mean: float, std: float) -> None:
    normalisation = ZScore(mean=mean, std=std)
    assert np.array_equal(np.rint(normalisation.invert(normalisation.apply(EVERY_HU))), EVERY_HU)


@given(st.floats(-1024, 3071), st.floats(1, 5000))
def test_settings_survive_json(offset: float, scale: float) -> None:
    adapter: TypeAdapter[LinearScale | ZScore] = TypeAdapter(Normalisation)
    for normalisation in (
        LinearScale(low=-1024, high=3071, offset=offset, scale=scale),
        ZScore(mean=offset, std=scale),
    ):
        back = adapter.validate_json(normalisation.model_dump_json())
        assert back == normalisation
        assert type(back) is type(normalisation)


def test_fit_by_hand() -> None:
    fitted = fit_z_score(np.array([[2, 4, 4, 4], [5, 5, 7, 9]], np.int16))
    assert (fitted.mean, fitted.std) == (5.0, 2.0)


def test_fit_clips_first() -> None:
    fitted = fit_z_score(np.array([-100, 0, 10, 500]), low=0, high=10)
    assert (fitted.mean, fitted.std, fitted.low, fitted.high) == (5.0, 5.0, 0, 10)
    assert fitted.apply(np.array([-100, 500])).tolist() == [-1.0, 1.0]


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 3000))
def test_constant_image_gets_std_1(value: float, count: int) -> None:
    voxels = np.full(count, value, np.float32)
    fitted = fit_z_score(voxels)
    assert fitted.std == 1.0
    assert not fitted.apply(voxels).any()


def test_fit_of_nothing() -> None:
    fitted = fit_z_score(np.zeros(0))
    assert (fitted.mean, fitted.std) == (0.0, 1.0)


@given(hnp.arrays(np.int16, st.integers(2, 200), elements=st.integers(-1024, 3071)))
def test_fitted_score_has_mean_0_and_std_1(voxels: np.ndarray) -> None:
    normalised = fit_z_score(voxels).apply(voxels).astype(np.float64)
    assert normalised.mean() == pytest.approx(0.0, abs=1e-3)
    assert normalised.std() == pytest.approx(0.0 if np.ptp(voxels) == 0 else 1.0, abs=1e-3)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "linear", "low": 0, "high": 1, "scale": 0},
        {"kind": "linear", "low": 0},
        {"kind": "linear", "low": 3, "high": 3},
        {"kind": "linear", "low": 3, "high": 1},
        {"kind": "linear", "low": 0, "high": float("nan")},
        {"kind": "z-score", "mean": 0, "std": -1},
        {"kind": "z-score", "mean": float("inf"), "std": 1},
        {"kind": "z-score", "mean": 0, "std": 1, "low": 3, "high": 1},
        {"kind": "z-score", "mean": 0, "std": 1, "extra": 1},
        {"kind": "min-max", "low": 0, "high": 1},
        {},
    ],
)
def test_settings_that_cannot_be_meant(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Normalisation).validate_python(content)


@pytest.mark.parametrize(
    ("mean", "std"),
    [(-15.783389206407719, 261.3127130260171), (-119.26, 280.13), (-650.0, 480.0), (0.0, 1.0)],
    ids=["limbs", "abdomen", "whole thorax volume", "no scaling"],
)
def test_ct_round_trip_stays_below_a_hundredth_hu(mean: float, std: float) -> None:
    score = ZScore(mean=mean, std=std, low=-1024, high=3071)
    fine = np.arange(-1024, 3071 + 1 / 16, 1 / 8)
    for values in (EVERY_HU, fine, fine.astype(np.float32)):
        back = score.invert(score.apply(values)).astype(np.float64)
        assert np.abs(back - values.astype(np.float64)).max() < 0.01


def test_case_z_score_by_hand() -> None:
    normalised = CaseZScore().apply(np.array([[[2, 4, 4, 4], [5, 5, 7, 9]]], np.int16))
    assert normalised.dtype == np.float32
    assert normalised.tolist() == [[[-1.5, -0.5, -0.5, -0.5], [0.0, 0.0, 1.0, 2.0]]]


def test_case_z_score_takes_each_volume_by_itself() -> None:
    voxels = np.random.default_rng(1).normal(300, 40, (4, 5, 6)).astype(np.float32)
    first, second = CaseZScore().apply(voxels), CaseZScore().apply(voxels * 7 + 100)
    assert first == pytest.approx(second, abs=1e-4)
    assert float(first.mean()) == pytest.approx(0, abs=1e-5)
    assert float(first.std()) == pytest.approx(1, abs=1e-5)


def test_case_z_score_does_not_count_the_empty_margin() -> None:
    """As nnU-Net's crop to non-zero: the box of what is not 0 decides, zeros inside it count, the margin does not."""
    voxels = np.array([[[2, 4, 4, 0], [5, 5, 7, 9]]], np.int16)
    padded = np.pad(voxels, ((1, 2), (3, 0), (0, 5)))
    inside = CaseZScore().apply(padded)[1:2, 3:, :4]
    assert np.array_equal(inside, CaseZScore().apply(voxels))
    assert float(inside.mean()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("voxels", [np.full((2, 2, 2), 0.1, np.float32), np.zeros((3, 3, 3), np.int16)])
def test_case_z_score_of_a_constant_volume_is_0(voxels: np.ndarray) -> None:
    assert not CaseZScore().apply(voxels).any()


def test_case_z_score_of_nothing_is_nothing() -> None:
    assert CaseZScore().apply(np.zeros((0, 4, 4))).shape == (0, 4, 4)


def test_case_z_score_is_no_invertible_normalisation() -> None:
    assert not hasattr(CaseZScore(), "invert")
    with pytest.raises(ValidationError):
        TypeAdapter(Normalisation).validate_python({"kind": "case-z-score"})


def test_case_percentile_by_hand() -> None:
    """Of the positive values 10, 20, ..., 50 percentile 0 is 10 and percentile 75 is 40; the rest is clipped."""
    values = np.array([[-7, 0, 10], [20, 30, 40], [50, 0, 0]], np.int16)
    units = CasePercentile(upper=75.0).apply(values)
    assert units.dtype == np.float32
    np.testing.assert_allclose(units, [[0, 0, 0], [1 / 3, 2 / 3, 1], [1, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(CasePercentile(lower=25.0, upper=100.0).apply(values)[1], [0, 1 / 3, 2 / 3], atol=1e-6)


def test_case_percentile_does_not_count_the_empty_margin_nor_know_a_gain() -> None:
    random = np.random.default_rng(0)
    head = random.uniform(5, 1000, (9, 10, 11))
    padded = np.pad(head, 6)
    scale = CasePercentile()
    np.testing.assert_allclose(scale.apply(padded)[6:-6, 6:-6, 6:-6], scale.apply(head), atol=1e-6)
    np.testing.assert_allclose(scale.apply(head * 3.5), scale.apply(head), atol=1e-5)
    assert 0.004 < (scale.apply(head) == 1.0).mean() < 0.006


@pytest.mark.parametrize(
    "voxels", [np.zeros((2, 3, 4)), np.full((2, 3, 4), -3), np.full((2, 3, 4), 8), np.zeros((0, 3, 4), np.int16)]
)
def test_case_percentile_without_contrast_is_0(voxels: np.ndarray) -> None:
    units = CasePercentile().apply(voxels)
    assert units.shape == voxels.shape
    assert not units.any()


def test_case_percentile_is_no_invertible_normalisation() -> None:
    settings = CasePercentile(lower=1.0)
    assert CasePercentile.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError, match="case-percentile"):
        TypeAdapter(Normalisation).validate_python(settings.model_dump())
    with pytest.raises(ValidationError, match=r"lower 50 is not below upper 50"):
        CasePercentile(lower=50, upper=50)
