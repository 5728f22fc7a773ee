"""The training loop of pix2pix-pelvis: losses by hand, learning, the choice of the best, the learning rate."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Array
from pix2pix_runs import CPU, NETWORK, Interrupting, InterruptionError, limb, quiet, saved, settings
from torch import Tensor, nn

from algorithms.pix2pix_pelvis.loop import RecipeConfig, _step, fit
from algorithms.pix2pix_pelvis.network import Discriminator, NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.patches import TrainingCase

LN2 = math.log(2.0)


def flat(ct: float, shape: tuple[int, int, int] = (4, 16, 16)) -> TrainingCase:
    """MR 1 everywhere, CT one value everywhere."""
    ones = np.ones(shape, np.float32)
    return TrainingCase("1EXA001", ones, ones * np.float32(ct), ones)


class Scripted:
    """One update of a generator a * MR + b and a discriminator whose every logit is the same, with nothing learnt."""

    def __init__(self, *, gain: float, shift: float, logit: float) -> None:
        self.generator = nn.Conv3d(1, 1, 1)
        self.discriminator = Discriminator(NetworkConfig.model_validate(NETWORK))
        last = self.discriminator.net[2]
        with torch.no_grad():
            self.generator.weight.fill_(gain)
            torch.nn.init.constant_(self.generator.bias, shift)
            last.weight.zero_()
            last.bias.fill_(logit)

    def step(self, image: Array, ct: Array, weight: Array, config: RecipeConfig) -> tuple[float, float, float]:
        tensors = [torch.from_numpy(array.astype(np.float32))[None, None] for array in (image, ct, weight)]
        optimisers = [torch.optim.Adam(net.parameters(), lr=0.0) for net in (self.generator, self.discriminator)]
        return _step(self.generator, self.discriminator, optimisers, *tensors, config)

    def gradient(self) -> list[float]:
        return [float(parameter.grad.sum()) for parameter in self.generator.parameters() if parameter.grad is not None]


def twenty_voxels() -> tuple[Array, Array, Array]:
    """MR 1, CT 2 in 11 voxels and 0 in 9; weight 1 there, and 0 in other voxels whose CT is far off."""
    shape = (4, 8, 8)
    ct, weight = np.full(shape, 50.0), np.zeros(shape)
    ct.flat[:11], ct.flat[11:20], weight.flat[:20] = 2.0, 0.0, 1.0
    return np.ones(shape), ct, weight


def test_losses_by_hand() -> None:
    """Generator 0.5 MR + 0.25 = 0.75: L1 = (11 * 1.25 + 9 * 0.75) / 20. Logits 0: cross entropy ln 2 for all three."""
    scripted = Scripted(gain=0.5, shift=0.25, logit=0.0)
    l1, adversarial, discriminator = scripted.step(*twenty_voxels(), settings())
    assert l1 == pytest.approx((11 * 1.25 + 9 * 0.75) / 20)
    assert adversarial == pytest.approx(LN2)
    assert discriminator == pytest.approx(LN2)


def test_adversarial_losses_by_hand() -> None:
    """Logits 2: ln(1 + e^-2) for calling it real, ln(1 + e^2) for calling it fake; the discriminator takes the mean."""
    real, fake = math.log1p(math.exp(-2.0)), math.log1p(math.exp(2.0))
    _, adversarial, discriminator = Scripted(gain=0, shift=0, logit=2.0).step(*twenty_voxels(), settings())
    assert adversarial == pytest.approx(real)
    assert discriminator == pytest.approx((real + fake) / 2)


def test_l1_counts_a_hundredfold() -> None:
    """The gradient of 100 L1 for gain and shift alike (MR is 1): 100 * (9 - 11) / 20; the discriminator is flat."""
    scripted = Scripted(gain=0.5, shift=0.25, logit=0.0)
    scripted.step(*twenty_voxels(), settings())
    assert scripted.gradient() == pytest.approx([-10.0, -10.0])
    scripted.step(*twenty_voxels(), settings(l1_weight=10.0))
    assert scripted.gradient() == pytest.approx([-1.0, -1.0])


def test_gradient_norm_is_clipped_at_20() -> None:
    scripted = Scripted(gain=0.5, shift=0.25, logit=0.0)
    scripted.step(*twenty_voxels(), settings(l1_weight=1e4))
    assert math.hypot(*scripted.gradient()) == pytest.approx(20.0, rel=1e-4)


def test_without_weight_nothing_is_learnt() -> None:
    image, ct, weight = twenty_voxels()
    scripted = Scripted(gain=0.5, shift=0.25, logit=0.0)
    l1, _, _ = scripted.step(image, ct, weight * 0, settings())
    assert (l1, scripted.gradient()) == (0.0, [0.0, 0.0])


def test_l1_alone_leaves_the_discriminator_out() -> None:
    scripted = Scripted(gain=0.5, shift=0.25, logit=0.0)
    losses = scripted.step(*twenty_voxels(), settings(adversarial_weight=0.0))
    assert losses == (pytest.approx((11 * 1.25 + 9 * 0.75) / 20), 0.0, 0.0)
    assert all(parameter.grad is None for parameter in scripted.discriminator.parameters())


def trained_pair(image: Tensor, ct: Tensor, weight: Tensor) -> tuple[tuple[float, float, float], list[Tensor]]:
    """One update of real networks; the losses, and both networks' weights after it."""
    torch.manual_seed(3)
    networks = [UNetGenerator(settings().network), Discriminator(settings().network)]
    optimisers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in networks]
    losses = _step(*networks, optimisers, image, ct, weight, settings())
    return losses, [parameter.detach() for net in networks for parameter in net.parameters()]


def test_ct_outside_the_mask_is_never_looked_at() -> None:
    generator = torch.Generator().manual_seed(0)
    image, ct = torch.rand((2, 1, 1, 4, 16, 16), generator=generator)
    weight = (torch.rand((1, 1, 4, 16, 16), generator=generator) > 0.5).float()
    one, other = (trained_pair(image, spoilt, weight) for spoilt in (ct, torch.where(weight > 0, ct, 9.0)))
    inside = trained_pair(image, torch.where(weight > 0, 9.0, ct), weight)
    assert one[0] == other[0] != inside[0]
    assert all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def test_discriminator_learns_from_its_own_loss_only() -> None:
    """Its gradient is that of half the sum of both cross entropies, untouched by the generator's turn."""
    torch.manual_seed(3)
    generator, discriminator = UNetGenerator(settings().network), Discriminator(settings().network)
    optimisers = [torch.optim.Adam(net.parameters(), lr=0.0) for net in (generator, discriminator)]
    image, ct, weight = torch.rand(1, 1, 4, 16, 16), torch.rand(1, 1, 4, 16, 16), torch.ones(1, 1, 4, 16, 16)
    with torch.no_grad():
        fake = generator(image)
    own = (
        nn.functional.softplus(-discriminator(image, ct)).mean()
        + nn.functional.softplus(discriminator(image, fake)).mean()
    )
    expected = torch.autograd.grad(0.5 * own, list(discriminator.parameters()))
    _step(generator, discriminator, optimisers, image, ct, weight, settings())
    for parameter, gradient in zip(discriminator.parameters(), expected, strict=True):
        assert parameter.requires_grad
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def logged_l1(text: str) -> list[float]:
    return [float(value) for value in re.findall(r"L1 ([0-9.]+) HU", text)]


def test_one_tiny_case_is_learnt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = limb(1)
    config = settings(patch=(8, 32, 32), iterations=60, validation_interval=10, learning_rate=1e-2)
    with caplog.at_level(logging.INFO):
        generator = fit([case], [case], config, tmp_path, CPU, quiet())
    l1 = logged_l1(caplog.text)
    assert len(l1) == 6
    assert l1[-1] < 0.6 * l1[0]
    assert not generator.training
    untrained = np.abs(0 - case.ct)[case.weight > 0].mean() * 1000
    assert saved(tmp_path)["best"] < 0.5 * untrained


def flat_error(generator: nn.Module, ct: float) -> float:
    """MAE in HU on the flat volume, which is one patch."""
    with torch.inference_mode():
        return float((generator(torch.ones(1, 1, 4, 16, 16)) - ct).abs().mean()) * 1000


def test_best_on_the_validation_cases_is_returned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Trained towards 1.5 and judged at 0.5: the best lies on the way, not at its end."""
    config = settings(iterations=80, validation_interval=5, adversarial_weight=0.0, learning_rate=3e-4, seed=2)
    with caplog.at_level(logging.INFO):
        generator = fit([flat(1.5)], [flat(0.5)], config, tmp_path, CPU, quiet())
    scores = [float(value) for value in re.findall(r"validation MAE \[([0-9.]+)\]", caplog.text)]
    assert len(scores) == 16
    assert min(scores) < 0.75 * min(scores[0], scores[-1])
    last = UNetGenerator(config.network)
    last.load_state_dict(saved(tmp_path)["parts"][2])
    assert flat_error(generator, 0.5) == pytest.approx(saved(tmp_path)["best"], rel=1e-3)
    assert flat_error(generator, 0.5) == pytest.approx(min(scores), abs=0.1)
    assert flat_error(last, 0.5) == pytest.approx(scores[-1], abs=0.1)


def test_last_is_returned_without_validation_cases(tmp_path: Path) -> None:
    config = settings(iterations=7, validation_interval=3)
    generator = fit([limb(1)], [], config, tmp_path, CPU, quiet())
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, saved(tmp_path)["parts"][0][name]), name


def test_learning_rate_is_constant_then_falls(tmp_path: Path) -> None:
    """Of 10 iterations the 5th still has the whole rate; the k-th has 2 (1 - (k - 1) / 10) of it, the last a fifth."""
    config = settings(iterations=10, validation_interval=1)
    for iteration, share in ((6, 1.0), (8, 0.6), (10, 0.2)):
        run_dir = tmp_path / str(iteration)
        run_dir.mkdir()
        if iteration < 10:
            with pytest.raises(InterruptionError):
                fit([limb(1)], [], config, run_dir, CPU, Interrupting(iteration + 1))
        else:
            fit([limb(1)], [], config, run_dir, CPU, quiet())
        assert saved(run_dir)["iteration"] == iteration
        rates = [part["param_groups"][0]["lr"] for part in saved(run_dir)["parts"][3:]]
        assert rates == pytest.approx([share * config.learning_rate] * 2)
