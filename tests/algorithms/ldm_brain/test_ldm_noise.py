"""The noise process: mixtures and targets by hand, times, seeds, and which settings are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ldm_models import true_prediction
from pydantic import ValidationError

from algorithms.ldm_brain.noise import NoiseConfig, signal_power, training_example

EPSILON = NoiseConfig()
VELOCITY = NoiseConfig(prediction="v_prediction")
FLOW = NoiseConfig(kind="rectified-flow")


def test_signal_power_is_the_product_of_one_minus_beta() -> None:
    """The scaled linear schedule: its root is linear."""
    betas = np.linspace(0.0015**0.5, 0.0205**0.5, 1000) ** 2
    np.testing.assert_allclose(signal_power(EPSILON).numpy(), np.cumprod(1 - betas), rtol=2e-4)
    linear = NoiseConfig(schedule="linear_beta", beta_start=0.1, beta_end=0.3, times=3)
    np.testing.assert_allclose(signal_power(linear).numpy(), [0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7], rtol=1e-6)


@pytest.mark.parametrize("config", [EPSILON, VELOCITY, FLOW])
def test_targets_by_hand(config: NoiseConfig) -> None:
    latent = torch.full((2, 1, 1, 1, 2), 3.0)
    noise = torch.tensor([1.0, -2.0]).expand(2, 1, 1, 1, 2)
    times = torch.tensor([100, 700])
    noisy, target, used = training_example(config, latent, times=times, noise=noise)
    assert used is times
    for row, time in enumerate((100, 700)):
        if config.kind == "rectified-flow":
            mixture = (1 - time / 1000) * 3.0 + time / 1000 * noise[row]
            wanted = 3.0 - noise[row]
        else:
            power = float(signal_power(config)[time])
            mixture = power**0.5 * 3.0 + (1 - power) ** 0.5 * noise[row]
            wanted = noise[row] if config is EPSILON else power**0.5 * noise[row] - (1 - power) ** 0.5 * 3.0
        torch.testing.assert_close(noisy[row], mixture)
        torch.testing.assert_close(target[row], wanted)


@pytest.mark.parametrize("config", [EPSILON, VELOCITY, FLOW])
def test_the_target_is_what_a_perfect_network_says(config: NoiseConfig) -> None:
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn((1, 2, 3, 3, 3), generator=generator)
    noisy, target, times = training_example(config, latent, generator)
    torch.testing.assert_close(true_prediction(config, noisy, latent, int(times)), target, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("config", "least", "most"), [(EPSILON, 0, 3), (FLOW, 1, 4)])
def test_times_cover_the_process(config: NoiseConfig, least: int, most: int) -> None:
    """Rectified flow trains on pure noise, where its sampling starts."""
    short = config.model_copy(update={"times": 4})
    _, _, times = training_example(short, torch.zeros(200, 1, 1, 1, 1), torch.Generator().manual_seed(0))
    assert sorted(set(times.tolist())) == list(range(least, most + 1))
    assert times.dtype == torch.int64


@pytest.mark.parametrize(("shift", "middle"), [(1.0, 500), (3.0, 750), (1 / 3, 250)])
def test_shift_moves_the_times_towards_noise(shift: float, middle: int) -> None:
    """Half of the times lie above s / 2 / (1 + (s - 1) / 2), and none leaves the process."""
    config = NoiseConfig(kind="rectified-flow", shift=shift)
    _, _, times = training_example(config, torch.zeros(4000, 1, 1, 1, 1), torch.Generator().manual_seed(0))
    assert float(times.double().quantile(0.5)) == pytest.approx(middle, abs=20)
    assert 1 <= int(times.min()) < int(times.max()) <= 1000
    assert times.dtype == torch.int64


def test_a_shift_next_to_one_draws_the_same_times_as_one() -> None:
    latent = torch.zeros(500, 1, 1, 1, 1)
    even, close = (
        training_example(NoiseConfig(kind="rectified-flow", shift=shift), latent, torch.Generator().manual_seed(0))[2]
        for shift in (1.0, 1.0001)
    )
    assert torch.equal(even, close)


@pytest.mark.parametrize("config", [EPSILON, FLOW])
def test_a_seed_gives_the_same_example(config: NoiseConfig) -> None:
    latent = torch.ones(2, 2, 2, 2, 2)
    first, again, other = (training_example(config, latent, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0], other[0])


def test_half_precision_latents_leave_the_schedule_as_it_is() -> None:
    before = signal_power(EPSILON)
    noisy, target, _ = training_example(EPSILON, torch.ones(1, 1, 2, 2, 2, dtype=torch.bfloat16))
    assert (noisy.dtype, target.dtype) == (torch.float32, torch.float32)
    assert torch.equal(signal_power(EPSILON), before)
    assert before.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"beta_start": 0.03}, "beta_start 0.03 is not below beta_end"),
        ({"kind": "cold"}, "kind"),
        ({"times": 5000}, "times"),
        ({"prediction": "sample"}, "prediction"),
        ({"gamma": 1}, "gamma"),
        ({"shift": 3.0}, "shift 3 is of rectified flow"),
        ({"kind": "rectified-flow", "shift": 0.0}, "shift"),
    ],
)
def test_settings_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        NoiseConfig.model_validate(change)
