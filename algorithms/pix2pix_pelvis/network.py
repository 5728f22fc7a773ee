"""Generator of pix2pix-pelvis (paper 003, ALGORITHMS section 5).

The paper states a U-Net; everything else is a default of ours, taken by inference and named in `NetworkConfig` and
`algorithms/pix2pix_pelvis/configs`. It speaks of "3D aligned pairs" and of "an MRI slice": both can be had.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.networks.precision import LastConvolution
from synthct.networks.shapes import require_multiple

__all__ = ["Dimensions", "NetworkConfig", "UNetGenerator", "initialise"]

Positive = Annotated[int, Field(gt=0)]
Triple = tuple[Positive, Positive, Positive]
Norm = Literal["instance", "batch", "none"]
Dimensions = Literal[2, 3]


class NetworkConfig(BaseModel):
    """Shape of the networks; axis order z, y, x throughout.

    The defaults are the paper's size by ALGORITHMS 5 [I]: five levels of 64 to 512 channels, instance norm, LeakyReLU
    0.2.

    Attributes:
        widths: channels of each level.
        strides: `strides[i]` leads from level i to level i + 1.
        kernels: `kernels[i]`, odd numbers, is used at level i.
        norm: after each convolution of the generator.
        negative_slope: of LeakyReLU, in the discriminator too.
        discriminator_width: channels of the discriminator's first convolution.
        dimensions: 2 translates slice by slice: no kernel, stride or patch reaches beyond one slice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[Positive, ...] = (64, 128, 256, 512, 512)
    strides: tuple[Triple, ...] = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    kernels: tuple[Triple, ...] = ((3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    norm: Norm = "instance"
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    discriminator_width: int = Field(default=64, gt=0)
    dimensions: Dimensions = 3

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

    @model_validator(mode="after")
    def _slices_stay_apart(self) -> NetworkConfig:
        for name, triples in (("kernels", self.kernels), ("strides", self.strides)):
            deep = [f"{name}[{index}] is {triple}" for index, triple in enumerate(triples) if triple[0] != 1]
            if deep and self.dimensions == 2:
                raise ValueError(f"dimensions is 2, but {deep[0]}; expected 1 along z")
        return self

    @property
    def stride_product(self) -> Triple:
        """What each axis of an input must be a multiple of."""
        product = [1, 1, 1]
        for stride in self.strides:
            product = [before * step for before, step in zip(product, stride, strict=True)]
        return (product[0], product[1], product[2])

    def require_patch(self, patch: Triple) -> None:
        """Refuse a patch that the strides do not divide, and in 2-D one of several slices.

        Raises:
            ValueError: an edge is no multiple of `stride_product`, or z is not 1 in 2-D.
        """
        require_multiple(patch, self.stride_product)
        if self.dimensions == 2 and patch[0] != 1:
            raise ValueError(f"patch {patch} (z, y, x) has {patch[0]} slices; expected 1, since dimensions is 2")


class UNetGenerator(nn.Module):
    """U-Net: two convolutions a level, trilinear up-sampling, skips by concatenation, linear output.

    Input and output have shape (batch, 1, z, y, x) with z, y, x multiples of `config.stride_product`. The output is
    linear, not tanh, so that dense bone is not squeezed (inference; the paper does not say), and float32 under autocast
    too. In 2-D all kernels and strides are 1 along z, so trilinear is bilinear, slice by slice.
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
        self.head = LastConvolution(channels, 1, 1)
        self.apply(partial(initialise, slope=config.negative_slope))

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


def initialise(module: nn.Module, *, slope: float) -> None:
    """Draw a convolution's weights by He's rule for LeakyReLU of that slope, biases 0; other modules are left alone."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=slope)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
