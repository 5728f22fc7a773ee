"""The SPADE generator in 3-D: the MR modulates every norm (paper 000; SPADE's equations; ALGORITHMS 2.2).

The paper says "3D SPADE layers" and no more. [I] marks what is inference.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.networks.precision import LastConvolution
from synthct.networks.shapes import require_multiple
from synthct.networks.spectral import spectral

__all__ = ["SpadeConfig", "SpadeGenerator", "SpadeNorm"]

Triple = tuple[int, int, int]
Step = Annotated[int, Field(ge=1, le=4)]
Multiple = Annotated[int, Field(ge=1, le=64)]
NORM_EPSILON = 1e-5


class SpadeConfig(BaseModel):
    """Shape of the generator; axis order z, y, x throughout.

    One residual block stands at the start, and one after each step up: `multiples` has one entry more than `strides`.
    The published generator has seven blocks of 16, 16, 16, 8, 4, 2 and 1 times the width, and goes up six times. A 3-D
    patch cannot be halved six times, so one step up is (1, 1, 1): two blocks at the same resolution [I].

    Attributes:
        kind: names this generator in a preset.
        width: channels of the last block for a multiple of 1; half of the published 64, since a patch has a third
            axis [I].
        multiples: of the width, for each block from the start up.
        hidden: channels of the map that each norm makes of the MR; as published.
        strides: factor (z, y, x) of each step up, from the start; 3 mm slices are doubled once less than rows and
            columns [I].
        negative_slope: of LeakyReLU; as published.
        spectral_norm: on the blocks' convolutions while training. Saved weights are plain.
        output: tanh, as published, or linear, which does not squeeze dense bone [I].
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["spade"] = "spade"
    width: int = Field(default=32, gt=0, le=1024)
    multiples: Annotated[tuple[Multiple, ...], Field(min_length=1, max_length=16)] = (16, 16, 16, 8, 4, 2, 1)
    hidden: int = Field(default=128, gt=0, le=1024)
    strides: Annotated[tuple[tuple[Step, Step, Step], ...], Field(max_length=15)] = (
        (1, 1, 1),
        (2, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
        (1, 2, 2),
    )
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    spectral_norm: bool = True
    output: Literal["linear", "tanh"] = "linear"

    @model_validator(mode="after")
    def _lengths_agree(self) -> SpadeConfig:
        if len(self.multiples) != len(self.strides) + 1:
            raise ValueError(
                f"{len(self.strides)} strides need {len(self.strides) + 1} multiples, one more for the block at the "
                f"start; found {len(self.multiples)}"
            )
        return self

    @property
    def stride_product(self) -> Triple:
        """What each axis of an input must be a multiple of; the start is smaller by this."""
        z, y, x = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return (z, y, x)

    def require_multiple(self, patch: Triple) -> None:
        """Refuse a patch that the generator does not take.

        Raises:
            ValueError: an edge is no multiple of `stride_product`, or the start is a single voxel, whose instance norm
                is 0 whatever the MR is.
        """
        require_multiple(patch, self.stride_product)
        if tuple(patch) == self.stride_product:
            raise ValueError(
                f"patch {tuple(patch)} (z, y, x) leaves the generator one voxel to start from; expected at least two, "
                f"by a larger patch or smaller strides than {self.stride_product} in all"
            )


class SpadeGenerator(nn.Module):
    """From normalised MR to normalised CT: deterministic, starting from the down-sampled MR.

    The start is the MR averaged over blocks of `stride_product` voxels [I: "downsampled"], and a convolution of 3.
    Steps up repeat voxels, so no transposed convolution prints a checkerboard. All detail enters by modulation.
    Weights are drawn by Glorot's rule, biases start at 0 [I].

    Args:
        config: its shape.
        spectral_norm: whether the blocks' convolutions are normalised; False to predict with folded weights.
    """

    def __init__(self, config: SpadeConfig, *, spectral_norm: bool) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * multiple for multiple in config.multiples]
        self.first = _convolution(1, widths[0])
        self.blocks = nn.ModuleList(
            _Block(inputs, outputs, config, spectral_norm=spectral_norm)
            for inputs, outputs in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.head = LastConvolution(widths[-1], 1, 3, padding=1)
        _initialise(self.head)

    def forward(self, image: Tensor) -> Tensor:
        """Translate normalised MR (batch, 1, z, y, x) into normalised CT of the same shape, float32.

        Raises:
            ValueError: `SpadeConfig.require_multiple` refuses the shape.
        """
        z, y, x = image.shape[2:]
        self.config.require_multiple((z, y, x))
        features = self.first(nn.functional.avg_pool3d(image, self.config.stride_product))
        for stride, block in zip(((1, 1, 1), *self.config.strides), self.blocks, strict=True):
            if stride != (1, 1, 1):
                factors = tuple(float(factor) for factor in stride)
                features = nn.functional.interpolate(features, scale_factor=factors, mode="nearest")
            features = block(features, _nearest(image, features))
        output: Tensor = self.head(nn.functional.leaky_relu(features, self.config.negative_slope))
        return output.tanh() if self.config.output == "tanh" else output


class SpadeNorm(nn.Module):
    """Norm without parameters, times (1 + gamma), plus beta; both are maps made of the MR (SPADE, equation 1).

    Instance norm stands where the published one has batch norm: a patch is its own batch [I].

    Args:
        channels: of the features.
        hidden: channels between the MR and the two maps.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.shared = _convolution(1, hidden)
        # One convolution for both: a narrow network has too few channels for two to fill a CPU's registers.
        self.gamma_beta = _convolution(hidden, 2 * channels)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Return the modulated features.

        Args:
            features: (batch, channels, z, y, x).
            image: MR at the features' resolution, (batch, 1, z, y, x).
        """
        # One expression, so that without gradients the hidden map is gone before the norm takes memory.
        gamma, beta = self.gamma_beta(nn.functional.relu(self.shared(image), inplace=True)).chunk(2, dim=1)
        normalised = nn.functional.instance_norm(features, eps=NORM_EPSILON)
        modulated: Tensor = (normalised * (1.0 + gamma)).add_(beta)
        return modulated


class _Block(nn.Module):
    """Norm, LeakyReLU and convolution, twice, plus the input; norm and a convolution of 1 where the width changes."""

    def __init__(self, inputs: int, outputs: int, config: SpadeConfig, *, spectral_norm: bool) -> None:
        super().__init__()
        self.slope = config.negative_slope
        self.norms = nn.ModuleList(SpadeNorm(channels, config.hidden) for channels in (inputs, outputs))
        self.convs = nn.ModuleList(_convolution(channels, outputs) for channels in (inputs, outputs))
        self.shortcut_norm = SpadeNorm(inputs, config.hidden) if inputs != outputs else None
        self.shortcut = _convolution(inputs, outputs, kernel=1, bias=False) if inputs != outputs else None
        if spectral_norm:
            for module in (*self.convs, self.shortcut):
                if isinstance(module, nn.Conv3d):
                    spectral(module)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        kept = features
        if self.shortcut is not None and self.shortcut_norm is not None:
            kept = self.shortcut(self.shortcut_norm(features, image))
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features = conv(nn.functional.leaky_relu(norm(features, image), self.slope, inplace=True))
        return features + kept


def _nearest(image: Tensor, features: Tensor) -> Tensor:
    """The MR at the features' resolution: of each block of voxels the one in its middle."""
    if image.shape[2:] == features.shape[2:]:
        return image
    return nn.functional.interpolate(image, size=features.shape[2:], mode="nearest-exact")


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, bias: bool = True) -> nn.Conv3d:
    conv = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    _initialise(conv)
    return conv


def _initialise(conv: nn.Conv3d) -> None:
    nn.init.xavier_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
