"""ConvNeXt on a CT's slices, the 2-D network of the CREPs style loss (paper 001; ALGORITHMS 3; Liu et al. 2022).

A stem (4 x 4 convolution of stride 4, layer norm over the channels), then four stages of blocks; before each stage but
the first a layer norm and a 2 x 2 convolution of stride 2. A block: 7 x 7 depthwise convolution, layer norm, 1 x 1
convolution to four times the channels, exact GELU, 1 x 1 convolution back, a factor per channel (layer scale), and the
sum with its input. The published network's classifier is left out. Which maps paper 001 took is unknown: the four
stages' outputs are the default.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthct.errors import UsageError
from synthct.features.interface import Axis, Backbone
from synthct.intensity import LinearScale

__all__ = ["CONVNEXT_NORMALISATION", "ConvNextBackbone", "ConvNextSettings"]

CONVNEXT_NORMALISATION = LinearScale(low=-1000, high=3000, offset=-1000, scale=4000)
"""[-1000, 3000] HU, the range of paper 001's CTs, to [0, 1]."""
IMAGENET_STATISTICS = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
"""(mean, standard deviation) of red, green and blue, that the published weights were trained with."""
SMALLEST_RANGE = 1 / 4000
"""1 HU in units of [0, 1]; a slice of a smaller range is divided by this, so that its noise is not blown up."""
SMALLEST_EDGE = 32
"""Of a slice in pixels: what becomes one pixel in the last stage."""
EPSILON = 1e-6
DEVIATION = 0.02
"""Of random weights, as the network's authors draw them."""
SLICE_AXES: dict[Axis, int] = {"z": 2, "y": 3, "x": 4}

_Depth = Annotated[int, Field(gt=0, le=64)]
_Width = Annotated[int, Field(gt=0, le=4096)]


class ConvNextSettings(BaseModel):
    """Shape of the network, and how it sees a volume.

    Attributes:
        depths: blocks in each stage; the default is ConvNeXt-Tiny.
        widths: channels of each stage.
        size: edge in pixels that every slice is resized to, both ways (bilinear, `align_corners` False, no
            anti-aliasing); None keeps the slices' own size, which must then be 32 at least.
        slice_axis: axis that is cut across: z gives axial slices.
        slice_step: every n-th slice, from the middle of the first n. An extension of our own for small machines; 1,
            the default, takes all.
        intensity: `fixed` takes [0, 1] as it comes; `slice-min-max` rescales each slice by its own minimum and maximum,
            which removes absolute HU. The latter is not in the paper; it stands, commented out, in the second
            author's framework (ALGORITHMS 3). A constant slice becomes 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depths: tuple[_Depth, _Depth, _Depth, _Depth] = (3, 3, 9, 3)
    widths: tuple[_Width, _Width, _Width, _Width] = (96, 192, 384, 768)
    size: Annotated[int, Field(ge=SMALLEST_EDGE, le=4096)] | None = 224
    slice_axis: Axis = "z"
    slice_step: int = Field(default=1, gt=0, le=4096)
    intensity: Literal["fixed", "slice-min-max"] = "fixed"


class ConvNextBackbone(Backbone):
    """ConvNeXt without its head; the maps are the four stages, stage1 ... stage4.

    Random weights are drawn as the authors draw them (normal, deviation 0.02, biases 0) but for the layer scale. Theirs
    is 1e-6, for training; with it no block of a random network would do anything. Ours is 1. Files bring their own.

    Args:
        settings: shape of the network, and how it sees a volume.
    """

    settings: ConvNextSettings

    def __init__(self, settings: ConvNextSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.widths
        self.reductions = nn.ModuleList([_Stem(widths[0])])
        self.reductions.extend(_Reduction(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(depth)))
            for width, depth in zip(widths, settings.depths, strict=True)
        )
        self.map_names = tuple(f"stage{number}" for number in range(1, len(widths) + 1))
        self.default_layers = self.map_names
        self.multiple = (1, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the stages' outputs, all slices of all volumes run as one batch.

        Args:
            image: (b, 1, z, y, x) in [0, 1].

        Yields:
            Name and (b, channels, slices, h, w). Stage 1 lies on a quarter of the resized slice's grid, each further
            one on half of that before. h and w are the two axes that are left, in the order z, y, x.

        Raises:
            UsageError: `size` is None and a slice is smaller than 32 x 32.
        """
        batch = image.shape[0]
        current = self._pictures(image)
        for name, reduction, stage in zip(self.map_names, self.reductions, self.stages, strict=True):
            current = stage(reduction(current))
            yield name, current.unflatten(0, (batch, -1)).transpose(1, 2)

    def _pictures(self, image: Tensor) -> Tensor:
        """Slices as a photograph's three channels: (b * slices, 3, h, w), float32, also under autocast."""
        settings = self.settings
        volumes = image.float().movedim(SLICE_AXES[settings.slice_axis], 2)
        first = min(settings.slice_step, volumes.shape[2]) // 2
        volumes = volumes[:, :, first :: settings.slice_step]
        slices = volumes.transpose(1, 2).flatten(0, 1)
        if settings.size is None and min(slices.shape[2:]) < SMALLEST_EDGE:
            raise UsageError(
                f"slices across {settings.slice_axis} have {slices.shape[2]} x {slices.shape[3]} pixels; expected "
                f"{SMALLEST_EDGE} each way at least, or a size that they are resized to"
            )
        if settings.intensity == "slice-min-max":
            lowest, highest = slices.amin((2, 3), keepdim=True), slices.amax((2, 3), keepdim=True)
            slices = (slices - lowest) / (highest - lowest).clamp_min(SMALLEST_RANGE)
        if settings.size is not None:
            edges = (settings.size, settings.size)
            slices = nn.functional.interpolate(slices, edges, mode="bilinear", align_corners=False, antialias=False)
        return torch.cat([(slices - mean) / deviation for mean, deviation in IMAGENET_STATISTICS], dim=1)


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (b, channels, h, w), each pixel for itself."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Stem(nn.Module):
    """From an image to a quarter of its grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(len(IMAGENET_STATISTICS), width, 4, stride=4)
        self.norm = _ChannelNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        reduced: Tensor = self.norm(self.convolution(image))
        return reduced


class _Reduction(nn.Module):
    """To half the grid, before a stage."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = _ChannelNorm(inputs)
        self.convolution = nn.Conv2d(inputs, outputs, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        reduced: Tensor = self.convolution(self.norm(image))
        return reduced


class _Block(nn.Module):
    """One block; its 1 x 1 convolutions are linear layers on channels that come last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.ones(width))

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.norm(self.depthwise(image).permute(0, 2, 3, 1))
        hidden = self.contract(nn.functional.gelu(self.expand(hidden)))
        added: Tensor = (self.layer_scale * hidden).permute(0, 3, 1, 2)
        return image + added
