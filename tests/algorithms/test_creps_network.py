"""Networks of CREPs cGAN: shapes, sizes, order of layers, receptive field, refused settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from creps_settings import DISCRIMINATOR_SHAPE, GENERATOR_SHAPE
from pydantic import ValidationError
from torch import Tensor, nn

from algorithms.creps_cgan.discriminator import LAYERS, Discriminator, DiscriminatorConfig
from algorithms.creps_cgan.network import Generator, GeneratorConfig


def generator(**changes: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig.model_validate(GENERATOR_SHAPE | changes))


def discriminator(**changes: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig.model_validate(DISCRIMINATOR_SHAPE | changes))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def leaves(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if not list(module.children())]


def test_size_of_the_generator() -> None:
    """Kernels of 27 taps without bias, a scale and a shift for each normalised channel.

    27 (1*32 + 32*64) down, 6 blocks of 2 * 27 * 64*64, 27 * 64*32 and 27 * 32*32 up, 32 for the last; and
    2 (32 + 64 + 12*64 + 32 + 32) of batch norm.
    """
    taps = 27 * (32 + 2048) + 12 * 27 * 4096 + 27 * (2048 + 1024) + 32
    norms = 2 * (32 + 64 + 12 * 64 + 32 + 32)
    assert (taps, norms) == (1_466_240, 1856)
    with torch.device("meta"):
        assert size(Generator(GeneratorConfig())) == taps + norms == 1_468_096


def test_size_of_the_discriminator() -> None:
    """Kernels of 64 taps: 64 (1*16 + 16*32 + 32*64 + 64*64 + 64*1), and 2 (16 + 32 + 64 + 64) of batch norm."""
    taps, norms = 64 * (16 + 512 + 2048 + 4096 + 64), 2 * (16 + 32 + 64 + 64)
    assert (taps, norms) == (431_104, 352)
    with torch.device("meta"):
        assert size(Discriminator(DiscriminatorConfig())) == taps + norms == 431_456
        assert size(Discriminator(DiscriminatorConfig(first_norm=False))) == taps + norms - 2 * 16


@pytest.mark.parametrize("shape", [(2, 2, 4), (4, 6, 8), (6, 4, 2)])
def test_output_has_the_shape_of_the_input(shape: tuple[int, int, int]) -> None:
    assert generator()(noise(2, 1, *shape)).shape == (2, 1, *shape)


@pytest.mark.parametrize("shape", [(3, 4, 4), (4, 5, 4), (4, 4, 7)])
def test_odd_edges_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected even edges"):
        generator()(noise(1, 1, *shape))
    with pytest.raises(ValueError, match=r"no multiple of the strides' product \(2, 2, 2\)"):
        GeneratorConfig().require_multiple(shape)
    GeneratorConfig().require_multiple((32, 224, 224))
    GeneratorConfig().require_multiple((66, 168, 168))


def test_order_of_layers() -> None:
    """Convolution, norm, activation throughout; the last convolution stands alone."""
    block = ["Conv3d", "BatchNorm3d", "LeakyReLU", "Conv3d", "BatchNorm3d"]
    plain = ["Conv3d", "BatchNorm3d", "ReLU"]
    found = [type(leaf).__name__ for leaf in leaves(generator(blocks=2))]
    assert found == [*plain, *plain, *block, *block, *plain, "Upsample", *plain, "LastConvolution"]
    norm_and_slope = ["Conv3d", "BatchNorm3d", "LeakyReLU"]
    assert [type(leaf).__name__ for leaf in leaves(discriminator())] == [*norm_and_slope * 4, "Conv3d"]
    other = [type(leaf).__name__ for leaf in leaves(discriminator(first_norm=False))]
    assert other == ["Conv3d", "LeakyReLU", *norm_and_slope * 3, "Conv3d"]


def test_nothing_has_a_bias_and_slopes_are_the_paper_s() -> None:
    for network in (generator(), discriminator()):
        for leaf in leaves(network):
            if isinstance(leaf, nn.Conv3d):
                assert leaf.bias is None
            if isinstance(leaf, nn.LeakyReLU):
                assert leaf.negative_slope == 0.2
    assert (GeneratorConfig().blocks, GeneratorConfig().width, GeneratorConfig().inner) == (6, 32, 64)
    assert GeneratorConfig(width=5).inner == 10
    assert GeneratorConfig(width=5, inner=7).inner == 7


def test_a_residual_block_adds_its_input() -> None:
    """With the second norm's scale at 0 a block hands on what it got, negative values too."""
    network = generator(blocks=2)
    for block in network.blocks:
        nn.init.zeros_(block.body[-1].weight)
    features = noise(1, 4, 2, 4, 4)
    assert torch.equal(network.blocks(features), features)


def test_output_is_linear_in_the_last_convolution() -> None:
    """Neither tanh nor norm: a head of thousand times the weight gives thousand times the value."""
    network = generator().eval()
    image = noise(1, 1, 4, 8, 8)
    with torch.no_grad():
        before = network(image)
        network.head.weight.mul_(1000.0)
        torch.testing.assert_close(network(image), 1000.0 * before, rtol=1e-4, atol=1e-3)
    assert before.abs().max() > 0.001


def test_evaluation_takes_the_running_statistics() -> None:
    """A window's own mean must not decide its HU: in evaluation a sample is translated alike whatever is beside it."""
    network = generator()
    images = noise(2, 1, 4, 8, 8) * torch.tensor([1.0, 20.0]).view(2, 1, 1, 1, 1)
    with torch.no_grad():
        assert not torch.allclose(network(images)[:1], network(images[:1]), atol=1e-3)
        network.eval()
        torch.testing.assert_close(network(images)[:1], network(images[:1]))


def test_logits_of_the_paper_s_patches() -> None:
    config = DiscriminatorConfig()
    with torch.device("meta"):
        network = Discriminator(config)
        for patch, logits in (((32, 224, 224), (2, 26, 26)), ((66, 168, 168), (6, 19, 19)), ((24, 25, 31), (1, 1, 1))):
            assert network(torch.empty(1, 1, *patch)).shape[2:] == logits
            assert config.logit_map(patch) == logits
    with pytest.raises(ValueError, match=r"patch \(32, 23, 64\) .* too small .* 24 or more"):
        config.logit_map((32, 23, 64))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_receptive_field_is_70(axis: int) -> None:
    """Measured in evaluation mode (in training, batch norm lets every voxel reach every logit): voxels with a gradient.

    By hand, from the last convolution back: 4, 4 + 3 = 7, 2 * 7 + 2 = 16, 34, 70.
    """
    network = discriminator(width=16).eval()
    ct = noise(1, 1, 96, 96, 96).requires_grad_()
    logits = network(ct)
    assert logits.shape[2:] == (10, 10, 10)
    logits[0, 0, 5, 5, 5].backward()
    assert ct.grad is not None
    reached = ct.grad[0, 0].abs().amax(dim=[other for other in range(3) if other != axis]).nonzero().flatten()
    assert (int(reached[0]), int(reached[-1])) == (17, 86)  # 8 * 5 - 23 voxels of padding, and 69 more
    assert len(reached) == 70
    assert LAYERS == ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1))


def test_batch_norm_hides_a_scaling_from_the_discriminator() -> None:
    """No bias, and each batch its own statistics: twice the HU is judged alike, with and without the first norm."""
    ct = noise(2, 1, 32, 32, 32)
    for first_norm in (True, False):
        network = discriminator(first_norm=first_norm)
        with torch.no_grad():
            torch.testing.assert_close(network(2.0 * ct), network(ct), rtol=1e-2, atol=1e-3)
            assert not torch.allclose(network(ct), network(ct.abs()), atol=1e-2)


def test_the_first_norm_hides_most_of_a_shift() -> None:
    """With it a shift of all HU by a unit is seen through the zeros around the patch alone, without it everywhere."""
    ct = nn.functional.avg_pool3d(noise(2, 1, 48, 64, 64), 5, 1, 2)  # smooth, as anatomy is
    ct = ct / ct.std()
    seen = {}
    for first_norm in (True, False):
        network = discriminator(width=16, first_norm=first_norm)
        with torch.no_grad():
            seen[first_norm] = float((network(ct + 1.0) - network(ct)).square().mean().sqrt() / network(ct).std())
    assert seen[True] < 0.5 * seen[False]


@pytest.mark.parametrize(
    ("config", "changes", "complaint"),
    [
        (GeneratorConfig, {"width": 0}, "greater than 0"),
        (GeneratorConfig, {"inner": 0}, "greater than 0"),
        (GeneratorConfig, {"blocks": -1}, "greater than or equal to 0"),
        (GeneratorConfig, {"negative_slope": 1.0}, "less than 1"),
        (GeneratorConfig, {"upsampling": "transposed"}, "'trilinear'"),
        (GeneratorConfig, {"norm": "batch"}, "Extra inputs"),
        (DiscriminatorConfig, {"width": 0}, "greater than 0"),
        (DiscriminatorConfig, {"negative_slope": -0.1}, "greater than or equal to 0"),
        (DiscriminatorConfig, {"layers": 5}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network(
    config: type[GeneratorConfig | DiscriminatorConfig], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        config.model_validate(changes)


def test_channels_are_halved_before_the_up_sampling_whose_corners_are_not_aligned() -> None:
    network = generator()
    seen: list[tuple[int, ...]] = []
    network.up.register_forward_hook(lambda module, given, made: seen.extend([given[0].shape, made.shape]))
    network(noise(1, 1, 2, 4, 4))
    assert seen == [(1, 2, 1, 2, 2), (1, 2, 2, 4, 4)]
    row = network.up(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 1, 2))
    assert row[0, 0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_sizes_that_no_machine_holds_are_refused() -> None:
    for setting, value in (("width", 10**9), ("inner", 10**9), ("blocks", 10**6)):
        with pytest.raises(ValidationError, match=f"{setting}\n  Input should be less than or equal to"):
            GeneratorConfig.model_validate({setting: value})
