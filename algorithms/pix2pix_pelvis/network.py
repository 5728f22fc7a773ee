"""Generator and discriminator of pix2pix-pelvis (paper 003, ALGORITHMS section 5).

The paper states a U-Net generator and a patch discriminator of 9 x 9; everything else is a default of ours, taken by
inference and named in `NetworkConfig` and `algorithms/pix2pix_pelvis/configs`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.networks.shapes import require_multiple

__all__ = ["Discriminator", "NetworkConfig", "UNetGenerator", "receptive_field"]

Positive = Annotated[int, Field(gt=0)]
Triple = tuple[Positive, Positive, Positive]
Norm = Literal["instance", "batch", "none"]


class NetworkConfig(BaseModel):
    """Shape of the generator; axis order z, y, x throughout.

    The defaults are the paper's size by ALGORITHMS 5 [I]: five levels of 64 to 512 channels, instance norm, LeakyReLU
    0.2. `strides[i]` leads from level i to level i + 1; `kernels[i]`, odd numbers, is used at level i.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[Positive, ...] = (64, 128, 256, 512, 512)
    strides: tuple[Triple, ...] = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    kernels: tuple[Triple, ...] = ((3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    norm: Norm = "instance"
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    discriminator_width: int = Field(default=64, gt=0)

    @model_validator(mode="after")
    def _lengths_agree(self) -> NetworkConfig:
        if len(self.kernels) != len(self.widths) or len(self.strides) != len(self.widths) - 1:
            raise ValueError(
                f"{len(self.widths)} widths need {len(self.widths)} kernels and {len(self.widths) - 1} strides; "
                f"found {len(self.kernels)} and {len(self.strides)}"
            )
        even = [kernel for kernel in self.kernels if any(edge % 2 == 0 for edge in kernel)]
        if even:
            raise ValueError(f"kernel {even[0]} has an even edge; expected odd ones, which keep the shape")
        return self

    @property
    def stride_product(self) -> Triple:
        """What each axis of an input must be a multiple of."""
        product = [1, 1, 1]
        for stride in self.strides:
            product = [before * step for before, step in zip(product, stride, strict=True)]
        return (product[0], product[1], product[2])

    def require_multiple(self, patch: Triple) -> None:
        """Refuse a patch that the strides do not divide.

        Raises:
            ValueError: an edge is no multiple of `stride_product`.
        """
        require_multiple(patch, self.stride_product)


class UNetGenerator(nn.Module):
    """3-D U-Net: two convolutions a level, trilinear up-sampling, skips by concatenation, linear output.

    Input and output have shape (batch, 1, z, y, x) with z, y, x multiples of `config.stride_product`. The output is
    linear, not tanh, so that dense bone is not squeezed (inference; the paper does not say).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths, kernels = config.widths, config.kernels
        self.encoder = nn.ModuleList()
        channels = 1
        for level, width in enumerate(widths):
            stride = (1, 1, 1) if level == 0 else config.strides[level - 1]
            self.encoder.append(
                nn.Sequential(
                    _conv(channels, width, kernels[level], config, stride=stride),
                    _conv(width, width, kernels[level], config),
                )
            )
            channels = width
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.decoder.append(
                nn.Sequential(
                    _conv(channels + widths[level], widths[level], kernels[level], config),
                    _conv(widths[level], widths[level], kernels[level], config),
                )
            )
            channels = widths[level]
        self.head = nn.Conv3d(channels, 1, 1)
        self.apply(partial(_initialise, slope=config.negative_slope))

    def forward(self, image: Tensor) -> Tensor:
        """Translate normalised MR (batch, 1, z, y, x) into normalised CT of the same shape."""
        skips: list[Tensor] = []
        features = image
        for block in self.encoder:
            features = block(features)
            skips.append(features)
        skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            features = nn.functional.interpolate(features, size=skip.shape[2:], mode="trilinear", align_corners=False)
            features = block(torch.cat((features, skip), dim=1))
        output: Tensor = self.head(features)
        return output


class Discriminator(nn.Module):
    """Patch discriminator on MR and CT side by side, with a receptive field of 9 voxels an axis.

    A stride-2 convolution of kernel 3 and a stride-1 convolution of kernel 4 give 9 exactly (ALGORITHMS 5, reading a).
    Input (batch, 2, z, y, x); output one logit per patch.
    """

    layers: tuple[tuple[int, int], ...] = ((3, 2), (4, 1))

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        (first_kernel, first_stride), (last_kernel, last_stride) = self.layers
        self.net = nn.Sequential(
            nn.Conv3d(2, config.discriminator_width, first_kernel, first_stride, padding=1),
            nn.LeakyReLU(config.negative_slope),
            nn.Conv3d(config.discriminator_width, 1, last_kernel, last_stride, padding=1),
        )
        self.apply(partial(_initialise, slope=config.negative_slope))

    def forward(self, image: Tensor, ct: Tensor) -> Tensor:
        """Return logits (batch, 1, z', y', x'): above 0 where a patch looks like a real CT of that MR."""
        logits: Tensor = self.net(torch.cat((image, ct), dim=1))
        return logits


def receptive_field(layers: tuple[tuple[int, int], ...]) -> int:
    """Voxels along one axis that reach one output of a stack of (kernel, stride) convolutions."""
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def _conv(
    inputs: int, outputs: int, kernel: Triple, config: NetworkConfig, stride: Triple = (1, 1, 1)
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layers: list[nn.Module] = [nn.Conv3d(inputs, outputs, kernel, stride, padding)]
    if config.norm == "instance":
        layers.append(nn.InstanceNorm3d(outputs, affine=True))
    elif config.norm == "batch":
        layers.append(nn.BatchNorm3d(outputs))
    layers.append(nn.LeakyReLU(config.negative_slope, inplace=True))
    return nn.Sequential(*layers)


def _initialise(module: nn.Module, *, slope: float) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=slope)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
