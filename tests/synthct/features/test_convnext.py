"""ConvNeXt on slices: shapes and counts, the formulas written out a second time, and what the network is given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from convnext_files import DEPTHS, TINY, WIDTHS
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from synthct.errors import UsageError
from synthct.features.backbones import usual_normalisation
from synthct.features.convnext import ConvNextBackbone, ConvNextSettings
from synthct.features.folder import random_extractor
from synthct.features.interface import FeatureExtractor
from synthct.networks.state import own_tensors

OWN_SIZE = {**TINY, "size": None}


def extractor(seed: int = 1, **settings: Any) -> FeatureExtractor:
    return random_extractor("convnext", seed, network={**TINY, **settings})


def random_hu(*edges: int, seed: int = 3) -> Tensor:
    return torch.randn(1, 1, *edges, generator=torch.Generator().manual_seed(seed)) * 300


def pictures_of(network: FeatureExtractor, hu: Tensor) -> Tensor:
    """What the first convolution is given, (b * slices, 3, h, w)."""
    seen: list[Tensor] = []
    stem = network.backbone.get_submodule("reductions.0")
    handle = stem.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(hu)
    handle.remove()
    return seen[0]


def slices_of(values: list[float]) -> Tensor:
    """A volume of 32 x 32 whose slices are constant, in HU."""
    return torch.tensor(values).reshape(1, 1, -1, 1, 1).expand(1, 1, -1, 32, 32).contiguous()


def test_the_full_size_has_convnext_tinys_shapes() -> None:
    with torch.device("meta"):
        backbone = ConvNextBackbone(ConvNextSettings())
        maps = list(backbone.maps(torch.zeros(2, 1, 3, 50, 70)))
    assert [name for name, _ in maps] == ["stage1", "stage2", "stage3", "stage4"]
    assert [tuple(features.shape) for _, features in maps] == [
        (2, 96, 3, 56, 56),
        (2, 192, 3, 28, 28),
        (2, 384, 3, 14, 14),
        (2, 768, 3, 7, 7),
    ]
    assert backbone.multiple == (1, 1, 1)
    assert backbone.default_layers == backbone.map_names


def test_the_full_size_has_convnext_tinys_count() -> None:
    """28,589,128 of the published network, but for its classifier: a norm of 2 * 768 and 768 * 1000 + 1000.

    By hand: a block of C channels has 49 C + C (depthwise), 2 C (norm), 4 C C + 4 C, 4 C C + C, and C (layer scale).
    """
    with torch.device("meta"):
        counted = sum(tensor.numel() for tensor in own_tensors(ConvNextBackbone(ConvNextSettings())).values())
    blocks = sum(depth * (8 * c * c + 58 * c) for depth, c in ((3, 96), (3, 192), (9, 384), (3, 768)))
    stem = 96 * 3 * 4 * 4 + 96 + 2 * 96
    reductions = sum(2 * c + 4 * c * 2 * c + 2 * c for c in (96, 192, 384))
    assert counted == stem + reductions + blocks == 28_589_128 - 2 * 768 - 769_000 == 27_818_592


def test_full_weights_run_on_one_slice() -> None:
    network = random_extractor("convnext", 0, network={"size": 64}, layers=["stage2", "stage4"])
    two, four = network(random_hu(1, 40, 40))
    assert (tuple(two.shape), tuple(four.shape)) == ((1, 192, 1, 8, 8), (1, 768, 1, 2, 2))


def written_out(tensors: dict[str, Tensor], picture: Tensor) -> list[Tensor]:
    """The same network by its formulas: channels stay second, every sum is spelled."""

    def norm(image: Tensor, name: str) -> Tensor:
        mean = image.sum(1, keepdim=True) / image.shape[1]
        variance = ((image - mean) ** 2).sum(1, keepdim=True) / image.shape[1]
        scaled = (image - mean) / (variance + 1e-6) ** 0.5
        return scaled * tensors[f"{name}.weight"][:, None, None] + tensors[f"{name}.bias"][:, None, None]

    def convolve(image: Tensor, name: str, **options: int) -> Tensor:
        weight = tensors[f"{name}.weight"]
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight
        return functional.conv2d(image, weight, tensors[f"{name}.bias"], **options)

    current = norm(convolve(picture, "reductions.0.convolution", stride=4), "reductions.0.norm")
    found = []
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage:
            name = f"reductions.{stage}"
            current = convolve(norm(current, f"{name}.norm"), f"{name}.convolution", stride=2)
        for number in range(depth):
            block = f"stages.{stage}.{number}"
            hidden = norm(convolve(current, f"{block}.depthwise", padding=3, groups=width), f"{block}.norm")
            hidden = convolve(hidden, f"{block}.expand")
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
            hidden = convolve(hidden, f"{block}.contract")
            current = current + hidden * tensors[f"{block}.layer_scale"][:, None, None]
        found.append(current)
    return found


def test_the_maps_are_what_the_formulas_say() -> None:
    backbone = ConvNextBackbone(ConvNextSettings.model_validate(OWN_SIZE)).eval()
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for tensor in own_tensors(backbone).values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
        image = torch.rand(2, 1, 3, 45, 64, generator=generator)
        maps = [features for _, features in backbone.maps(image)]
        for volume, number in ((0, 0), (0, 2), (1, 1)):
            pixels = image[volume, 0, number]
            picture = torch.stack(((pixels - 0.485) / 0.229, (pixels - 0.456) / 0.224, (pixels - 0.406) / 0.225))
            for ours, expected in zip(maps, written_out(own_tensors(backbone), picture[None]), strict=True):
                assert float(expected.std()) > 0.1
                assert torch.allclose(ours[volume, :, number], expected[0], atol=1e-5)


def test_fixed_units_are_imagenets() -> None:
    """-1000 HU is 0, 1000 HU 0.5, 3000 HU 1; then red, green and blue, each with its mean and deviation."""
    found = pictures_of(extractor(), slices_of([-1000.0, 1000.0, 3000.0]))
    assert found.shape == (3, 3, 32, 32)
    expected = torch.tensor(
        [[-2.117904, -2.035714, -1.804444], [0.065502, 0.196429, 0.417778], [2.248908, 2.428571, 2.640000]]
    )
    assert torch.allclose(found, expected[:, :, None, None].expand_as(found), atol=2e-6)
    assert torch.equal(pictures_of(extractor(), slices_of([-3000.0, 9000.0])), found[[0, 2]])


def test_a_slice_is_resized_bilinearly_without_smoothing() -> None:
    """64 pixels to 32: each new pixel lies amid four old ones and is their mean; smoothing would reach further."""
    hu = random_hu(1, 64, 64)
    blue = pictures_of(extractor(), hu)[0, 2]
    means = ((hu.clamp(-1000, 3000) + 1000) / 4000).reshape(32, 2, 32, 2).mean((1, 3))
    assert torch.allclose(blue * 0.225 + 0.406, means, atol=1e-5)
    assert pictures_of(extractor(), random_hu(1, 20, 100)).shape == (1, 3, 32, 32)
    assert pictures_of(extractor(size=None), random_hu(1, 33, 100)).shape == (1, 3, 33, 100)


def test_min_max_by_slice_does_not_see_a_shift_of_hu_and_fixed_units_do() -> None:
    hu = random_hu(3, 32, 32).round().clamp(-800, 800)
    for intensity, blind in (("slice-min-max", True), ("fixed", False)):
        network = extractor(intensity=intensity)
        assert torch.allclose(pictures_of(network, hu), pictures_of(network, hu + 100), atol=1e-4) is blind
    own_range = pictures_of(extractor(intensity="slice-min-max"), hu)[:, 0] * 0.229 + 0.485
    assert torch.allclose(own_range.amin((1, 2)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(own_range.amax((1, 2)), torch.ones(3), atol=1e-6)


def test_a_constant_slice_becomes_0_by_min_max_and_its_gradient_stays_finite() -> None:
    hu = slices_of([-1000.0, 40.0, 7000.0]).requires_grad_()
    network = extractor(intensity="slice-min-max")
    red = pictures_of(network, hu)[:, 0]
    assert torch.allclose(red, torch.full_like(red, -0.485 / 0.229))
    torch.stack([features.square().mean() for features in network(hu)]).sum().backward()
    assert hu.grad is not None
    assert bool(torch.isfinite(hu.grad).all())


@pytest.mark.parametrize(
    ("count", "step", "taken"),
    [(4, 1, [0, 1, 2, 3]), (7, 3, [1, 4]), (5, 2, [1, 3]), (8, 4, [2, 6]), (4, 9, [2]), (1, 5, [0])],
)
def test_every_nth_slice_is_taken_from_the_middle_of_the_first_n(count: int, step: int, taken: list[int]) -> None:
    hu = slices_of([float(100 * number) for number in range(count)])
    network = extractor(slice_step=step)
    found = (pictures_of(network, hu)[:, 0, 0, 0] * 0.229 + 0.485) * 40 - 10
    assert found.round().int().tolist() == taken
    assert network(hu)[0].shape[2] == len(taken)


def test_slices_along_other_axes_are_those_of_the_turned_volume() -> None:
    hu = random_hu(5, 33, 40)
    axial = extractor()
    for axis, turned in (("y", hu.permute(0, 1, 3, 2, 4)), ("x", hu.permute(0, 1, 4, 2, 3))):
        along = extractor(slice_axis=axis)(hu)
        assert along[0].shape == (1, 4, turned.shape[2], 8, 8)
        assert all(torch.equal(one, other) for one, other in zip(along, axial(turned), strict=True))
        assert along[0].shape != axial(hu)[0].shape


def test_slices_are_seen_one_by_one() -> None:
    hu = torch.cat((random_hu(3, 32, 32), random_hu(3, 32, 32, seed=4)))
    changed = hu.clone()
    changed[1, 0, 2] += 200
    for before, after in zip(extractor()(hu), extractor()(changed), strict=True):
        moved = (before != after).any(dim=1).flatten(2).any(dim=2)
        assert moved.tolist() == [[False, False, False], [False, False, True]]


def test_a_slice_of_its_own_size_must_be_large_enough() -> None:
    extractor(size=None)(random_hu(1, 32, 32))
    with pytest.raises(UsageError, match=r"^slices across y have 2 x 40 pixels; expected 32 each way at least, or a s"):
        extractor(size=None, slice_axis="y")(random_hu(2, 50, 40))


def test_the_gradient_reaches_the_slices_taken_and_no_weight() -> None:
    hu = random_hu(5, 40, 40).requires_grad_()
    network = extractor(slice_step=2)
    torch.stack([features.square().mean() for features in network(hu)]).sum().backward()
    assert hu.grad is not None
    assert [bool(slice_.abs().sum() > 0) for slice_ in hu.grad[0, 0]] == [False, True, False, True, False]
    assert [name for name, weight in network.named_parameters() if weight.grad is not None] == []
    assert not any(weight.requires_grad for weight in network.parameters())


def test_pictures_stay_float32_under_autocast() -> None:
    network, hu = extractor(), random_hu(2, 40, 40)
    exact = network(hu)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pictures_of(network, hu), pictures_of(extractor(), hu))
        rough = network(hu)
    for close, features in zip(exact, rough, strict=True):
        assert 0 < float((close - features.float()).abs().mean()) < 0.05 * float(close.abs().mean())


def test_random_weights_say_so_and_every_block_does_something() -> None:
    network, again, other = extractor(seed=1), extractor(seed=1), extractor(seed=2)
    assert network.name == "convnext with RANDOM weights (seed 1)"
    assert network.random
    assert network.sha256 == again.sha256 != other.sha256
    assert network.normalisation == usual_normalisation("convnext")
    hu = random_hu(1, 64, 64)
    before = network(hu)
    assert all(float(features.std()) > 0.01 for features in before)
    for stage, depth in enumerate(DEPTHS):
        for number in range(depth):
            changed = extractor(seed=1)
            scale = changed.backbone.get_parameter(f"stages.{stage}.{number}.layer_scale")
            assert torch.equal(scale, torch.ones(WIDTHS[stage]))
            scale.data.zero_()
            assert float((changed(hu)[stage] - before[stage]).abs().max()) > 1e-3


def test_random_weights_are_drawn_as_the_authors_draw_them() -> None:
    tensors = own_tensors(random_extractor("convnext", 3, network={"depths": (1, 1, 1, 1)}).backbone)
    expand = tensors["stages.2.0.expand.weight"]  # 589,824 numbers: the deviation is known to 0.1 %
    assert float(expand.std()) == pytest.approx(0.02, rel=0.01)
    assert abs(float(expand.mean())) < 1e-4
    assert not any(bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(".bias"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"depths": (1, 1, 1)},
        {"depths": (1, 0, 1, 1)},
        {"widths": (4, 8, 8, 5000)},
        {"size": 31},
        {"slice_axis": "t"},
        {"slice_step": 0},
        {"intensity": "z-score"},
        {"layer_scale": 1e-6},
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ConvNextSettings.model_validate(wrong)
    with pytest.raises(UsageError, match=f"network of kind convnext: {next(iter(wrong))}"):
        extractor(**wrong)
