"""Generator of pix2pix-pelvis: shapes, size, slices, initial weights, refused settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from algorithms.interface import find_algorithm
from algorithms.pix2pix_pelvis.network import NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.plan import describe
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from algorithms.presets import read_preset
from synthct.inference.settings import SweepSettings

TINY: dict[str, Any] = {
    "widths": (4, 6, 8),
    "strides": ((1, 2, 2), (2, 2, 2)),
    "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "norm": "none",
    "discriminator_width": 4,
}


def tiny(**changes: Any) -> NetworkConfig:
    return NetworkConfig.model_validate(TINY | changes)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 8, 12), (6, 4, 16)])
def test_output_has_the_shape_of_the_input(norm: str, shape: tuple[int, int, int]) -> None:
    config = tiny(norm=norm)
    assert config.stride_product == (2, 4, 4)
    generator = UNetGenerator(config)
    assert generator(noise(2, 1, *shape)).shape == (2, 1, *shape)


def test_output_is_linear() -> None:
    """No tanh: scaling the head scales the output, far beyond 1."""
    generator = UNetGenerator(tiny()).eval()
    with torch.no_grad():
        before = generator(noise(1, 1, 4, 8, 8))
        generator.head.weight.mul_(1000.0)
        torch.testing.assert_close(generator(noise(1, 1, 4, 8, 8)), 1000.0 * before, rtol=1e-4, atol=1e-3)
    assert before.abs().max() > 0.01


def test_skips_reach_the_output() -> None:
    """Each level's skip is used: silencing any one encoder block but the deepest changes what comes out."""
    generator = UNetGenerator(tiny()).eval()
    image = noise(1, 1, 4, 8, 8)
    with torch.no_grad():
        before = generator(image)
        for level, block in enumerate(generator.decoder):
            first = block[0][0]
            kept = first.weight.clone()
            skip_channels = TINY["widths"][-2 - level]
            first.weight[:, -skip_channels:] = 0.0
            assert not torch.allclose(generator(image), before), level
            first.weight.copy_(kept)
        torch.testing.assert_close(generator(image), before)


def modules(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_norm_layers() -> None:
    convolutions = 2 * 3 + 2 * 2  # two a level, three levels down and two up; the head has no norm
    for norm, instance, batch in (("instance", convolutions, 0), ("batch", 0, convolutions), ("none", 0, 0)):
        generator = UNetGenerator(tiny(norm=norm))
        found = (modules(generator, nn.InstanceNorm3d), modules(generator, nn.BatchNorm3d))
        assert found == (instance, batch), norm
        assert modules(generator, nn.LeakyReLU) == convolutions
        assert modules(generator, nn.Conv3d) == convolutions + 1


def test_instance_norm_forgets_the_scale_and_none_keeps_it() -> None:
    image = noise(1, 1, 4, 8, 8)
    scales = {}
    for norm in ("instance", "none"):
        torch.manual_seed(0)
        generator = UNetGenerator(tiny(norm=norm)).eval()
        with torch.no_grad():
            scales[norm] = float((generator(3.0 * image) / generator(image)).median())
    assert scales["instance"] == pytest.approx(1.0, abs=0.01)
    assert scales["none"] == pytest.approx(3.0, abs=0.01)  # biases start at 0


def parameters_by_formula(widths: list[int], kernels: list[list[int]]) -> int:
    """Convolution with bias and instance norm with scale and shift: k w_in w_out + 3 w_out, two of them a block."""
    volume = [math.prod(kernel) for kernel in kernels]
    total, inputs = 0, 1
    for width, taps in zip(widths, volume, strict=True):
        total += taps * inputs * width + 3 * width + taps * width * width + 3 * width
        inputs = width
    for width, taps in list(zip(widths, volume, strict=True))[-2::-1]:
        total += taps * (inputs + width) * width + 3 * width + taps * width * width + 3 * width
        inputs = width
    return total + inputs + 1


def test_size_of_the_full_preset() -> None:
    """The paper's size, by hand: kernels of 27 taps, widths 64, 128, 256, 512, 512.

    Down 27 (1*64 + 64*64 + 64*128 + 128*128 + 128*256 + 256*256 + 256*512 + 512*512 + 512*512 + 512*512)
       + 2*3 (64 + 128 + 256 + 512 + 512), up 27 ((512+512)*512 + 512*512 + (512+256)*256 + 256*256
       + (256+128)*128 + 128*128 + (128+64)*64 + 64*64) + 2*3 (512 + 256 + 128 + 64), head 64 + 1.
    """
    down = 27 * (64 + 4096 + 8192 + 16384 + 32768 + 65536 + 131072 + 3 * 262144) + 6 * 1472
    up = 27 * (524288 + 262144 + 196608 + 65536 + 49152 + 16384 + 12288 + 4096) + 6 * 960
    by_hand = down + up + 65
    settings = read_preset(find_algorithm("pix2pix-pelvis"), "full")
    network = settings["network"]
    assert by_hand == parameters_by_formula(network["widths"], network["kernels"])
    assert describe(settings) == (by_hand, (32, 160, 160))
    assert 58e6 < by_hand < 59e6


def test_full_preset_holds_what_the_paper_states() -> None:
    config = RecipeConfig.model_validate(read_preset(find_algorithm("pix2pix-pelvis")))
    assert (config.learning_rate, config.l1_weight, config.adversarial_weight) == (1e-3, 100.0, 1.0)
    assert (config.betas, config.network.norm, config.network.negative_slope) == ((0.5, 0.999), "instance", 0.2)
    assert config == RecipeConfig(sweep=config.windows)  # the defaults are the paper's


@pytest.mark.parametrize("preset", ["full", "slices", "grid"])
def test_every_value_of_the_papers_presets_stands_in_the_file(preset: str) -> None:
    """None is left to a default that nobody gave evidence for."""
    written = read_preset(find_algorithm("pix2pix-pelvis"), preset)
    config = RecipeConfig.model_validate(written)
    assert set(RecipeConfig.model_fields) - set(written) == {"validation_cases", "excluded_cases"}
    for part in ("network", "discriminator"):
        assert set(written[part]) == set(getattr(config, part).model_dump())
    assert config.windows == SweepSettings(patch=config.sampling.patch)


def test_starter_preset_is_counted_on_its_inference_patch() -> None:
    settings = read_preset(find_algorithm("pix2pix-pelvis"), "starter")
    real = UNetGenerator(RecipeConfig.model_validate(settings).network)
    count = sum(parameter.numel() for parameter in real.parameters())
    assert describe(settings) == (count, (24, 128, 128))


FLAT: dict[str, Any] = {"dimensions": 2, "strides": ((1, 2, 2), (1, 2, 2)), "kernels": ((1, 3, 3),) * 3}


def test_in_2_d_slices_do_not_see_each_other() -> None:
    """Without norms a stack of slices is translated as each by itself; a 3-D network lets them mix."""
    image = noise(1, 1, 4, 8, 8)
    flat, deep = (UNetGenerator(tiny(**changes)).eval() for changes in (FLAT, {}))
    with torch.no_grad():
        whole = flat(image)
        for number in range(4):
            one = slice(number, number + 1)
            torch.testing.assert_close(whole[:, :, one], flat(image[:, :, one]))
        mixed = image.clone()
        mixed[:, :, 3] += 1.0
        assert torch.equal(flat(mixed)[:, :, 0], whole[:, :, 0])
        assert not torch.equal(deep(mixed)[:, :, 0], deep(image)[:, :, 0])


def test_a_slice_is_a_batch_of_2_d_images() -> None:
    """The first block by torch's own 2-D layers: the same weights without their z axis."""
    generator = UNetGenerator(tiny(**FLAT, norm="instance")).eval()
    image = noise(2, 1, 1, 8, 8)
    convolution, norm, _ = generator.encoder[0][0]
    with torch.no_grad():
        expected = nn.functional.conv2d(image[:, :, 0], convolution.weight[:, :, 0], convolution.bias, padding=1)
        expected = nn.functional.leaky_relu(nn.functional.instance_norm(expected, eps=norm.eps), 0.2)
        torch.testing.assert_close(generator.encoder[0][0](image)[:, :, 0], expected)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (FLAT | {"kernels": ((1, 3, 3), (3, 3, 3), (1, 3, 3))}, r"dimensions is 2, but kernels\[1\] is \(3, 3, 3\)"),
        (FLAT | {"strides": ((1, 2, 2), (2, 2, 2))}, r"strides\[1\] is \(2, 2, 2\); expected 1 along z"),
        ({"dimensions": 2}, r"kernels\[1\]"),
        ({"dimensions": 1}, "2 or 3"),
    ],
)
def test_settings_that_make_no_2_d_network(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        tiny(**changes)


@pytest.mark.parametrize("name", ["sampling", "sweep"])
def test_2_d_patches_are_one_slice(name: str) -> None:
    settings: dict[str, Any] = {"network": TINY | FLAT, "sampling": {"patch": (1, 16, 16)}}
    assert RecipeConfig.model_validate(settings).windows.patch == (1, 16, 16)
    with pytest.raises(
        ValidationError, match=r"patch \(4, 16, 16\) .* has 4 slices; expected 1, since dimensions is 2"
    ):
        RecipeConfig.model_validate(settings | {name: {"patch": (4, 16, 16)}})


def test_the_last_layer_is_float32_under_autocast_and_keeps_its_names() -> None:
    generator = UNetGenerator(tiny()).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        output = generator(noise(1, 1, 4, 8, 8))
    assert output.dtype == torch.float32
    assert not torch.equal(output, output.bfloat16().float()), "finer than bf16's steps of 16 HU at 2000"
    assert [name for name in generator.state_dict() if name.startswith("head")] == ["head.weight", "head.bias"]


def test_size_of_the_presets_of_slices() -> None:
    """The full preset's network with kernels of 9 taps."""
    for preset in ("slices", "grid"):
        settings = read_preset(find_algorithm("pix2pix-pelvis"), preset)
        network = settings["network"]
        by_hand = parameters_by_formula(network["widths"], network["kernels"])
        assert describe(settings) == (by_hand, (1, 256, 256))
        assert 19e6 < by_hand < 20e6  # a third of the 3-D one's


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.5])
def test_initial_weights_are_kaiming_normal_for_the_slope(slope: float) -> None:
    """Standard deviation sqrt(2 / ((1 + slope^2) fan_in)), biases 0."""
    torch.manual_seed(1)
    for module in UNetGenerator(tiny(widths=(24, 32, 32), negative_slope=slope)).modules():
        if not isinstance(module, nn.Conv3d):
            continue
        assert module.bias is not None
        assert not module.bias.any()
        if module.weight.numel() < 5000:
            continue
        expected = math.sqrt(2 / ((1 + slope**2) * module.weight[0].numel()))
        spread = 4 / math.sqrt(2 * module.weight.numel())
        weight = module.weight.detach()
        assert float(weight.std()) == pytest.approx(expected, rel=spread)
        assert abs(float(weight.mean())) < 4 * expected / math.sqrt(weight.numel())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"widths": (4, 6)}, "2 widths need 2 kernels and 1 strides; found 3 and 2"),
        ({"strides": ((1, 2, 2),)}, "3 widths need 3 kernels and 2 strides; found 3 and 1"),
        ({"widths": (), "kernels": (), "strides": ()}, "strides"),
        ({"widths": (4, 0, 8)}, "greater than 0"),
        ({"strides": ((1, 2, 2), (2, 0, 2))}, "greater than 0"),
        ({"kernels": ((1, 3, 3), (2, 3, 3), (3, 3, 3))}, r"kernel \(2, 3, 3\) has an even edge"),
        ({"norm": "layer"}, "'instance', 'batch' or 'none'"),
        ({"negative_slope": 1.0}, "less than 1"),
        ({"discriminator_width": 0}, "greater than 0"),
        ({"depth": 5}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        tiny(**changes)


@pytest.mark.parametrize("name", ["sampling", "sweep"])
def test_patch_must_fit_the_strides(name: str) -> None:
    settings: dict[str, Any] = {"network": TINY, "sampling": {"patch": (4, 8, 8)}}
    assert RecipeConfig.model_validate(settings).network.stride_product == (2, 4, 4)
    with pytest.raises(ValidationError, match=r"patch \(4, 8, 10\) .* no multiple .* \(2, 4, 4\)"):
        RecipeConfig.model_validate(settings | {name: {"patch": (4, 8, 10)}})


@pytest.mark.parametrize("value", [0, -1e-3, math.inf, math.nan])
def test_learning_rate_must_be_a_positive_number(value: float) -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        RecipeConfig(learning_rate=value)
