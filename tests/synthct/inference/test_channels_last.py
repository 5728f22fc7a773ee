"""Instance norm and convolution in the channels-last layout equal torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from synthct.inference.channels_last import ChannelsLastLayers, channels_last_instance_norm

LAST = torch.channels_last_3d


def _image(*shape: int, seed: int = 0, mean: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 3 + mean).to(memory_format=LAST)


def test_by_hand() -> None:
    """Channel 0 holds 1 and 3: mean 2, variance 1. Channel 1 is constant and becomes its bias."""
    image = torch.tensor([[[[[1.0, 3.0]]], [[[5.0, 5.0]]]]]).to(memory_format=LAST)
    weight, bias = torch.tensor([10.0, 10.0]), torch.tensor([100.0, 7.0])
    normalised = channels_last_instance_norm(image, weight, bias, 1e-5)
    torch.testing.assert_close(normalised, torch.tensor([[[[[90.0, 110.0]]], [[[7.0, 7.0]]]]]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 4, 5, 6, 7), (3, 2, 4, 4, 4), (2, 32, 8, 24, 24), (1, 3, 1, 1, 9)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("mean", [0.0, 50.0, -1000.0])
def test_equals_fp64(shape: tuple[int, ...], affine: bool, mean: float) -> None:
    image = _image(*shape, mean=mean)
    weight, bias = (torch.linspace(0.5, 2, shape[1]), torch.linspace(-1, 1, shape[1])) if affine else (None, None)
    expected = functional.instance_norm(
        image.double(), weight=None if weight is None else weight.double(), bias=None if bias is None else bias.double()
    )
    normalised = channels_last_instance_norm(image, weight, bias, 1e-5)
    assert normalised.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(normalised.double(), expected, rtol=0, atol=1e-5 + 4e-7 * abs(mean))


def test_many_voxels_lose_no_digits() -> None:
    """A plain running sum in fp32 is off by 2e-4 here."""
    image = _image(1, 8, 32, 128, 128)
    expected = functional.instance_norm(image.double())
    torch.testing.assert_close(
        channels_last_instance_norm(image, None, None, 1e-5).double(), expected, rtol=0, atol=5e-6
    )


def test_bf16_takes_statistics_in_fp32() -> None:
    image = _image(1, 4, 16, 32, 32).bfloat16()
    normalised = channels_last_instance_norm(image, None, None, 1e-5)
    assert normalised.dtype == torch.bfloat16
    expected = functional.instance_norm(image.double())
    torch.testing.assert_close(normalised.double(), expected, rtol=2**-7, atol=2**-6)


def test_mode_keeps_the_layout_of_a_module() -> None:
    norm, image = nn.InstanceNorm3d(4, affine=True).eval(), _image(2, 4, 5, 6, 7)
    with torch.inference_mode():
        outside = norm(image)
        with ChannelsLastLayers():
            inside = norm(image)
    assert not outside.is_contiguous(memory_format=LAST)
    assert inside.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5)


def test_mode_leaves_others_alone() -> None:
    flat, plain = torch.randn(2, 3, 8), torch.randn(1, 3, 4, 5, 6)
    tracked = nn.InstanceNorm3d(3, track_running_stats=True).eval()
    tracked.running_mean = torch.tensor([1.0, 2.0, 3.0])
    with torch.inference_mode(), ChannelsLastLayers():
        torch.testing.assert_close(functional.instance_norm(flat).mean(-1), torch.zeros(2, 3), rtol=0, atol=1e-6)
        assert functional.instance_norm(plain).is_contiguous()
        image = plain.to(memory_format=LAST)
        torch.testing.assert_close(
            tracked(image), (plain - torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1, 1)) / (1 + 1e-5) ** 0.5
        )
        assert torch.equal(torch.relu(image), image.clamp(min=0))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(4, 6, 1),
        nn.Conv3d(4, 6, 3, padding=1),
        nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1), stride=(1, 2, 2), bias=False),
        nn.Conv3d(4, 6, 3, padding="same"),
        nn.Conv3d(4, 6, 3, padding=2, dilation=2),
        nn.Conv3d(4, 8, 3, groups=2),
        nn.Conv3d(4, 6, 3, padding=1, padding_mode="replicate"),
        nn.ConvTranspose3d(4, 6, 2, stride=2),
    ],
    ids=str,
)
def test_convolutions_equal_fp64(layer: nn.Module, batch: int) -> None:
    image = _image(batch, 4, 5, 6, 8)
    with torch.inference_mode():
        expected = copy.deepcopy(layer).double()(image.double())
        with ChannelsLastLayers():
            output = layer(image)
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=2e-5)


def test_convolutions_of_one_voxel_keep_the_layout() -> None:
    layer, image = nn.Conv3d(4, 6, 1), _image(1, 4, 3, 6, 8)
    with torch.inference_mode(), ChannelsLastLayers():
        assert layer(image).is_contiguous(memory_format=LAST)
        assert functional.conv3d(image, torch.ones(2, 4, 1, 1, 1)).shape == (1, 2, 3, 6, 8)


def test_other_convolutions_run_as_ever() -> None:
    layer, image = nn.Conv3d(4, 6, 3, padding=1), _image(1, 4, 5, 6, 8)
    with torch.inference_mode(), ChannelsLastLayers():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(image).dtype == torch.bfloat16
        assert layer.double()(image.double()).dtype == torch.float64


def test_doubles_keep_their_digits() -> None:
    """At a mean of 1e4 fp32 statistics would be off by 1e-3."""
    image = _image(1, 3, 4, 6, 8, mean=1e4).double()
    norm = nn.InstanceNorm3d(3, affine=True).double().eval()
    with torch.inference_mode():
        expected = norm(image)
        with ChannelsLastLayers():
            output = norm(image)
    assert output.dtype == torch.float64
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    by_hand = (image - image.mean((2, 3, 4), keepdim=True)) / (image.var((2, 3, 4), False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(output, by_hand, rtol=0, atol=1e-9)


def test_a_single_voxel_is_refused_as_torch_does() -> None:
    """Its variance is 0, so the answer would be the bias whatever the voxel holds; two voxels are enough."""
    norm, image = nn.InstanceNorm3d(4).eval(), _image(2, 4, 1, 1, 1)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        norm(image)
    with ChannelsLastLayers():
        with pytest.raises(ValueError, match="more than 1 spatial element"):
            norm(image)
        assert norm(_image(2, 4, 1, 1, 2)).isfinite().all()
