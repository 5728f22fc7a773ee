"""nnU-Net's 3-D U-Nets as a small plan: plain, residual (nnResU-Net) and the hybrid of both (ALGORITHMS 1.1).

The modules are those of dynamic-network-architectures, so that a state dict has the names that nnU-Net gives.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.networks.precision import LastConvolution
from synthct.networks.shapes import require_multiple

__all__ = ["TrilinearUpsampling", "UNetPlan", "build_unet"]

NEGATIVE_SLOPE = 0.01
NORM_EPSILON = 1e-5

_Positive = Annotated[int, Field(gt=0, le=4096)]
_Edge = Annotated[int, Field(gt=0, le=16)]
Triple = tuple[_Edge, _Edge, _Edge]
Counts = _Edge | tuple[_Edge, ...]


class UNetPlan(BaseModel):
    """Shape of a U-Net; axis order z, y, x throughout.

    The defaults are the plan for SynthRAD2025's 3 x 1 x 1 mm. Widths, kernels and strides are read off the authors'
    extractor table; the block counts are inference: 2 each is the one choice found that gives the paper's size
    (ALGORITHMS 1.1).

    Attributes:
        kind: plain (conv-norm-act twice a stage), residual (encoder and decoder), or hybrid (residual encoder, plain
            decoder), which the paper's words allow too.
        features: channels of each stage.
        kernels: kernel of each stage, odd numbers.
        strides: stride into each stage; the first is 1.
        encoder_blocks: convolutions (plain) or blocks (residual) in each encoder stage.
        decoder_blocks: the same in each decoder stage, one entry less.
        upsampling: trilinear (trilinear interpolation, then a convolution of 3: no checkerboard) or transposed.
        input_channels: of the image.
        output_channels: of the result, linear.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["plain", "residual", "hybrid"] = "residual"
    features: Annotated[tuple[_Positive, ...], Field(max_length=16)] = (32, 64, 128, 256, 320, 320)
    kernels: tuple[Triple, ...] = ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    strides: tuple[Triple, ...] = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    encoder_blocks: Counts = 2
    decoder_blocks: Counts = 2
    upsampling: Literal["trilinear", "transposed"] = "trilinear"
    input_channels: _Positive = 1
    output_channels: _Positive = 1

    @model_validator(mode="after")
    def _require_one_entry_a_stage(self) -> UNetPlan:
        stages = len(self.features)
        if stages < 2:
            raise ValueError(f"features has {stages} stages; expected at least 2")
        for name, wanted in (("kernels", stages), ("strides", stages)):
            _require_length(name, getattr(self, name), wanted)
        for name, wanted in (("encoder_blocks", stages), ("decoder_blocks", stages - 1)):
            if not isinstance(getattr(self, name), int):
                _require_length(name, getattr(self, name), wanted)
        if self.strides[0] != (1, 1, 1):
            raise ValueError(
                f"the first stride is {self.strides[0]}; expected (1, 1, 1): the result lies on the input's grid"
            )
        for kernel in self.kernels:
            if any(edge % 2 == 0 for edge in kernel):
                raise ValueError(f"kernel {kernel} is even along an axis; expected odd numbers")
        return self

    @property
    def multiple(self) -> tuple[int, int, int]:
        """What each edge (z, y, x) of a patch must be a multiple of."""
        z, y, x = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return z, y, x

    def require_multiple(self, patch: tuple[int, ...]) -> None:
        """Refuse a patch that the strides do not divide.

        Raises:
            ValueError: an edge is no multiple of `multiple`.
        """
        require_multiple(patch, self.multiple)


class TrilinearUpsampling(nn.Module):
    """Trilinear interpolation by a stride, corners aligned, then a convolution of 3 with bias.

    It stands where nnU-Net has a transposed convolution; there is no norm and no activation between (ALGORITHMS 1.1).

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: factor (z, y, x).
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.stride = tuple(float(factor) for factor in stride)
        self.conv = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, outputs, z, y, x), each edge `stride` times the input's."""
        larger = nn.functional.interpolate(image, scale_factor=self.stride, mode="trilinear", align_corners=True)
        result: Tensor = self.conv(larger)
        return result


def build_unet(plan: UNetPlan) -> nn.Module:
    """Build a plan's network: (batch, input_channels, z, y, x) -> (batch, output_channels, z, y, x).

    Convolutions with bias, InstanceNorm3d (affine, 1e-5), LeakyReLU 0.01, no dropout, no deep supervision. Weights are
    drawn by He's rule with torch's global generator; the last norm of each residual block starts at 0. Parts are
    named `encoder.stages.N` and `decoder.stages.N`, N counting from the image down and from the bottom up.
    """
    from dynamic_network_architectures.architectures import unet

    classes = {"plain": unet.PlainConvUNet, "residual": unet.ResidualUNet, "hybrid": unet.ResidualEncoderUNet}
    blocks = "n_conv_per_stage" if plan.kind == "plain" else "n_blocks_per_stage"
    network: Any = classes[plan.kind](
        input_channels=plan.input_channels,
        n_stages=len(plan.features),
        features_per_stage=list(plan.features),
        conv_op=nn.Conv3d,
        kernel_sizes=[list(kernel) for kernel in plan.kernels],
        strides=[list(stride) for stride in plan.strides],
        num_classes=plan.output_channels,
        n_conv_per_stage_decoder=_entries(plan.decoder_blocks),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": NORM_EPSILON, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True, "negative_slope": NEGATIVE_SLOPE},
        deep_supervision=False,
        **{blocks: _entries(plan.encoder_blocks)},
    )
    if plan.upsampling == "trilinear":
        ups = network.decoder.transpconvs
        for number, (below, above) in enumerate(zip(plan.features[:0:-1], plan.features[-2::-1], strict=True)):
            ups[number] = TrilinearUpsampling(below, above, plan.strides[-1 - number])
    last = network.decoder.seg_layers
    for number, layer in enumerate(last):
        last[number] = LastConvolution(layer.in_channels, layer.out_channels, kernel_size=1)
    with torch.no_grad():
        network.apply(network.initialize)
    built: nn.Module = network
    return built


def _entries(counts: int | tuple[int, ...]) -> int | list[int]:
    return counts if isinstance(counts, int) else list(counts)


def _require_length(name: str, entries: tuple[object, ...], wanted: int) -> None:
    if len(entries) != wanted:
        raise ValueError(f"{name} has {len(entries)} entries; expected {wanted}")
