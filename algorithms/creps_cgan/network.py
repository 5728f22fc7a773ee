"""Generator of CREPs cGAN: a residual network between one down- and one up-sampling (paper 001, ALGORITHMS section 3).

[I] marks what is inference: the paper gives no widths, and no order of layers inside a residual block.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from algorithms.creps_cgan.ranks import RankTable
from synthct.networks.precision import LastConvolution
from synthct.networks.shapes import require_multiple

__all__ = ["Generator", "GeneratorConfig"]

Positive = Annotated[int, Field(gt=0)]
Triple = tuple[Positive, Positive, Positive]


def _twice_the_width(settings: dict[str, Any]) -> int:
    return 2 * int(settings.get("width", 32))


class GeneratorConfig(BaseModel):
    """Shape of the generator; the defaults give the 1.468 M parameters of ALGORITHMS 3.

    Attributes:
        width: channels at full resolution [I].
        inner: channels at half resolution; twice the width where nothing is said [I].
        blocks: residual blocks, all at half resolution; the paper's 6.
        negative_slope: of LeakyReLU in the residual blocks; the paper's 0.2.
        upsampling: the one way there is.
        rank_start: the sCT is what ranks alone give (RankTable) plus what the network makes of the MR, 0 at first; an
            extension of ours against swapped tissues. False is the paper.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    width: int = Field(default=32, gt=0, le=1024)
    inner: int = Field(default_factory=_twice_the_width, gt=0, le=2048)
    blocks: int = Field(default=6, ge=0, le=64)
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    upsampling: Literal["trilinear"] = "trilinear"
    rank_start: bool = False

    @property
    def stride_product(self) -> Triple:
        """What each axis (z, y, x) of an input must be a multiple of."""
        return (2, 2, 2)

    def require_multiple(self, patch: Triple) -> None:
        """Refuse a patch that the strides do not divide.

        Raises:
            ValueError: an edge is no multiple of `stride_product`.
        """
        require_multiple(patch, self.stride_product)


class Generator(nn.Module):
    """From normalised MR to normalised CT, linear at the end: no tanh squeezes dense bone.

    Convolution, batch norm, activation, in this order (paper 001); no convolution has a bias. The last one has neither
    norm nor activation: the paper excludes the activation by name, and a norm would fix mean and spread of each CT [I].
    A residual block is conv, norm, LeakyReLU, conv, norm, and adds its input with no activation after the sum [I].
    Trilinear up-sampling comes after the convolution that halves the channels [I]. Initial weights are PyTorch's [I].

    Batch norm takes a batch's own statistics in training and its running ones in evaluation, so what predicts is not
    quite what was trained: the difference grows as batches get smaller, and patches less alike.

    Args:
        config: its shape.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.width, config.inner
        self.down = nn.Sequential(_conv(1, width), _conv(width, inner, stride=2))
        self.blocks = nn.Sequential(*(_ResidualBlock(inner, config.negative_slope) for _ in range(config.blocks)))
        self.narrow = _conv(inner, width)
        self.up = nn.Upsample(scale_factor=2, mode=config.upsampling, align_corners=False)
        self.refine = _conv(width, width)
        self.head = LastConvolution(width, 1, 1, bias=False)
        self.ranks = RankTable() if config.rank_start else None
        if self.ranks is not None:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Translate normalised MR (batch, 1, z, y, x) into normalised CT of the same shape.

        Raises:
            ValueError: an edge is odd.
        """
        if any(edge % 2 for edge in image.shape[2:]):
            raise ValueError(f"input of shape {tuple(image.shape)}; expected even edges (z, y, x)")
        features = self.narrow(self.blocks(self.down(image)))
        output: Tensor = self.head(self.refine(self.up(features)))
        return output if self.ranks is None else output + self.ranks(image)


class _ResidualBlock(nn.Module):
    """conv3 - BN - LeakyReLU - conv3 - BN, plus the input."""

    def __init__(self, channels: int, negative_slope: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels),
            nn.LeakyReLU(negative_slope, inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.body(features)
        return features + change


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )
