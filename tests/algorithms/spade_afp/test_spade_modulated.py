"""The SPADE generator: its norm by the equation, size, shapes, how the MR enters, refused settings."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from algorithms.spade_afp.modulated import SpadeConfig, SpadeGenerator, SpadeNorm
from algorithms.spade_afp.network import build_generator
from synthct.networks.precision import LastConvolution
from synthct.networks.spectral import plain_state
from synthct.networks.state import fill_network

TINY: dict[str, Any] = {
    "width": 2,
    "multiples": (4, 2, 1),
    "hidden": 3,
    "strides": ((2, 2, 2), (1, 2, 2)),
}


def generator(**changes: Any) -> SpadeGenerator:
    torch.manual_seed(0)
    built = build_generator(SpadeConfig.model_validate(TINY | changes))
    assert isinstance(built, SpadeGenerator)
    return built


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_norm_is_the_equation() -> None:
    """(1 + gamma(m)) (h - mu) / sigma + beta(m); mu and sigma are those of each channel of each sample."""
    torch.manual_seed(0)
    norm = SpadeNorm(channels=4, hidden=3)
    nn.init.normal_(norm.gamma_beta.bias)
    features, image = 5.0 + 3.0 * noise(2, 4, 2, 3, 5), noise(2, 1, 2, 3, 5)
    hidden = nn.functional.conv3d(image, norm.shared.weight, norm.shared.bias, padding=1).clamp_min(0.0)
    weight, bias = norm.gamma_beta.weight, norm.gamma_beta.bias
    gamma = nn.functional.conv3d(hidden, weight[:4], bias[:4], padding=1)
    beta = nn.functional.conv3d(hidden, weight[4:], bias[4:], padding=1)
    mean = features.mean(dim=(2, 3, 4), keepdim=True)
    variance = (features - mean).square().mean(dim=(2, 3, 4), keepdim=True)
    expected = (1 + gamma) * (features - mean) / (variance + 1e-5).sqrt() + beta
    torch.testing.assert_close(norm(features, image), expected, rtol=1e-4, atol=1e-5)


def test_norm_forgets_scale_and_shift_of_the_features_but_not_the_mr() -> None:
    torch.manual_seed(0)
    norm = SpadeNorm(channels=4, hidden=8)
    features, image = noise(1, 4, 2, 4, 4), noise(1, 1, 2, 4, 4)
    before = norm(features, image)
    torch.testing.assert_close(norm(7.0 * features - 2.0, image), before, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(norm(features, 2.0 * image), before, atol=1e-2)


def test_gradients_of_the_norm() -> None:
    """Against finite differences, to features and MR; it changes values in place, which must not spoil them."""
    torch.manual_seed(0)
    norm = SpadeNorm(channels=2, hidden=3).double()
    features, image = noise(1, 2, 2, 3, 3).double().requires_grad_(), noise(1, 1, 2, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(norm, (features, image), eps=1e-6, atol=1e-5)


def test_gradients_of_the_generator() -> None:
    network = generator(spectral_norm=False, hidden=2, multiples=(2, 1), strides=((1, 2, 2),), width=1).double()
    image = noise(1, 1, 2, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(network, (image,), eps=1e-6, atol=1e-5)
    network(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def norm_size(channels: int, hidden: int) -> int:
    return 28 * hidden + 2 * channels * (27 * hidden + 1)


def block_size(inputs: int, outputs: int, hidden: int) -> int:
    total = norm_size(inputs, hidden) + norm_size(outputs, hidden) + (27 * inputs + 1 + 27 * outputs + 1) * outputs
    return total if inputs == outputs else total + norm_size(inputs, hidden) + inputs * outputs


def test_full_size_by_hand() -> None:
    """Seven blocks of 512, 512, 512, 256, 128, 64, 32 channels, each norm with a hidden map of 128.

    A norm of c channels has 28 * 128 + 2 c (27 * 128 + 1) = 3584 + 6914 c parameters; a block from a to b channels two
    norms, 27 a b + b and 27 b b + b; where a differs from b, one norm of a and a b more. The start has 28 * 512, the
    head 27 * 32 + 1. That 512 -> 512 has 2 * (3584 + 6914 * 512) + 2 * (27 * 512 * 512 + 512) = 21 243 904 by hand.
    """
    widths = [512, 512, 512, 256, 128, 64, 32]
    assert block_size(512, 512, 128) == 2 * (3584 + 6914 * 512) + 2 * (27 * 512 * 512 + 512) == 21_243_904
    blocks = sum(block_size(a, b, 128) for a, b in zip([512, *widths[:-1]], widths, strict=True))
    with torch.device("meta"):
        network = build_generator(SpadeConfig())
        assert size(network) == 28 * 512 + blocks + 865 == 87_608_801
        assert size(build_generator(SpadeConfig(), spectral_norm=False)) == size(network)
        assert network(torch.empty(1, 1, 32, 160, 160)).shape == (1, 1, 32, 160, 160)
    assert len(network.blocks) == 7


@pytest.mark.parametrize("shape", [(2, 4, 8), (4, 4, 4), (6, 12, 8)])
def test_output_has_the_shape_of_the_input(shape: tuple[int, int, int]) -> None:
    assert generator()(noise(2, 1, *shape)).shape == (2, 1, *shape)
    assert generator().config.stride_product == (2, 4, 4)


def test_blocks_work_at_the_resolutions_that_the_strides_lead_to() -> None:
    """A step of (1, 1, 1) is a second block at the same resolution."""
    network = generator(multiples=(4, 4, 2, 1), strides=((1, 1, 1), (2, 2, 2), (1, 2, 2)))
    seen: list[tuple[torch.Size, torch.Size]] = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, given, made: seen.append((given[1].shape[1:], made.shape[1:])))
    network(noise(1, 1, 4, 8, 12))
    assert seen == [
        ((1, 2, 2, 3), (8, 2, 2, 3)),
        ((1, 2, 2, 3), (8, 2, 2, 3)),
        ((1, 4, 4, 6), (4, 4, 4, 6)),
        ((1, 4, 8, 12), (2, 4, 8, 12)),
    ]


def test_it_starts_from_the_mean_of_each_block_of_voxels() -> None:
    network = generator()
    seen: list[Tensor] = []
    network.first.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    image = noise(1, 1, 4, 8, 8)
    network(image)
    expected = image.reshape(1, 1, 2, 2, 2, 4, 2, 4).mean(dim=(3, 5, 7))
    torch.testing.assert_close(seen[0], expected)


def test_norms_see_the_voxel_in_the_middle_of_each_block() -> None:
    """Of 8 voxels for 2 the third of each four: index 2 and 6."""
    network = generator(multiples=(1, 1), strides=((1, 1, 4),))
    seen: list[Tensor] = []
    network.blocks[0].register_forward_hook(lambda module, given, made: seen.append(given[1]))
    network(torch.arange(8.0).reshape(1, 1, 1, 1, 8))
    assert seen[0].flatten().tolist() == [2.0, 6.0]


def test_a_block_step_by_step() -> None:
    """Norm, LeakyReLU of 0.2, convolution, twice; the shortcut has no activation; a last LeakyReLU before the head."""
    network = generator(spectral_norm=False)
    block, image = network.blocks[2], noise(1, 1, 2, 4, 4)
    features = noise(1, 4, 2, 4, 4)
    slope = torch.tensor(0.2)
    expected = features
    for norm, conv in zip(block.norms, block.convs, strict=True):
        modulated = norm(expected, image)
        expected = conv(torch.where(modulated > 0, modulated, slope * modulated))
    expected = expected + block.shortcut(block.shortcut_norm(features, image))
    torch.testing.assert_close(block(features, image), expected)
    given: list[Tensor] = []
    block.register_forward_hook(lambda module, inputs, made: given.append(made))
    network.head.register_forward_hook(lambda module, inputs, made: given.append(inputs[0]))
    network(noise(1, 1, 4, 8, 8))
    torch.testing.assert_close(given[1], torch.where(given[0] > 0, given[0], slope * given[0]))


def test_shortcuts_are_learned_where_the_width_changes() -> None:
    network = generator(multiples=(4, 4, 1))
    assert [block.shortcut is not None for block in network.blocks] == [False, False, True]
    last = network.blocks[2].shortcut
    assert (last.kernel_size, last.bias, last.in_channels, last.out_channels) == ((1, 1, 1), None, 8, 2)
    with torch.no_grad():
        for conv in network.blocks[0].convs:
            conv.parametrizations["weight"].original.zero_()
            conv.bias.zero_()
    features = noise(1, 8, 2, 3, 3)
    assert torch.equal(network.blocks[0](features, noise(1, 1, 2, 3, 3)), features)


def test_spectral_norm_is_on_the_blocks_convolutions_alone() -> None:
    network = generator()
    normalised = {name.split(".parametrizations")[0] for name in network.state_dict() if "parametrizations" in name}
    expected = {f"blocks.{block}.convs.{conv}" for block in range(3) for conv in range(2)}
    assert normalised == expected | {"blocks.1.shortcut", "blocks.2.shortcut"}
    assert not [name for name in generator(spectral_norm=False).state_dict() if "parametrizations" in name]
    assert isinstance(network.head, LastConvolution)


def test_folded_weights_predict_the_same() -> None:
    trained = generator().train()
    for _ in range(3):
        trained(noise(1, 1, 4, 8, 8))
    plain = build_generator(trained.config, spectral_norm=False).eval()
    fill_network(plain, plain_state(trained), "a test")
    image = noise(2, 1, 4, 8, 8)
    torch.testing.assert_close(plain(image), trained.eval()(image), rtol=0.0, atol=1e-6)
    assert copy.deepcopy(trained)(image).equal(trained(image))


def test_output_is_linear_unless_a_tanh_is_asked_for() -> None:
    linear, squeezed = generator().eval(), generator(output="tanh").eval()
    with torch.no_grad():
        for network in (linear, squeezed):
            network.head.weight.mul_(100.0)
        image = noise(1, 1, 4, 8, 8)
        assert linear(image).abs().max() > 5.0
        torch.testing.assert_close(squeezed(image), linear(image).tanh())


def test_autocast_gives_float32() -> None:
    network = generator().eval()
    image = noise(1, 1, 4, 8, 8)
    with torch.no_grad():
        precise = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(image)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, rough.bfloat16().float())
    assert 0 < float((rough - precise).abs().max()) < 0.2 * float(precise.std())


def test_without_gradients_no_hidden_map_outlives_its_norm() -> None:
    """At full size one takes 0.4 GB. The map is gone before the next norm makes its own."""
    network = generator().eval()
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def watch(module: nn.Module, given: tuple[Tensor, ...], hidden: Tensor) -> None:
        alive.append(sum(each() is not None for each in made))
        made.append(weakref.ref(hidden))

    for module in network.modules():
        if isinstance(module, SpadeNorm):
            module.shared.register_forward_hook(watch)
    with torch.no_grad():
        network(noise(1, 1, 4, 8, 8))
    assert len(made) == 8  # two a block, and one for each of two shortcuts
    assert alive == [0] * 8


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 6, 8), (4, 8, 2)])
def test_edges_that_the_strides_do_not_divide_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"no multiple of the strides' product \(2, 4, 4\)"):
        generator()(noise(1, 1, *shape))
    with pytest.raises(ValueError, match="no multiple"):
        generator().config.require_multiple(shape)


def test_a_start_of_one_voxel_is_refused() -> None:
    """Its norm would be 0 whatever the MR is; torch refuses it in training with a longer story."""
    with pytest.raises(ValueError, match=r"patch \(2, 4, 4\) .* leaves the generator one voxel"):
        generator().config.require_multiple((2, 4, 4))
    generator().config.require_multiple((2, 4, 8))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"multiples": (4, 2)}, "2 strides need 3 multiples, one more for the block at the start; found 2"),
        ({"strides": ((2, 2, 2),)}, "1 strides need 2 multiples"),
        ({"multiples": (4, 0, 1)}, "greater than or equal to 1"),
        ({"strides": ((2, 2, 2), (1, 2, 5))}, "less than or equal to 4"),
        ({"width": 0}, "greater than 0"),
        ({"width": 10**9}, "less than or equal to 1024"),
        ({"hidden": 0}, "greater than 0"),
        ({"negative_slope": 1.0}, "less than 1"),
        ({"output": "sigmoid"}, "'linear' or 'tanh'"),
        ({"blocks": 9}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SpadeConfig.model_validate(TINY | changes)
