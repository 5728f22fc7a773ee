"""A NaviAirway-type airway network with seven maps (paper 000 section 3; ALGORITHMS 2.1).

Stated there: a U-Net of 4 levels, GroupNorm with 8 groups, widths 32/64/128/256, a dilated convolution (dilation 4) and
an attention like squeeze-and-excitation in each block, 7 maps. Inferred here: two convolutions a block, the second
dilated; the gate from channel means; max-pooling down, trilinear up; the window of -1000 to 600 HU. The published
network's parameter names were not at hand: weights are read by our names, and others are refused, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.features.interface import Backbone
from synthct.intensity import LinearScale

__all__ = ["NAVI_AIRWAY_NORMALISATION", "NaviAirwayBackbone", "NaviAirwaySettings"]

NAVI_AIRWAY_NORMALISATION = LinearScale(low=-1000, high=600, offset=-1000, scale=1600)
"""[-1000, 600] HU to [0, 1]; inferred: a lung window that keeps the airway wall."""

_Width = Annotated[int, Field(gt=0, le=4096)]


class NaviAirwaySettings(BaseModel):
    """Shape of the network.

    Attributes:
        features: channels of each level, multiples of `groups`.
        groups: of each group norm.
        dilation: of the second convolution of a block.
        squeeze: factor by which the gate's hidden layer is narrower.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[_Width, ...] = Field(default=(32, 64, 128, 256), min_length=2, max_length=8)
    groups: int = Field(default=8, gt=0)
    dilation: int = Field(default=4, gt=0, le=64)
    squeeze: int = Field(default=4, gt=0)

    @model_validator(mode="after")
    def _require_divisible_widths(self) -> NaviAirwaySettings:
        for width in self.features:
            if width % self.groups:
                raise ValueError(f"features {width} is no multiple of {self.groups} groups")
        return self


class NaviAirwayBackbone(Backbone):
    """U-Net with gated blocks; a map is a block's output, after its last ReLU and the gate.

    Args:
        settings: shape of the network.
    """

    def __init__(self, settings: NaviAirwaySettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.features
        levels = len(widths)
        self.encoder = nn.ModuleList(
            _GatedBlock(inputs, width, settings) for inputs, width in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.decoder = nn.ModuleList(
            _GatedBlock(widths[level + 1] + widths[level], widths[level], settings)
            for level in reversed(range(levels - 1))
        )
        self.map_names = (
            *(f"encoder.{level}" for level in range(levels)),
            *(f"decoder.{level}" for level in range(levels - 1)),
        )
        self.default_layers = self.map_names
        factor = 2 ** (levels - 1)
        self.multiple = (factor, factor, factor)

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the encoder's maps from the image down, then the decoder's from the bottom up."""
        current = image
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            current = block(nn.functional.max_pool3d(current, 2) if level else current)
            skips.append(current)
            yield f"encoder.{level}", current
        for level, block in enumerate(self.decoder):
            larger = nn.functional.interpolate(current, scale_factor=2.0, mode="trilinear", align_corners=False)
            current = block(torch.cat((larger, skips[-2 - level]), dim=1))
            yield f"decoder.{level}", current


class _GatedBlock(nn.Module):
    """Convolution, dilated convolution, each with group norm and ReLU; then each channel times its gate."""

    def __init__(self, inputs: int, outputs: int, settings: NaviAirwaySettings) -> None:
        super().__init__()
        reach = settings.dilation
        hidden = max(outputs // settings.squeeze, 1)
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm1 = nn.GroupNorm(settings.groups, outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=reach, dilation=reach)
        self.norm2 = nn.GroupNorm(settings.groups, outputs)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(outputs, hidden, 1),
            nn.ReLU(),
            nn.Conv3d(hidden, outputs, 1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> Tensor:
        hidden = torch.relu(self.norm1(self.conv1(image)))
        hidden = torch.relu(self.norm2(self.conv2(hidden)))
        gated: Tensor = hidden * self.gate(hidden)
        return gated
