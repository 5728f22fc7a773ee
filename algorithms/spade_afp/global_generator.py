"""The global generator of pix2pixHD in 3-D: down, residual blocks, up (paper 000; pix2pixHD; ALGORITHMS 2.2).

The paper says "a 3D variant of the pix2pixHD model" and no more. [I] marks what is inference.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthct.networks.precision import LastConvolution
from synthct.networks.shapes import require_multiple

__all__ = ["GlobalConfig", "GlobalGenerator"]

Triple = tuple[int, int, int]
Step = Annotated[int, Field(ge=1, le=2)]
OUTER_KERNEL = 7
FIRST_SPREAD = 0.02
"""Standard deviation of the first weights, as pix2pixHD has it."""


class GlobalConfig(BaseModel):
    """Shape of the generator; axis order z, y, x throughout.

    Attributes:
        kind: names this generator in a preset.
        width: channels at full resolution; half of the published 64, since a patch has a third axis [I].
        strides: of each convolution down, from the image; each doubles the width.
        blocks: residual blocks at the bottom; as published.
        upsampling: transposed (convolution of 3, as published), or nearest, which repeats voxels before a convolution
            of 3: no checkerboard (paper 000, section 3.5).
        norm: instance, without scale and shift, after each convolution but the last [I]; or none.
        output: tanh, as published, or linear, which does not squeeze dense bone [I].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pix2pixhd"] = "pix2pixhd"
    width: int = Field(default=32, gt=0, le=1024)
    strides: Annotated[tuple[tuple[Step, Step, Step], ...], Field(max_length=6)] = ((2, 2, 2),) * 4
    blocks: int = Field(default=9, ge=0, le=64)
    upsampling: Literal["transposed", "nearest"] = "transposed"
    norm: Literal["instance", "none"] = "instance"
    output: Literal["linear", "tanh"] = "linear"

    @property
    def stride_product(self) -> Triple:
        """What each axis of an input must be a multiple of."""
        z, y, x = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return (z, y, x)

    def require_multiple(self, patch: Triple) -> None:
        """Refuse a patch that the generator does not take.

        Borders are reflected, so an edge must be longer than what is reflected: 3 voxels at full resolution, 1 at the
        bottom. A thin patch needs a stride such as (1, 2, 2).

        Raises:
            ValueError: an edge is no multiple of `stride_product`, or too short.
        """
        require_multiple(patch, self.stride_product)
        least = tuple(max(OUTER_KERNEL // 2 + 1, 2 * factor) for factor in self.stride_product)
        if any(edge < shortest for edge, shortest in zip(patch, least, strict=True)):
            raise ValueError(
                f"patch {tuple(patch)} (z, y, x) is too thin to reflect its borders; expected edges of at least "
                f"{least} for strides of {self.stride_product} in all"
            )


class GlobalGenerator(nn.Module):
    """From normalised MR to normalised CT, in one piece: no skip leads around the bottom.

    Convolution, norm, ReLU throughout; the last convolution stands alone. A residual block is conv, norm, ReLU, conv,
    norm, plus its input. Convolutions of 7 and those in blocks reflect the border, all others meet zeros. A
    convolution before a norm has no bias, which the norm would take away.

    Args:
        config: its shape.
    """

    def __init__(self, config: GlobalConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(len(config.strides) + 1)]
        levels = list(zip(config.strides, widths[:-1], widths[1:], strict=True))
        bias = config.norm == "none"
        outer = OUTER_KERNEL // 2
        self.first = nn.Sequential(
            nn.Conv3d(1, config.width, OUTER_KERNEL, padding=outer, padding_mode="reflect", bias=bias),
            *_norm(config, widths[0]),
            nn.ReLU(inplace=True),
        )
        self.downs = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv3d(above, below, 3, stride, padding=1, bias=bias),
                    *_norm(config, below),
                    nn.ReLU(inplace=True),
                )
                for stride, above, below in levels
            )
        )
        self.blocks = nn.Sequential(*(_ResidualBlock(widths[-1], config) for _ in range(config.blocks)))
        self.ups = nn.Sequential(*(_up(below, above, stride, config) for stride, above, below in reversed(levels)))
        self.head = LastConvolution(config.width, 1, OUTER_KERNEL, padding=outer, padding_mode="reflect")
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Translate normalised MR (batch, 1, z, y, x) into normalised CT of the same shape, float32.

        Raises:
            ValueError: `GlobalConfig.require_multiple` refuses the shape.
        """
        z, y, x = image.shape[2:]
        self.config.require_multiple((z, y, x))
        output: Tensor = self.head(self.ups(self.blocks(self.downs(self.first(image)))))
        return output.tanh() if self.config.output == "tanh" else output


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, config: GlobalConfig) -> None:
        super().__init__()
        bias = config.norm == "none"
        self.body = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
            *_norm(config, channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
            *_norm(config, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.body(features)
        return features + change


def _up(inputs: int, outputs: int, stride: Triple, config: GlobalConfig) -> nn.Sequential:
    bias = config.norm == "none"
    layers: list[nn.Module]
    if config.upsampling == "transposed":
        beyond = (stride[0] - 1, stride[1] - 1, stride[2] - 1)  # so that the result is exactly `stride` times as long
        layers = [nn.ConvTranspose3d(inputs, outputs, 3, stride, padding=1, output_padding=beyond, bias=bias)]
    else:
        factors = (float(stride[0]), float(stride[1]), float(stride[2]))
        layers = [
            nn.Upsample(scale_factor=factors, mode="nearest"),
            nn.Conv3d(inputs, outputs, 3, padding=1, bias=bias),
        ]
    return nn.Sequential(*layers, *_norm(config, outputs), nn.ReLU(inplace=True))


def _norm(config: GlobalConfig, channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm3d(channels)] if config.norm == "instance" else []


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.normal_(module.weight, std=FIRST_SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
