"""What each stage minimises, by hand; who learns, and who does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from ldm_runs import tiny
from ldm_settings import NETWORKS
from torch import Tensor, nn

from algorithms.ldm_brain.autoencoding import AUTOENCODER, AutoencoderObjective, kl_divergence
from algorithms.ldm_brain.diffusion import SCALE, UNET, DiffusionObjective
from algorithms.ldm_brain.latents import frozen, latents_of, scale_factor
from algorithms.ldm_brain.networks import build_autoencoder, build_unet
from algorithms.ldm_brain.noise import training_example
from algorithms.ldm_brain.steering import CONTROLNET, ControlNetObjective
from synthct.errors import InputError
from synthct.losses.adversarial import squared_real_or_fake
from synthct.training.launch import make_fabric
from synthct.training.objective import Batch, Network, Networks

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return make_fabric("cpu", 1, "fp32")


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(5)
    image, reference = (torch.rand((2, 1, 16, 16, 16), generator=generator) for _ in range(2))
    return Batch(image, 2 * reference - 1, torch.ones_like(image))


class Halving:
    """An autoencoder whose latent is every second voxel: what it says is known."""

    def encode(self, ct: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation."""
        latent = ct[..., ::2, ::2, ::2].repeat(1, 2, 1, 1, 1)
        return latent, torch.ones_like(latent)


def turns(objective: Any, nets: Networks, batch: Batch) -> dict[str, tuple[float, dict[str, float]]]:
    """Each turn's loss and scalars, its gradients worked out."""
    told = {}
    for name, loss, scalars in objective.losses(nets, batch):
        loss.backward()
        told[name] = float(loss.detach()), {key: float(value) for key, value in scalars.items()}
    return told


def test_kl_by_hand() -> None:
    """(m^2 + s^2 - ln s^2 - 1) / 2 for each of four latent voxels, two samples: summed, then meant over samples."""
    mean = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).reshape(2, 1, 1, 1, 2)
    deviation = torch.tensor([[1.0, 1.0], [1.0, 2.0]]).reshape(2, 1, 1, 1, 2)
    terms = [0.0, 0.5, 2.0, 0.5 * (4 - math.log(4) - 1)]
    assert float(kl_divergence(mean, deviation)) == pytest.approx(sum(terms) / 2)
    assert math.isfinite(float(kl_divergence(mean, torch.zeros_like(deviation))))


def test_least_squares_by_hand() -> None:
    """Logits 0 and 3: (1 + 4) / 2 as real, (0 + 9) / 2 as fake; nothing is put before the square."""
    logits = torch.tensor([0.0, 3.0], dtype=torch.bfloat16)
    assert float(squared_real_or_fake(logits, is_real=True)) == 2.5
    assert float(squared_real_or_fake(logits, is_real=False)) == 4.5
    assert float(squared_real_or_fake(torch.tensor([-1.0]), is_real=True)) == 4.0


def test_discriminator_waits_for_the_warm_up(fabric: Fabric, batch: Batch) -> None:
    """One epoch of one iteration with two micro-batches: the third is the first that is judged."""
    loop = {"iterations_per_epoch": 1, "epochs": 2, "accumulation": 2}
    objective = AutoencoderObjective(tiny(autoencoder={"loop": loop}), None, fabric)
    modules = objective.networks()
    nets = Networks(modules, fabric)
    for _ in range(2):
        told = turns(objective, nets, batch)
        assert list(told) == [AUTOENCODER]
        assert all(parameter.grad is None for parameter in modules["discriminator"].parameters())
    told = turns(objective, nets, batch)
    assert list(told) == [AUTOENCODER, "discriminator"]
    assert int(modules["discriminator"].state_dict()["seen"]) == 3


def test_autoencoder_loss_is_the_sum_of_its_terms(fabric: Fabric, batch: Batch) -> None:
    config = tiny(warm_up_epochs=0)
    objective = AutoencoderObjective(config, None, fabric)
    modules = objective.networks()
    outside = batch._replace(weight=torch.zeros_like(batch.weight))
    with torch.random.fork_rng():
        loss, told = turns(objective, Networks(modules, fabric), batch)[AUTOENCODER]
    l1 = told["l1_hu"] / 2047.5
    assert loss == pytest.approx(l1 + 1e-6 * told["kl"] + 1e-2 * told["adversarial"], rel=1e-4)
    loss, told = turns(objective, Networks(modules, fabric), outside)[AUTOENCODER]
    assert told["l1_hu"] == 0.0  # what is told is inside the mask
    assert loss > 0.9 * l1  # what is learned from is everywhere


def test_no_discriminator_without_its_weight(fabric: Fabric, batch: Batch) -> None:
    objective = AutoencoderObjective(tiny(adversarial_weight=0.0, warm_up_epochs=0), None, fabric)
    modules = objective.networks()
    assert list(modules) == [AUTOENCODER]
    assert list(turns(objective, Networks(modules, fabric), batch)) == [AUTOENCODER]


def test_scale_factor_by_hand(batch: Batch) -> None:
    """Latents of 1 and 3, as often: deviation 1 about their mean of 2. So is the factor, whatever the offset."""
    alternating = torch.zeros(1, 1, 4, 4, 4)
    alternating[..., ::4] = 1.0
    alternating[..., 2::4] = 3.0
    assert scale_factor(Halving(), [alternating, alternating]) == pytest.approx(1.0)  # type: ignore[arg-type]
    assert scale_factor(Halving(), [2 * alternating]) == pytest.approx(0.5)  # type: ignore[arg-type]
    patches = list(batch.reference.split(1))
    factor = scale_factor(Halving(), patches)  # type: ignore[arg-type]
    latents = latents_of(Halving(), batch.reference)  # type: ignore[arg-type]
    assert float((latents * factor).std(correction=0)) == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(InputError, match="are all alike; expected some deviation"):
        scale_factor(Halving(), [torch.zeros(1, 1, 4, 4, 4)])  # type: ignore[arg-type]


def test_latents_are_means(fabric: Fabric, batch: Batch) -> None:
    """The same each time, though the autoencoder's distribution has a deviation."""
    autoencoder = frozen(build_autoencoder(NETWORKS.autoencoder), fabric)
    first, second = (latents_of(autoencoder, batch.reference) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (2, 2, 8, 8, 8)
    assert not torch.equal(autoencoder.encode_stage_2_inputs(batch.reference), first)


class Constant(nn.Module):
    """A UNet that always says the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, latent: Tensor, times: Tensor) -> Tensor:
        """The value, everywhere."""
        return self.value.expand_as(latent)


@pytest.mark.parametrize("kind", ["ddpm", "rectified-flow"])
def test_diffusion_loss_is_the_mean_square_to_the_scaled_target(fabric: Fabric, batch: Batch, kind: str) -> None:
    config = tiny(noise={"kind": kind})
    objective = DiffusionObjective(config, Halving(), 3.0)  # type: ignore[arg-type]
    modules: dict[str, nn.Module] = {UNET: Constant(0.25), SCALE: objective.networks()[SCALE]}
    torch.manual_seed(11)
    loss, told = turns(objective, Networks(modules, fabric), batch)[UNET]
    torch.manual_seed(11)
    latent = Halving().encode(batch.reference)[0] * 3.0
    _, target, _ = training_example(config.noise, latent)
    assert loss == pytest.approx(float((target - 0.25).square().mean()), rel=1e-5)
    assert told["latent_std"] == pytest.approx(float(latent.std()), rel=1e-5)


def test_the_checkpoints_factor_outranks_the_objectives(fabric: Fabric, batch: Batch) -> None:
    """On resume the factor is not found again, but read."""
    objective = DiffusionObjective(tiny(), Halving(), 1.0)  # type: ignore[arg-type]
    modules = objective.networks()
    modules[SCALE].load_state_dict({"value": torch.tensor(7.0)})
    told = turns(objective, Networks(modules, fabric), batch)[UNET][1]
    plain = Halving().encode(batch.reference)[0]
    assert told["latent_std"] == pytest.approx(7.0 * float(plain.std()), rel=1e-5)


def random_unet(fabric: Fabric) -> Network:
    """A frozen UNet; MONAI's own ends in zeros, which would let no gradient pass."""
    torch.manual_seed(0)
    unet = build_unet(NETWORKS)
    *_, weight, _ = unet.parameters()
    nn.init.normal_(weight, std=0.3)
    return frozen(unet, fabric)


def test_only_the_controlnet_learns(fabric: Fabric, batch: Batch) -> None:
    unet, autoencoder = random_unet(fabric), frozen(build_autoencoder(NETWORKS.autoencoder), fabric)
    before = {name: tensor.clone() for name, tensor in unet.module.state_dict().items()}
    objective = ControlNetObjective(tiny(), autoencoder, unet, 1.0, fabric)
    modules = objective.networks()
    assert list(modules) == [CONTROLNET]
    copied = modules[CONTROLNET].state_dict()
    assert all(torch.equal(copied[name], tensor) for name, tensor in before.items() if name in copied)
    ((trained, optimiser),) = objective.optimisers(modules).values()
    assert trained == (CONTROLNET,)
    for _ in range(3):  # two convolutions on the way are 0 at first, and hide what lies behind them
        optimiser.zero_grad()
        turns(objective, Networks(modules, fabric), batch)
        optimiser.step()
    learned = {
        name for name, each in modules[CONTROLNET].named_parameters() if each.grad is not None and each.grad.any()
    }
    assert {"controlnet_cond_embedding.conv_in.conv.weight", "conv_in.conv.weight"} <= learned
    for network in (unet, autoencoder):
        assert not network.module.training
        assert all(parameter.grad is None for parameter in network.module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.module.state_dict().items())


def test_steering_loss_by_hand(fabric: Fabric, batch: Batch) -> None:
    """A new ControlNet adds nothing, so the loss is the UNet's own."""
    unet, config = random_unet(fabric), tiny()
    objective = ControlNetObjective(config, Halving(), unet, 2.0, fabric)  # type: ignore[arg-type]
    nets = Networks(objective.networks(), fabric)
    torch.manual_seed(4)
    loss, _ = turns(objective, nets, batch)[CONTROLNET]
    torch.manual_seed(4)
    noisy, target, times = training_example(config.noise, 2.0 * Halving().encode(batch.reference)[0])
    assert loss == pytest.approx(float((unet(noisy, times) - target).square().mean()), rel=1e-4)
