"""Sampling: the published update written out, exact cases, eta's variance, seeds, odd sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ldm_models import PATCH, Knowing, Recording, sampler
from torch import Tensor

from algorithms.ldm_brain.conditioning import Denoiser, in_precision
from algorithms.ldm_brain.noise import NoiseConfig, signal_power
from algorithms.ldm_brain.sampling import reverse_times
from synthct.errors import UsageError

EPSILON = NoiseConfig()
VELOCITY = NoiseConfig(prediction="v_prediction")
FLOW = NoiseConfig(kind="rectified-flow")
PROCESSES = [EPSILON, VELOCITY, FLOW]


def draw(denoiser: Denoiser, noise: NoiseConfig, mr: Tensor | None = None, **changes: Any) -> Tensor:
    """A latent; `changes` are of the sampler, or of its call."""
    call = {name: changes.pop(name) for name in ("number", "advance") if name in changes}
    drawing = sampler(denoiser, noise, **{"scale_factor": 1.0, "steps": 50} | changes)
    return drawing.latent(torch.zeros(PATCH) if mr is None else mr, **call)


def first_noise(noise: NoiseConfig, **changes: Any) -> Tensor:
    """The latent that the denoiser sees first."""
    denoiser = Recording(lambda latent, _: latent)
    draw(denoiser, noise, steps=1, **changes)
    return denoiser.seen[0][0]


@pytest.mark.parametrize("noise", [EPSILON, VELOCITY])
def test_ddim_is_the_published_update(noise: NoiseConfig) -> None:
    """Equation 12 of arXiv 2010.02502 with sigma 0, at 999, 749, 499, 249 and then the latent itself."""
    alpha = signal_power(noise).double()
    denoiser = Recording(lambda latent, time: 0.3 * latent.sin() + time / 5000)
    got = draw(denoiser, noise, steps=4)
    x = denoiser.seen[0][0].double()
    for now, then in ((999, 749), (749, 499), (499, 249), (249, None)):
        said = 0.3 * x.sin() + now / 5000
        after = torch.tensor(1.0).double() if then is None else alpha[then]
        if noise is VELOCITY:
            predicted = alpha[now].sqrt() * x - (1 - alpha[now]).sqrt() * said
            epsilon = (x - alpha[now].sqrt() * predicted) / (1 - alpha[now]).sqrt()
        else:
            predicted = (x - (1 - alpha[now]).sqrt() * said) / alpha[now].sqrt()
            epsilon = said
        x = after.sqrt() * predicted + (1 - after).sqrt() * epsilon
    torch.testing.assert_close(got.double(), x, rtol=1e-3, atol=1e-3)
    assert [time for _, time, _ in denoiser.seen] == [999, 749, 499, 249]


def test_eta_adds_the_published_variance() -> None:
    """Equation 16. A denoiser that takes all for noise has x0 = 0, so the second latent is direction plus noise."""
    denoiser = Recording(lambda latent, time: latent / math.sqrt(1 - float(signal_power(EPSILON)[int(time)])))
    draw(denoiser, EPSILON, torch.zeros(32, 32, 32), steps=2, eta=0.7, tile=(32, 32, 32))
    now, then = (float(power) for power in signal_power(EPSILON)[[999, 499]].double())
    sigma = 0.7 * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
    first, second = denoiser.seen[0][0], denoiser.seen[1][0]
    added = second - math.sqrt(1 - then - sigma**2) * first / math.sqrt(1 - now)
    assert float(added.std()) == pytest.approx(sigma, rel=0.03)  # 8192 numbers
    assert abs(float((added * first).mean())) < 0.03
    assert float(second.std()) == pytest.approx(math.sqrt(1 - then), rel=0.03)


def test_no_eta_adds_nothing() -> None:
    """The noise of an eta that is 0 would show: the answer could not be exact."""
    denoiser = Recording(lambda latent, time: latent / math.sqrt(1 - float(signal_power(EPSILON)[int(time)])))
    assert float(draw(denoiser, EPSILON, steps=5).abs().max()) < 1e-3


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_rectified_flow_is_exact_on_a_known_field(steps: int) -> None:
    """A field that is the same everywhere leads from x to x + v."""
    got = draw(Recording(lambda latent, _: torch.full_like(latent, -2.5)), FLOW, steps=steps)
    torch.testing.assert_close(got, first_noise(FLOW) - 2.5, rtol=0, atol=1e-5)


def test_rectified_flow_takes_eulers_steps() -> None:
    """v = t at times 1, 0.75, 0.5, 0.25, a quarter each: 0.25 * 2.5."""
    denoiser = Recording(lambda latent, time: torch.full_like(latent, time / 1000))
    torch.testing.assert_close(draw(denoiser, FLOW, steps=4), denoiser.seen[0][0] + 0.625, rtol=0, atol=1e-6)
    assert [time for _, time, _ in denoiser.seen] == [1000, 750, 500, 250]


@pytest.mark.parametrize("steps", [1, 4, 50])
@pytest.mark.parametrize("noise", PROCESSES)
def test_a_perfect_denoiser_leads_to_the_latent(noise: NoiseConfig, steps: int) -> None:
    """So sampling undoes what training does."""
    mr = torch.rand(PATCH, generator=torch.Generator().manual_seed(2))
    knowing = Knowing(noise)
    got = draw(knowing, noise, mr, steps=steps, scale_factor=4.0)
    torch.testing.assert_close(got * 4.0, knowing.latent(mr[None, None]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(15, 33, 31), (1, 5, 7), (2, 2, 2), (40, 3, 17)])
@pytest.mark.parametrize("noise", [VELOCITY, FLOW])
def test_sizes_of_any_kind_are_steered_at_the_right_place(noise: NoiseConfig, shape: tuple[int, int, int]) -> None:
    """The latent is known from the MR alone, so a tile that saw another one's MR would show."""
    mr = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    padded = torch.zeros([math.ceil(edge / 2) * 2 for edge in shape])
    padded[tuple(slice(edge) for edge in shape)] = mr
    got = draw(Knowing(noise), noise, mr, steps=3)
    torch.testing.assert_close(got, Knowing(noise).latent(padded[None, None]), rtol=0, atol=2e-3)


def test_what_the_networks_are_given_suits_their_strides() -> None:
    denoiser = Recording(lambda latent, _: latent)
    for shape in ((1, 5, 7), (15, 33, 31), (2, 16, 18)):
        denoiser.seen.clear()
        draw(denoiser, FLOW, torch.zeros(shape), steps=1)
        for latent, _, condition in denoiser.seen:
            edges = latent.shape[2:]
            assert all(4 <= edge <= 8 and edge % 2 == 0 for edge in edges), (shape, edges)
            assert condition.shape[2:] == tuple(2 * edge for edge in edges)


@pytest.mark.parametrize("noise", [EPSILON, FLOW])
def test_noise_depends_on_seed_number_and_shape_alone(noise: NoiseConfig) -> None:
    first = first_noise(noise, seed=1)
    torch.manual_seed(99)
    assert torch.equal(first_noise(noise, seed=1), first)
    for other in ({"seed": 2}, {"seed": 1, "number": 1}, {"seed": 0, "number": 1}):
        assert not torch.equal(first_noise(noise, **other), first)
    assert float(first.mean()) == pytest.approx(0, abs=0.1)
    assert float(first.std()) == pytest.approx(1, abs=0.1)


def test_progress_counts_steps() -> None:
    told: list[tuple[int, int]] = []
    draw(Recording(lambda latent, _: latent), FLOW, steps=3, advance=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_times_go_down_evenly_to_the_latent() -> None:
    assert reverse_times(EPSILON, 3) == [(999, 666), (666, 332), (332, -1)]
    assert reverse_times(EPSILON, 1) == [(999, -1)]
    assert reverse_times(FLOW, 4) == [(1000, 750), (750, 500), (500, 250), (250, 0)]
    assert reverse_times(EPSILON, 1000)[-2:] == [(1, 0), (0, -1)]
    for steps in (0, 1001):
        with pytest.raises(UsageError, match=f"{steps} steps were asked for; expected 1 to 1000"):
            reverse_times(EPSILON, steps)


def test_what_cannot_be_sampled() -> None:
    denoiser = Recording(lambda latent, _: latent)
    with pytest.raises(UsageError, match=r"tile \(16, 16, 18\) .* no multiple of 4"):
        draw(denoiser, FLOW, tile=(16, 16, 18))
    with pytest.raises(UsageError, match=r"MR of shape \(1, 16, 16, 16\)"):
        draw(denoiser, FLOW, torch.zeros(1, *PATCH))


def test_what_is_not_finite_is_calculated_again_in_fp32() -> None:
    """A product beyond bf16's range is infinite there, and not in fp32 as autocast's matmul would have it."""
    asked: list[bool] = []

    def calculate() -> Tensor:
        asked.append(torch.is_autocast_enabled("cpu"))
        return torch.full((2,), math.inf if asked[-1] else 3.0)

    assert in_precision(calculate, torch.device("cpu"), "bf16").tolist() == [3.0, 3.0]
    assert asked == [True, False]
    result = in_precision(lambda: torch.ones(2, 2) @ torch.ones(2, 2), torch.device("cpu"), "bf16")
    assert result.dtype == torch.float32
