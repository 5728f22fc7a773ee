"""The three networks: ALGORITHMS' sizes, what is copied, and where the MR enters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ldm_settings import NETWORKS
from pydantic import ValidationError
from torch import Tensor

from algorithms.ldm_brain.networks import (
    AutoencoderConfig,
    DenoiserConfig,
    LatentDiffusion,
    LdmConfig,
    build_autoencoder,
    build_controlnet,
    build_networks,
    build_unet,
    copy_encoder,
)
from synthct.errors import WeightsError


@pytest.fixture(scope="module")
def networks() -> LatentDiffusion:
    torch.manual_seed(0)
    built = build_networks(NETWORKS).eval()
    *_, weight, _ = built.unet.parameters()
    torch.nn.init.normal_(weight, std=0.3)  # MONAI's starts at 0, as if the UNet said nothing
    return built


def inputs(edge: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A latent, its time, and an MR twice as large."""
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn((1, 2, edge, edge, edge), generator=generator)
    return latent, torch.tensor([500]), torch.rand((1, 1, *(2 * edge,) * 3), generator=generator)


def test_full_size_is_what_the_specification_counted() -> None:
    """ALGORITHMS 4: UNet 191.2 M, ControlNet 80.9 M; and of its larger autoencoder, (64, 128, 256), 20.9 M."""
    config = LdmConfig()
    assert (config.factor, config.denoiser.multiple, config.multiple) == (4, 4, 16)
    with torch.device("meta"):
        sizes = [
            sum(parameter.numel() for parameter in network.parameters())
            for network in (
                build_unet(config),
                build_controlnet(config),
                build_autoencoder(AutoencoderConfig(channels=(64, 128, 256))),
            )
        ]
    assert [round(size / 1e6, 1) for size in sizes] == [191.2, 80.9, 20.9]


def test_shapes(networks: LatentDiffusion) -> None:
    """Factor 2: 8 voxels become 4, with two channels; the prediction has the latent's shape."""
    latent, times, mr = inputs()
    with torch.no_grad():
        mean, deviation = networks.autoencoder.encode(mr)
        assert mean.shape == deviation.shape == (1, 2, 4, 4, 4)
        assert networks.autoencoder.decode(mean).shape == (1, 1, 8, 8, 8)
        assert networks.denoise(latent, times, mr).shape == latent.shape


def test_tensors_are_named_after_their_network(networks: LatentDiffusion) -> None:
    names = [name for name, _ in networks.named_parameters()]
    assert {name.split(".")[0] for name in names} == {"autoencoder", "unet", "controlnet"}


def test_a_new_controlnet_says_nothing_and_a_trained_one_hears_single_voxels(networks: LatentDiffusion) -> None:
    """Its last convolutions start at 0. Once they do not, a voxel of the MR at full resolution is heard."""
    latent, times, mr = inputs()
    with torch.no_grad():
        alone = networks.unet(latent, times)
        assert torch.equal(networks.denoise(latent, times, mr), alone)
        other = build_networks(NETWORKS).eval()
        other.unet.load_state_dict(networks.unet.state_dict())
        for name, parameter in other.controlnet.named_parameters():
            if name.startswith("controlnet_") and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.3)
        steered = other.denoise(latent, times, mr)
        assert float((steered - alone).abs().max()) > 1e-3
        for place in ((3, 3, 3), (3, 3, 4)):  # neighbours in one latent voxel, or in two, differ in what they do
            changed = mr.clone()
            changed[(0, 0, *place)] += 1.0
            assert float((other.denoise(latent, times, changed) - steered).abs().max()) > 1e-6


def test_mr_of_the_latents_size_is_refused(networks: LatentDiffusion) -> None:
    """MONAI's inferer would shrink the MR so; here nothing fits then."""
    latent, times, mr = inputs()
    with pytest.raises(RuntimeError, match="size"):
        networks.denoise(latent, times, mr[..., ::2, ::2, ::2])


def test_encoder_and_middle_are_copied_whole() -> None:
    torch.manual_seed(1)
    unet, controlnet = build_unet(NETWORKS), build_controlnet(NETWORKS)
    given, before = unet.state_dict(), {name: each.clone() for name, each in controlnet.state_dict().items()}
    shared = [name for name in before if name in given]
    assert {name.split(".")[0] for name in shared} == {"conv_in", "time_embed", "down_blocks", "middle_block"}
    assert any(not torch.equal(before[name], given[name]) for name in shared)
    copy_encoder(unet, controlnet)
    after = controlnet.state_dict()
    for name, tensor in after.items():
        assert torch.equal(tensor, given[name] if name in given else before[name]), name
    assert all(name.startswith("controlnet_") for name in after if name not in given)


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        ({"channels": (4, 12)}, "has shape"),
        ({"res_blocks": 2}, "is not in the UNet"),
        ({"channels": (4,), "attention": (False,), "head_channels": (4,)}, "of the UNet is not in the ControlNet"),
    ],
)
def test_another_encoder_is_refused(denoiser: dict[str, Any], reason: str) -> None:
    """MONAI's example copies with strict=False and looks at nothing: all of these would pass, or fail unnamed."""
    other = NETWORKS.model_copy(update={"denoiser": NETWORKS.denoiser.model_copy(update=denoiser)})
    with pytest.raises(WeightsError, match=f"ControlNet: .* {reason}.*; expected the same encoder"):
        copy_encoder(build_unet(NETWORKS), build_controlnet(other))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: AutoencoderConfig(channels=(64, 100)), "channels 100 do not divide by norm_groups 32"),
        (lambda: DenoiserConfig(channels=(48, 64, 64)), "channels 48 do not divide"),
        (lambda: DenoiserConfig(attention=(False, True)), "attention has 2 entries; expected 3"),
        (lambda: DenoiserConfig(head_channels=(0, 64)), "head_channels has 2 entries; expected 3"),
        (
            lambda: DenoiserConfig(head_channels=(0, 48, 64)),
            "head_channels 48 at level 1; expected a divisor of its 256",
        ),
        (
            lambda: DenoiserConfig(attention=(False,) * 3, head_channels=(0,) * 3),
            "head_channels 0 at level 2; expected a divisor of its 512",
        ),
        (lambda: LdmConfig(embedding=(16, 32)), "embedding has 2 entries; expected 3"),
        (lambda: LdmConfig.model_validate({"unet": {}}), "Extra inputs"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(build: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        build()


def test_patches_must_suit_the_strides() -> None:
    config = LdmConfig()
    config.require_multiple((192, 16, 32))
    with pytest.raises(ValueError, match=r"patch \(192, 200, 192\) \(z, y, x\) is no multiple"):
        config.require_multiple((192, 200, 192))
