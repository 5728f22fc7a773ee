"""A tiny ConvNeXt's tensors by the names of torchvision, timm and the original repository, written out by hand."""

from __future__ import annotations

import torch
from torch import Tensor

DEPTHS, WIDTHS = (1, 1, 2, 1), (4, 8, 8, 16)
TINY = {"depths": DEPTHS, "widths": WIDTHS, "size": 32}
LIBRARIES = ("torchvision", "timm", "timm-conv", "original")

_BLOCK = {
    "torchvision": ("block.0", "block.2", "block.3", "block.5", "layer_scale"),
    "timm": ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
    "original": ("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
}
_STEM = {
    "torchvision": ("features.0.0", "features.0.1"),
    "timm": ("stem.0", "stem.1"),
    "original": ("downsample_layers.0.0", "downsample_layers.0.1"),
}
_REDUCTIONS = {
    "torchvision": ("features.2", "features.4", "features.6"),
    "timm": ("stages.1.downsample", "stages.2.downsample", "stages.3.downsample"),
    "original": ("downsample_layers.1", "downsample_layers.2", "downsample_layers.3"),
}
_STAGES = {
    "torchvision": ("features.1", "features.3", "features.5", "features.7"),
    "timm": ("stages.0.blocks", "stages.1.blocks", "stages.2.blocks", "stages.3.blocks"),
    "original": ("stages.0", "stages.1", "stages.2", "stages.3"),
}
_HEADS = {
    "torchvision": ("classifier.0.weight", "classifier.0.bias", "classifier.2.weight", "classifier.2.bias"),
    "timm": ("head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"),
    "original": ("norm.weight", "norm.bias", "head.weight", "head.bias"),
}


def write_tensors(library: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors with a classifier; the same seed gives every library the same numbers.

    Args:
        library: one of LIBRARIES; `timm-conv` has 1 x 1 convolutions where timm has linear layers.
        seed: of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    named = library.removesuffix("-conv")
    tensors: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        tensors[name] = torch.randn(shape, generator=generator) * 0.3

    def put_pair(name: str, *shape: int) -> None:
        put(f"{name}.weight", *shape)
        put(f"{name}.bias", shape[0])

    put_pair(_STEM[named][0], WIDTHS[0], 3, 4, 4)
    put_pair(_STEM[named][1], WIDTHS[0])
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage:
            reduction = _REDUCTIONS[named][stage - 1]
            put_pair(f"{reduction}.0", WIDTHS[stage - 1])
            put_pair(f"{reduction}.1", width, WIDTHS[stage - 1], 2, 2)
        for number in range(depth):
            block = f"{_STAGES[named][stage]}.{number}"
            depthwise, norm, expand, contract, scale = (f"{block}.{part}" for part in _BLOCK[named])
            ones = (1, 1) if library == "timm-conv" else ()
            put_pair(depthwise, width, 1, 7, 7)
            put_pair(norm, width)
            put_pair(expand, 4 * width, width, *ones)
            put_pair(contract, width, 4 * width, *ones)
            put(scale, *((width, 1, 1) if library == "torchvision" else (width,)))
    for name in _HEADS[named]:
        put(name, 5)
    return tensors
