"""MedicalNet's 3-D ResNets as a perceptual baseline (paper 000 section 3; ALGORITHMS 2.1).

The tensors' names are MedicalNet's (conv1, bn1, layer1.0.conv1 ...). By its paper (Med3D) the last two stages keep the
grid of the second and widen their reach by dilation instead; `dilated=False` is the ordinary ResNet. Shortcuts are of
type B (a 1 x 1 x 1 convolution) for 10 and 50 layers, of type A (take every second voxel, add channels of 0) for 18 and
34. Which layers paper 000 took is unknown: the last alone and all four are both options.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from synthct.features.interface import Backbone

__all__ = ["MedicalNetBackbone", "MedicalNetSettings"]

WIDTHS = (64, 128, 256, 512)
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
ZERO_SHORTCUTS = (18, 34)
EXPANSION = 4
"""A bottleneck block's output is so many times its width."""


class MedicalNetSettings(BaseModel):
    """Shape of the network.

    Attributes:
        depth: layers in all.
        dilated: stages 3 and 4 keep stage 2's grid, with dilation 2 and 4.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Literal[10, 18, 34, 50] = 10
    dilated: bool = True


class MedicalNetBackbone(Backbone):
    """ResNet without its head; the maps are the four stages, layer1 ... layer4.

    Args:
        settings: shape of the network.
    """

    def __init__(self, settings: MedicalNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.conv1 = nn.Conv3d(1, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(WIDTHS[0])
        inputs, stages = WIDTHS[0], []
        for number, (width, count) in enumerate(zip(WIDTHS, BLOCKS[settings.depth], strict=True)):
            keeps_grid = number == 0 or (settings.dilated and number > 1)
            dilation = 2 ** (number - 1) if settings.dilated and number > 1 else 1
            blocks = []
            for first in [True] + [False] * (count - 1):
                stride = 1 if keeps_grid or not first else 2
                blocks.append(_Block(inputs, width, stride, dilation, settings.depth))
                inputs = blocks[-1].outputs
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.map_names = ("layer1", "layer2", "layer3", "layer4")
        self.default_layers = self.map_names
        factor = 8 if settings.dilated else 32
        self.multiple = (factor, factor, factor)

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the stages' outputs; the first lies on a quarter of the image's grid."""
        current = torch.relu(self.bn1(self.conv1(image)))
        current = nn.functional.max_pool3d(current, 3, stride=2, padding=1)
        for name in self.map_names:
            current = self.get_submodule(name)(current)
            yield name, current


class _Block(nn.Module):
    """Two convolutions of 3, or 1-3-1 (50 layers), and a shortcut round them; ReLU after the sum."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, depth: int) -> None:
        super().__init__()
        self.outputs = width * EXPANSION if depth >= 50 else width
        self.is_bottleneck = depth >= 50
        if self.is_bottleneck:
            self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
            self.conv2 = _conv3(width, width, stride, dilation)
            self.conv3 = nn.Conv3d(width, self.outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(self.outputs)
        else:
            self.conv1 = _conv3(inputs, width, stride, dilation)
            self.conv2 = _conv3(width, width, 1, dilation)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        self.stride = stride
        self.downsample: nn.Module | None = None
        if (stride != 1 or inputs != self.outputs) and depth not in ZERO_SHORTCUTS:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, self.outputs, 1, stride=stride, bias=False), nn.BatchNorm3d(self.outputs)
            )

    def forward(self, image: Tensor) -> Tensor:
        hidden = torch.relu(self.bn1(self.conv1(image)))
        hidden = self.bn2(self.conv2(hidden))
        if self.is_bottleneck:
            hidden = self.bn3(self.conv3(torch.relu(hidden)))
        return torch.relu(hidden + self._shortcut(image))

    def _shortcut(self, image: Tensor) -> Tensor:
        if self.downsample is not None:
            shortcut: Tensor = self.downsample(image)
            return shortcut
        thinned = image[:, :, :: self.stride, :: self.stride, :: self.stride]
        added = self.outputs - image.shape[1]
        return nn.functional.pad(thinned, (0, 0, 0, 0, 0, 0, 0, added)) if added else thinned


def _conv3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
