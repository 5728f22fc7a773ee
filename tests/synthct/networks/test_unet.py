"""nnU-Net's U-Nets: the paper's sizes, shapes for every kind, the names of nnU-Net, the trilinear decoder."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from synthct.networks.unet import TrilinearUpsampling, UNetPlan, build_unet

SMALL = UNetPlan(
    features=(4, 6, 8), kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (1, 2, 2), (2, 2, 2))
)
RESNET_BLOCKS = (1, 3, 4, 6, 6, 6)


def count(plan: UNetPlan) -> float:
    """Parameters in millions, counted without memory."""
    with torch.device("meta"):
        network = build_unet(plan)
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2)


@pytest.mark.parametrize(
    ("changes", "millions"),
    [
        # ALGORITHMS 1.1, measured on these classes
        ({"kind": "plain", "upsampling": "transposed"}, 30.70),
        ({"kind": "plain"}, 35.44),
        ({"upsampling": "transposed"}, 57.15),
        ({}, 61.88),
        ({"upsampling": "transposed", "encoder_blocks": RESNET_BLOCKS, "decoder_blocks": 1}, 107.34),
        ({"encoder_blocks": RESNET_BLOCKS, "decoder_blocks": 1}, 112.07),
    ],
)
def test_parameter_counts(changes: dict[str, object], millions: float) -> None:
    assert count(UNetPlan.model_validate(changes)) == pytest.approx(millions, abs=0.011)


def test_the_hybrid_lies_between_plain_and_residual() -> None:
    plain, hybrid, residual = (count(UNetPlan.model_validate({"kind": k})) for k in ("plain", "hybrid", "residual"))
    assert plain < hybrid < residual


@pytest.mark.parametrize("kind", ["plain", "residual", "hybrid"])
@pytest.mark.parametrize("upsampling", ["trilinear", "transposed"])
def test_the_result_has_the_shape_of_the_image(kind: str, upsampling: str) -> None:
    plan = SMALL.model_copy(update={"kind": kind, "upsampling": upsampling, "input_channels": 2, "output_channels": 3})
    assert build_unet(plan)(torch.zeros(2, 2, 4, 8, 12)).shape == (2, 3, 4, 8, 12)


def test_the_layers_are_those_of_the_specification() -> None:
    network = build_unet(SMALL)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm3d)]
    slopes = {module.negative_slope for module in network.modules() if isinstance(module, nn.LeakyReLU)}
    assert all(norm.affine and norm.eps == 1e-5 for norm in norms)
    assert slopes == {0.01}
    # skips within residual blocks and nothing else do without bias
    assert {name.split(".")[-3] for name, m in network.named_modules() if m in convolutions and m.bias is None} <= {
        "skip"
    }
    assert not any(isinstance(module, nn.Dropout | nn.Dropout3d) for module in network.modules())


def test_names_are_those_that_nnunet_gives() -> None:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plan = SMALL.model_copy(update={"kind": "hybrid", "upsampling": "transposed", "output_channels": 2})
    arguments = {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_blocks_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    theirs = get_network_from_plans(
        "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        arguments,
        ["conv_op", "norm_op", "dropout_op", "nonlin"],
        1,
        2,
        deep_supervision=False,
    ).eval()
    ours = build_unet(plan).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 1, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


def test_a_residual_block_starts_as_its_skip() -> None:
    network = build_unet(SMALL)
    last_norms = [module.weight for name, module in network.named_modules() if name.endswith("conv2.norm")]
    assert last_norms
    assert all(not weight.any() for weight in last_norms)


def test_trilinear_upsampling_by_hand() -> None:
    up = TrilinearUpsampling(1, 1, (1, 1, 2))
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.weight[0, 0, 1, 1, 1] = 1.0  # the convolution lets its middle through
        up.conv.bias.fill_(0.5)
        # two voxels 0 and 3 become four, corners aligned: 0, 1, 2, 3
        result = up(torch.tensor([0.0, 3.0]).reshape(1, 1, 1, 1, 2))
    assert result.flatten().tolist() == pytest.approx([0.5, 1.5, 2.5, 3.5])


def test_a_transposed_decoder_repeats_at_its_stride_and_a_trilinear_one_does_not() -> None:
    """On a constant image, away from the edges: the checkerboard that the paper got rid of."""
    torch.manual_seed(0)
    image = torch.ones(1, 5, 2, 16, 16)
    transposed, trilinear = nn.ConvTranspose3d(5, 3, (1, 2, 2), (1, 2, 2)), TrilinearUpsampling(5, 3, (1, 2, 2))
    with torch.no_grad():
        spread = [module(image)[:, :, 0, 4:-4, 4:-4].std(dim=(2, 3)).max().item() for module in (transposed, trilinear)]
    assert spread[0] > 0.01
    assert spread[1] < 1e-5


@pytest.mark.parametrize("kind", ["plain", "residual", "hybrid"])
def test_under_autocast_the_result_is_not_rounded(kind: str) -> None:
    """In bf16 neighbouring results near 4 would lie 1/64 apart: some HU, once the CT's deviation is multiplied in."""
    torch.manual_seed(0)
    network = build_unet(SMALL.model_copy(update={"kind": kind})).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result = network(torch.randn(1, 1, 4, 16, 16))
    assert result.dtype == torch.float32
    assert not torch.equal(result, result.bfloat16().float())


def test_multiples() -> None:
    assert UNetPlan().multiple == (8, 32, 32)
    UNetPlan().require_multiple((56, 160, 224))
    with pytest.raises(
        ValueError, match=r"patch \(60, 160, 224\) \(z, y, x\) is no multiple of the strides\' product \(8, 32, 32\)"
    ):
        UNetPlan().require_multiple((60, 160, 224))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": (4,)}, "features has 1 stages; expected at least 2"),
        ({"strides": ((1, 1, 1),)}, "strides has 1 entries; expected 6"),
        ({"encoder_blocks": (2, 2)}, "encoder_blocks has 2 entries; expected 6"),
        ({"decoder_blocks": RESNET_BLOCKS}, "decoder_blocks has 6 entries; expected 5"),
        ({"kernels": ((2, 3, 3), *UNetPlan().kernels[1:])}, "is even along an axis"),
        ({"features": (4, 0)}, "greater than 0"),
        ({"features": (10**6,)}, "less than or equal to 4096"),
        ({"strides": ((1, 2, 2), *UNetPlan().strides[1:])}, "first stride is"),
    ],
)
def test_a_plan_that_fits_no_network_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        UNetPlan.model_validate(changes)
