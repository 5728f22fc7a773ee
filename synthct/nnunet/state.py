"""Tensors of a checkpoint: one name each, and the decoder's up-sampling told from their shapes.

Of the several names that a weight has (synthct.networks.state) only the first is kept, as `named_parameters` has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synthct.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from synthct.nnunet.architecture import Upsampling

__all__ = [
    "channels_of",
    "checkpoint_tensors",
    "rename_upsampling",
    "upsampling_of",
]

ALIASES = re.compile(r"(^|\.)all_modules\.|^decoder\.encoder\.")
_UP = "decoder.transpconvs."
_PREFIXES = ("_orig_mod.", "module.")
"""What torch.compile and data-parallel training put before every name."""
SEGMENTATION_LAYER = re.compile(r"decoder\.seg_layers\.([0-9]+)\.weight")


def checkpoint_tensors(content: object, where: str) -> dict[str, Tensor]:
    """Take the tensors of a loaded state dict, each by its first name, without what a training wrapper put before.

    Raises:
        WeightsError: it holds something else than tensors.
    """
    import torch

    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{where}: holds {type(content).__name__}; expected tensors by name")
    tensors: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{where}: {str(name)[:60]} is {type(tensor).__name__}; expected a tensor")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"{where}: {name[:60]} holds NaN or infinity; expected finite weights")
        plain = name
        for prefix in _PREFIXES:
            plain = plain.removeprefix(prefix)
        if not ALIASES.search(plain):
            tensors[plain] = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
    return tensors


def channels_of(tensors: Mapping[str, Tensor], where: str) -> tuple[int, int]:
    """Read a U-Net's (input channels, output channels) off its first convolution and its last layer.

    Raises:
        WeightsError: there is no such layer.
    """
    first = next((tensors[name] for name in tensors if name.startswith("encoder.") and tensors[name].ndim == 5), None)
    last = max(
        ((int(found[1]), tensors[name]) for name in tensors if (found := SEGMENTATION_LAYER.fullmatch(name))),
        key=lambda entry: entry[0],
        default=None,
    )
    if first is None or last is None:
        raise WeightsError(f"{where}: holds no encoder and decoder.seg_layers; expected a 3-D U-Net of nnU-Net v2")
    return int(first.shape[1]), int(last[1].shape[0])


def upsampling_of(
    tensors: Mapping[str, Tensor],
    strides: Sequence[tuple[int, ...]],
    where: str,
    *,
    asked: Upsampling | None = None,
) -> Upsampling:
    """Tell the decoder's up-sampling: a transposed convolution's kernel is the stride, the other's is 3 x 3 x 3.

    Args:
        tensors: of the checkpoint, each by one name.
        strides: into each encoder stage, the first included.
        where: the file, for messages.
        asked: by the user, who decides where strides of 3 x 3 x 3 leave both open.

    Raises:
        WeightsError: neither fits, or both do and nobody was asked.
        UsageError: the one that the user asked for does not fit.
    """
    kernels = {number: tuple(tensor.shape[2:]) for number, (_, tensor) in _up_weights(tensors).items()}
    expected = dict(enumerate(reversed([tuple(stride) for stride in strides[1:]])))
    fits: list[Upsampling] = []
    if kernels == expected:
        fits.append("transposed")
    if kernels == dict.fromkeys(expected, (3, 3, 3)):
        fits.append("trilinear")
    if asked in fits:
        return asked
    if len(fits) != 1:
        shown = ", ".join(str(kernel) for kernel in kernels.values()) or "none"
        raise WeightsError(
            f"{where}: the kernels of {_UP}N are {shown}; expected the strides (transposed convolution) or (3, 3, 3) "
            "each (trilinear, then a convolution), and one of the two (--upsampling)"
        )
    if asked is not None:
        raise UsageError(f"--upsampling {asked} does not fit {where}; expected {fits[0]}, by its tensors' shapes")
    return fits[0]


def rename_upsampling(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the convolutions after trilinear up-sampling our names, whatever module held them where it was trained."""
    renamed = dict(tensors)
    for number, (name, _) in _up_weights(tensors).items():
        stem = name.removesuffix("weight")
        for part in ("weight", "bias"):
            if stem + part in renamed:
                renamed[f"{_UP}{number}.conv.{part}"] = renamed.pop(stem + part)
    return renamed


def _up_weights(tensors: Mapping[str, Any]) -> dict[int, tuple[str, Tensor]]:
    found = {}
    for name, tensor in tensors.items():
        match = re.match(re.escape(_UP) + r"([0-9]+)\.(.*\.)?weight$", name)
        if match and tensor.ndim == 5:
            found[int(match[1])] = (name, tensor)
    return dict(sorted(found.items()))
