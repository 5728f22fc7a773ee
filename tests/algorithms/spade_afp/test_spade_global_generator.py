"""The global generator of pix2pixHD, and the choice between it and SPADE's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from algorithms.spade_afp.global_generator import GlobalConfig, GlobalGenerator
from algorithms.spade_afp.modulated import SpadeGenerator
from algorithms.spade_afp.network import GeneratorConfig, SpadeConfig, build_generator
from synthct.networks.spectral import plain_state

TINY: dict[str, Any] = {"kind": "pix2pixhd", "width": 2, "strides": ((1, 2, 2), (2, 2, 2)), "blocks": 2}


class Preset(BaseModel):
    generator: GeneratorConfig


def generator(**changes: Any) -> GlobalGenerator:
    torch.manual_seed(0)
    built = build_generator(GlobalConfig.model_validate(TINY | changes))
    assert isinstance(built, GlobalGenerator)
    return built


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def leaves(network: nn.Module) -> list[str]:
    return [type(module).__name__ for module in network.modules() if not list(module.children())]


def test_full_size_by_hand() -> None:
    """Kernels of 343 taps at both ends, of 27 between, without biases but for the last; norms have no parameters.

    343 * 32, 27 (32*64 + 64*128 + 128*256 + 256*512) down, 9 blocks of 2 * 27 * 512*512, the same up as down,
    343 * 32 + 1 for the head.
    """
    between = 27 * (32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    by_hand = 2 * 343 * 32 + 2 * between + 9 * 2 * 27 * 512 * 512 + 1
    with torch.device("meta"):
        for upsampling in ("transposed", "nearest"):
            network = build_generator(GlobalConfig.model_validate({"upsampling": upsampling}))
            assert size(network) == by_hand == 136_824_257
            assert network(torch.empty(1, 1, 32, 160, 160)).shape == (1, 1, 32, 160, 160)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("shape", [(4, 8, 8), (6, 12, 8), (4, 16, 20)])
def test_output_has_the_shape_of_the_input(upsampling: str, shape: tuple[int, int, int]) -> None:
    network = generator(upsampling=upsampling)
    assert network.config.stride_product == (2, 4, 4)
    assert network(noise(2, 1, *shape)).shape == (2, 1, *shape)


def test_order_of_layers() -> None:
    layer = ["Conv3d", "InstanceNorm3d", "ReLU"]
    block = [*layer, "Conv3d", "InstanceNorm3d"]
    up = ["ConvTranspose3d", "InstanceNorm3d", "ReLU"]
    assert leaves(generator()) == [*layer * 3, *block * 2, *up * 2, "LastConvolution"]
    up = ["Upsample", *layer]
    assert leaves(generator(upsampling="nearest")) == [*layer * 3, *block * 2, *up * 2, "LastConvolution"]
    assert "InstanceNorm3d" not in leaves(generator(norm="none"))


def test_biases_stand_where_no_norm_takes_them_away() -> None:
    def with_bias(network: nn.Module) -> list[bool]:
        kinds = (nn.Conv3d, nn.ConvTranspose3d)
        return [module.bias is not None for module in network.modules() if isinstance(module, kinds)]

    assert with_bias(generator()) == [False] * 9 + [True]
    assert with_bias(generator(norm="none")) == [True] * 10


def test_a_block_adds_its_input() -> None:
    network = generator(norm="none")
    for block in network.blocks:
        nn.init.zeros_(block.body[-1].weight)
    features = noise(1, 8, 2, 3, 3)
    assert torch.equal(network.blocks(features), features)


def test_borders_are_reflected_at_both_ends_and_in_the_blocks() -> None:
    """A constant image stays constant through a kernel of any weights only where no zero is met."""
    network = generator(strides=(), norm="none")
    with torch.no_grad():
        made = network(torch.full((1, 1, 5, 6, 7), 2.0))
    assert float(made.std()) < 1e-5
    assert float(made.abs().max()) > 1e-4
    zero_padded = copy.deepcopy(network)
    for module in zero_padded.modules():
        if isinstance(module, nn.Conv3d):
            module.padding_mode = "zeros"
    with torch.no_grad():
        assert float(zero_padded(torch.full((1, 1, 5, 6, 7), 2.0)).std()) > 1e-3


def test_a_mirrored_mr_by_mirrored_weights_gives_the_mirrored_ct() -> None:
    """Nearest up-sampling and reflection prefer no side; at even edges a stride does, so there is none here."""
    network = generator(strides=()).eval()
    mirrored = copy.deepcopy(network)
    with torch.no_grad():
        for module in mirrored.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.copy_(module.weight.flip(4))
        image = noise(1, 1, 5, 6, 7)
        torch.testing.assert_close(mirrored(image.flip(4)), network(image).flip(4), rtol=1e-3, atol=1e-4)


def test_first_weights_are_pix2pixhd_s() -> None:
    weights = torch.cat([weight.flatten() for weight in generator(width=8).parameters() if weight.dim() == 5])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_gradients(upsampling: str) -> None:
    network = generator(upsampling=upsampling, width=1, blocks=1, strides=((1, 2, 2),)).double()
    image = noise(1, 1, 4, 4, 6).double().requires_grad_()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)  # with weights near 0 the norms amplify differences beyond the check
    assert torch.autograd.gradcheck(network, (image,), eps=1e-6, atol=1e-4)
    network(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_output_is_linear_unless_a_tanh_is_asked_for() -> None:
    linear, squeezed = generator().eval(), generator(output="tanh").eval()
    image = noise(1, 1, 4, 8, 8)
    with torch.no_grad():
        for network in (linear, squeezed):
            network.head.weight.mul_(100.0)
        assert linear(image).abs().max() > 5.0
        torch.testing.assert_close(squeezed(image), linear(image).tanh())


def test_autocast_gives_float32() -> None:
    network = generator().eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        made = network(noise(1, 1, 4, 8, 8))
    assert made.dtype == torch.float32
    assert not torch.equal(made, made.bfloat16().float())


def test_patches_too_thin_to_reflect_are_refused() -> None:
    """3 voxels are reflected at full resolution, 1 at the bottom: edges of 4, and two voxels after the strides."""
    thin = GlobalConfig(strides=((1, 2, 2), (1, 2, 2)))
    thin.require_multiple((4, 8, 8))
    for shape in ((3, 8, 8), (4, 4, 8)):
        with pytest.raises(
            ValueError, match=r"too thin to reflect its borders; expected edges of at least \(4, 8, 8\)"
        ):
            thin.require_multiple(shape)
    with pytest.raises(ValueError, match=r"at least \(32, 32, 32\) for strides of \(16, 16, 16\)"):
        GlobalConfig().require_multiple((16, 160, 160))
    GlobalConfig().require_multiple((32, 160, 160))
    with pytest.raises(ValueError, match=r"no multiple of the strides' product \(2, 4, 4\)"):
        generator()(noise(1, 1, 4, 10, 8))


def test_the_thinnest_patch_works() -> None:
    network = generator(strides=((1, 2, 2), (1, 2, 2))).train()
    network(noise(1, 1, 4, 8, 8)).sum().backward()
    assert network.head.weight.grad is not None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"strides": ((1, 2, 3),)}, "less than or equal to 2"),
        ({"strides": ((2, 2, 2),) * 7}, "at most 6"),
        ({"width": 0}, "greater than 0"),
        ({"blocks": -1}, "greater than or equal to 0"),
        ({"upsampling": "trilinear"}, "'transposed' or 'nearest'"),
        ({"norm": "batch"}, "'instance' or 'none'"),
        ({"hidden": 8}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        GlobalConfig.model_validate(TINY | changes)


def test_a_preset_names_the_generator() -> None:
    """By `kind`; settings of the other kind are refused in its name."""
    preset = Preset.model_validate({"generator": TINY})
    assert preset.generator == GlobalConfig.model_validate(TINY)
    assert isinstance(build_generator(preset.generator), GlobalGenerator)
    spade = Preset.model_validate({"generator": {"kind": "spade", "width": 4, "hidden": 4}}).generator
    assert spade == SpadeConfig(width=4, hidden=4)
    assert isinstance(build_generator(spade), SpadeGenerator)
    assert Preset.model_validate(preset.model_dump(mode="json")) == preset
    with pytest.raises(ValidationError, match="'spade', 'pix2pixhd'"):
        Preset.model_validate({"generator": {"kind": "unet"}})
    with pytest.raises(ValidationError, match=r"spade\.blocks\n  Extra inputs"):
        Preset.model_validate({"generator": {"kind": "spade", "blocks": 9}})


def test_it_has_nothing_to_fold() -> None:
    network = generator()
    assert list(plain_state(network)) == list(network.state_dict())
    assert list(build_generator(network.config, spectral_norm=True).state_dict()) == list(network.state_dict())
