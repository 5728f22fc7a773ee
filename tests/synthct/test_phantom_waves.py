"""The random fields: their bounds follow from their definition, a sum of cosines."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.phantom.waves import FloatArray, WaveField

LINE = np.arange(0.0, 240.0, 2.0, dtype=np.float32)
ORIGIN = np.zeros(1, dtype=np.float32)


def field(seed: int = 0, shortest: float = 30, longest: float = 60, count: int = 8) -> WaveField:
    return WaveField.draw(np.random.default_rng(seed), shortest, longest, count=count)


def sampled(one: WaveField) -> FloatArray:
    return one.sample(LINE, LINE, LINE[:40])


def test_one_wave_along_x_is_a_cosine() -> None:
    # Amplitude of one wave: 0.5 / sqrt(1 / 2) = 0.7071; wavelength 40 mm.
    wave = WaveField(np.array([[2 * np.pi / 40, 0.0, 0.0]]), np.array([0.0]))
    values = wave.sample(np.array([0.0, 10.0, 20.0, 40.0], dtype=np.float32), ORIGIN, ORIGIN)[0, 0]
    np.testing.assert_allclose(values, [0.70711, 0.0, -0.70711, 0.70711], atol=1e-5)


@pytest.mark.parametrize("axis", range(3))
def test_axes_are_x_y_z_and_the_result_is_z_y_x(axis: int) -> None:
    vector = np.zeros((1, 3))
    vector[0, axis] = 2 * np.pi / 40
    values = WaveField(vector, np.array([0.3])).sample(LINE[:3], LINE[:4], LINE[:5])
    assert values.shape == (5, 4, 3)
    assert values.dtype == np.float32
    changes = [float(np.ptp(values, axis=number).max()) for number in (2, 1, 0)]
    assert changes[axis] > 0.1
    assert max(change for number, change in enumerate(changes) if number != axis) < 1e-6


def test_phase_shifts_the_wave() -> None:
    vector = np.array([[0.0, 0.0, 2 * np.pi / 40]])
    first = WaveField(vector, np.array([0.0])).sample(ORIGIN, ORIGIN, LINE + 10)
    second = WaveField(vector, np.array([np.pi / 2])).sample(ORIGIN, ORIGIN, LINE)
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_equal_seeds_give_equal_fields() -> None:
    np.testing.assert_array_equal(sampled(field(5)), sampled(field(5)))
    assert np.abs(sampled(field(5)) - sampled(field(6))).mean() > 0.1


@pytest.mark.parametrize("count", [1, 2, 5, 8, 20])
def test_magnitude_never_passes_the_sum_of_the_amplitudes(count: int) -> None:
    # count waves of amplitude 0.5 / sqrt(count / 2) add up to sqrt(count / 2) at most: 2 for the usual 8.
    for seed in range(4):
        assert np.abs(sampled(field(seed, count=count))).max() <= np.sqrt(count / 2) + 1e-4


@pytest.mark.parametrize("count", [1, 5, 8])
def test_standard_deviation_is_a_half_and_the_mean_nothing(count: int) -> None:
    values = np.stack([sampled(field(seed, count=count)) for seed in range(8)])
    assert values.std() == pytest.approx(0.5, rel=0.06)
    assert values.mean() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize(("shortest", "longest"), [(11, 18), (24, 50), (130, 300)])
def test_wavelengths_lie_in_the_bounds(shortest: float, longest: float) -> None:
    lengths = np.concatenate(
        [2 * np.pi / np.linalg.norm(field(seed, shortest, longest).vectors, axis=1) for seed in range(20)]
    )
    assert lengths.min() >= shortest - 1e-9
    assert lengths.max() <= longest + 1e-9
    assert np.ptp(lengths) > 0.7 * (longest - shortest)


def test_directions_favour_no_axis() -> None:
    vectors = np.concatenate([field(seed).vectors for seed in range(100)])
    shares = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) ** 2
    np.testing.assert_allclose(shares.mean(axis=0), 1 / 3, atol=0.04)


@pytest.mark.parametrize("shortest", [20.0, 60.0])
def test_slope_is_bounded_by_the_shortest_wave(shortest: float) -> None:
    # 8 waves of amplitude 1/4, each of slope 2 pi / wavelength at most: 4 pi / shortest per mm.
    values = sampled(field(3, shortest, 2 * shortest))
    steepest = max(float(np.abs(np.diff(values, axis=axis)).max()) / 2.0 for axis in range(3))
    assert 0.1 * 4 * np.pi / shortest < steepest <= 4 * np.pi / shortest


@pytest.mark.parametrize("step", [0.7, 3.1])
def test_value_depends_on_the_position_alone(step: float) -> None:
    one = field(2)
    axis = (np.arange(12) * step - 20).astype(np.float32)
    whole = one.sample(axis, axis, axis)
    for z, y, x in ((0, 0, 0), (3, 8, 11), (11, 2, 5)):
        alone = one.sample(axis[x : x + 1], axis[y : y + 1], axis[z : z + 1])
        assert float(alone[0, 0, 0]) == pytest.approx(float(whole[z, y, x]), abs=1e-5)


def test_sampling_in_slabs_gives_the_whole() -> None:
    one = field(4)
    whole = one.sample(LINE, LINE, LINE[:9])
    parts = [one.sample(LINE, LINE, LINE[start : start + 3]) for start in range(0, 9, 3)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
