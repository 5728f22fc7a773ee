"""What pix2pix-pelvis trains: losses and gradients against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from builders import Array
from lightning_fabric import Fabric
from pix2pix_runs import NETWORK, settings
from torch import Tensor, nn

from algorithms.pix2pix_pelvis.discriminator import Discriminator, DiscriminatorConfig
from algorithms.pix2pix_pelvis.network import NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.objective import DISCRIMINATOR, GENERATOR, Pix2PixObjective
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from synthct.training.objective import Batch, Networks

LN2 = math.log(2.0)


def one_turn_each(
    modules: dict[str, nn.Module], batch: Batch, config: RecipeConfig
) -> tuple[dict[str, float], dict[str, list[Tensor]]]:
    """Run the losses as the loop does, with nothing learnt: scalars, and each turn's gradients of its own network."""
    nets = Networks(modules, Fabric(accelerator="cpu", devices=1))
    scalars: dict[str, float] = {}
    gradients = {}
    for turn, loss, told in Pix2PixObjective(config).losses(nets, batch):
        for module in modules.values():
            module.zero_grad(set_to_none=True)
        loss.backward()
        gradients[turn] = [each.grad for each in modules[turn].parameters() if each.grad is not None]
        scalars |= {name: float(value) for name, value in told.items()} | {f"{turn} loss": float(loss.detach())}
    return scalars, gradients


def scripted(*, gain: float, shift: float, logit: float) -> dict[str, nn.Module]:
    """A generator gain * MR + shift, and a discriminator whose every logit is the same."""
    generator = nn.Conv3d(1, 1, 1)
    discriminator = Discriminator(DiscriminatorConfig(), NetworkConfig.model_validate(NETWORK))
    last = discriminator.net[2]
    with torch.no_grad():
        generator.weight.fill_(gain)
        nn.init.constant_(generator.bias, shift)
        last.weight.zero_()
        last.bias.fill_(logit)
    return {GENERATOR: generator, DISCRIMINATOR: discriminator}


def batch_of(*arrays: Array) -> Batch:
    return Batch(*(torch.from_numpy(array.astype(np.float32))[None, None] for array in arrays))


def twenty_voxels() -> Batch:
    """MR 1, CT 2 in 11 voxels and 0 in 9; weight 1 there, and 0 in other voxels whose CT is far off."""
    shape = (4, 8, 8)
    ct, weight = np.full(shape, 50.0), np.zeros(shape)
    ct.flat[:11], ct.flat[11:20], weight.flat[:20] = 2.0, 0.0, 1.0
    return batch_of(np.ones(shape), ct, weight)


def test_losses_by_hand() -> None:
    """Generator 0.5 MR + 0.25 = 0.75: L1 = (11 * 1.25 + 9 * 0.75) / 20. Logits 0: cross entropy ln 2 for all three."""
    scalars, _ = one_turn_each(scripted(gain=0.5, shift=0.25, logit=0.0), twenty_voxels(), settings())
    l1 = (11 * 1.25 + 9 * 0.75) / 20
    assert scalars["l1_hu"] == pytest.approx(1000 * l1)
    assert scalars["adversarial"] == pytest.approx(LN2)
    assert scalars["discriminator loss"] == pytest.approx(LN2)
    assert scalars["generator loss"] == pytest.approx(100 * l1 + LN2)


def test_adversarial_losses_by_hand() -> None:
    """Logits 2: ln(1 + e^-2) for calling it real, ln(1 + e^2) for calling it fake; the discriminator takes the mean."""
    real, fake = math.log1p(math.exp(-2.0)), math.log1p(math.exp(2.0))
    scalars, _ = one_turn_each(scripted(gain=0, shift=0, logit=2.0), twenty_voxels(), settings())
    assert scalars["adversarial"] == pytest.approx(real)
    assert scalars["discriminator loss"] == pytest.approx((real + fake) / 2)


@pytest.mark.parametrize("logit", [0.0, 2.0, -30.0])
def test_a_discriminator_that_says_the_same_of_all_is_seen_in_the_scalars(logit: float) -> None:
    """sigmoid(logit) for real and fake alike: a collapse."""
    scalars, _ = one_turn_each(scripted(gain=0, shift=0, logit=logit), twenty_voxels(), settings())
    said = 1 / (1 + math.exp(-logit))
    assert (scalars["real_said_real"], scalars["fake_said_real"]) == pytest.approx((said, said), rel=1e-6)


def test_what_the_discriminator_says_is_told_of_real_and_fake_apart() -> None:
    """It goes by the CT's mean here: 1 inside for the real one, 0 for the fake one, air (-1) outside for both."""
    modules = scripted(gain=0.0, shift=0.0, logit=0.0)
    first, _, last = modules[DISCRIMINATOR].net
    with torch.no_grad():
        for layer in (first, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight[0, 1, 1, 1, 1] = 1.0  # the CT's own voxel; MR is not looked at
        last.weight[0, 0, 1, 1, 1] = 5.0
    batch = batch_of(np.ones((4, 8, 8)), np.ones((4, 8, 8)), np.ones((4, 8, 8)))
    scalars, _ = one_turn_each(modules, batch, settings())
    assert scalars["real_said_real"] == pytest.approx(1 / (1 + math.exp(-5.0)), rel=1e-6)
    assert scalars["fake_said_real"] == pytest.approx(0.5)
    assert set(scalars) == {
        *("discriminator loss", "real_said_real", "fake_said_real"),
        *("generator loss", "l1_hu", "adversarial"),
    }


@pytest.mark.parametrize(("weight", "expected"), [(100.0, -10.0), (10.0, -1.0)])
def test_l1_counts_by_its_weight(weight: float, expected: float) -> None:
    """The gradient of 100 L1 for gain and shift alike (MR is 1): 100 * (9 - 11) / 20; the discriminator is flat."""
    modules = scripted(gain=0.5, shift=0.25, logit=0.0)
    _, gradients = one_turn_each(modules, twenty_voxels(), settings(l1_weight=weight))
    assert [float(gradient) for gradient in gradients[GENERATOR]] == pytest.approx([expected, expected])


def test_without_weight_nothing_is_learnt() -> None:
    batch = twenty_voxels()
    empty = batch._replace(weight=batch.weight * 0)
    scalars, gradients = one_turn_each(scripted(gain=0.5, shift=0.25, logit=0.0), empty, settings())
    assert scalars["l1_hu"] == 0.0
    assert [float(gradient) for gradient in gradients[GENERATOR]] == [0.0, 0.0]


def test_l1_alone_leaves_the_discriminator_out() -> None:
    config = settings(adversarial_weight=0.0)
    assert list(Pix2PixObjective(config).networks()) == [GENERATOR]
    modules = scripted(gain=0.5, shift=0.25, logit=0.0)
    del modules[DISCRIMINATOR]
    scalars, gradients = one_turn_each(modules, twenty_voxels(), config)
    assert scalars["adversarial"] == 0.0
    assert "real_said_real" not in scalars
    assert list(gradients) == [GENERATOR]


def real_networks() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return Pix2PixObjective(settings()).networks()


def random_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image, ct = torch.rand((2, 1, 1, 4, 16, 16), generator=generator)
    return Batch(image, ct, (torch.rand((1, 1, 4, 16, 16), generator=generator) > 0.5).float())


def test_ct_outside_the_mask_is_never_looked_at() -> None:
    batch = random_batch()
    outside = batch._replace(reference=torch.where(batch.weight > 0, batch.reference, 9.0))
    inside = batch._replace(reference=torch.where(batch.weight > 0, 9.0, batch.reference))
    one, other, moved = (one_turn_each(real_networks(), each, settings()) for each in (batch, outside, inside))
    assert one[0] == other[0] != moved[0]
    for turn in (GENERATOR, DISCRIMINATOR):
        assert all(torch.equal(a, b) for a, b in zip(one[1][turn], other[1][turn], strict=True))


@pytest.mark.parametrize("scale", [1000.0, 500.0])
def test_outside_the_mask_there_is_air_in_whatever_units(scale: float) -> None:
    """-1000 HU, for real and fake alike; inside, the two as they are."""
    shown: list[Tensor] = []
    modules, batch = real_networks(), random_batch()
    modules[DISCRIMINATOR].register_forward_pre_hook(lambda _, inputs: shown.append(inputs[1].detach()))
    one_turn_each(modules, batch, settings(ct_scale=scale))
    inside = batch.weight > 0
    real, *fakes = shown
    assert len(fakes) == 2
    assert torch.equal(real[inside], batch.reference[inside])
    for ct in shown:
        assert set(ct[~inside].tolist()) == {-1000.0 / scale}
    assert torch.equal(fakes[0], fakes[1])
    assert not torch.equal(fakes[0][inside], real[inside])


def test_discriminator_learns_from_its_own_loss_only() -> None:
    """Its gradient is that of half the sum of both cross entropies; the generator's turn gives it none."""
    batch = random_batch()._replace(weight=torch.ones(1, 1, 4, 16, 16))
    modules = real_networks()
    generator, discriminator = modules[GENERATOR], modules[DISCRIMINATOR]
    with torch.no_grad():
        fake = generator(batch.image)
    own = (
        nn.functional.softplus(-discriminator(batch.image, batch.reference)).mean()
        + nn.functional.softplus(discriminator(batch.image, fake)).mean()
    )
    expected = torch.autograd.grad(0.5 * own, list(discriminator.parameters()))
    _, gradients = one_turn_each(modules, batch, settings())
    for found, wanted in zip(gradients[DISCRIMINATOR], expected, strict=True):
        torch.testing.assert_close(found, wanted)
    left = [each.grad for each in discriminator.parameters()]  # after the generator's turn
    assert left == [None] * len(left)
    assert all(each.requires_grad for each in discriminator.parameters())


def test_both_networks_get_adam_at_the_preset_s_rate() -> None:
    config = settings(learning_rate=2e-4, betas=(0.4, 0.9))
    objective = Pix2PixObjective(config)
    turns = objective.optimisers(objective.networks())
    assert {turn: names for turn, (names, _) in turns.items()} == {
        GENERATOR: (GENERATOR,),
        DISCRIMINATOR: (DISCRIMINATOR,),
    }
    for _, optimiser in turns.values():
        group: dict[str, Any] = optimiser.param_groups[0]
        assert (group["lr"], group["betas"]) == (2e-4, (0.4, 0.9))


def test_networks_are_the_preset_s() -> None:
    built = Pix2PixObjective(settings()).networks()
    assert isinstance(built[GENERATOR], UNetGenerator)
    assert isinstance(built[DISCRIMINATOR], Discriminator)
