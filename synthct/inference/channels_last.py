"""Layers that keep the channels-last layout on a CPU, where torch's own leave it.

torch's instance norm lays its input out channels first, and the next convolution lays it out back; for small inputs
and for kernels of one voxel its convolution leaves oneDNN for a slow path, which does the same. A quarter of a
residual U-Net's time goes into this (docs/inference.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["ChannelsLastLayers", "channels_last_instance_norm", "lay_channels_last"]

Numbers = int | Sequence[int]

CHUNK_VALUES = 1 << 19
"""Values whose squared deviations are summed at once: two mebibytes stay in the processor's cache."""


class ChannelsLastLayers(TorchFunctionMode):
    """While active, 3-d instance norms and fp32 convolutions of channels-last tensors on the CPU keep that layout.

    All other calls run as ever: convolutions under autocast, norms of doubles, whose digits fp32 statistics would
    lose, and norms of a single voxel, which torch refuses.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        if func is functional.instance_norm:
            return _instance_norm(*args, **(kwargs or {}))
        if func is functional.conv3d:
            return _convolution(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def lay_channels_last(network: nn.Module) -> None:
    """Lay out the weights of 3-D convolutions channels last, which is how they are fast, in bf16 above all."""
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)


def _is_channels_last(image: Tensor) -> bool:
    return image.dim() == 5 and image.device.type == "cpu" and image.is_contiguous(memory_format=torch.channels_last_3d)


def _convolution(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    fits = image.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not fits or isinstance(padding, str) or not _is_channels_last(image) or not torch.backends.mkldnn.is_available():
        return functional.conv3d(image, weight, bias, stride, padding, dilation, groups)
    numbers = (_triple(padding), _triple(stride), _triple(dilation))
    output: Tensor = torch.mkldnn_convolution(image, weight, bias, *numbers, groups)
    return output


def _triple(numbers: Numbers) -> tuple[int, ...]:
    return (numbers,) * 3 if isinstance(numbers, int) else tuple(numbers)


def _instance_norm(
    image: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    fits = running_mean is None and use_input_stats and image.dtype != torch.float64 and _is_channels_last(image)
    if fits and image.shape[2:].numel() > 1:
        return channels_last_instance_norm(image, weight, bias, eps)
    return functional.instance_norm(image, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def channels_last_instance_norm(image: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise every channel of every sample to mean 0 and variance 1, then scale and shift it.

    Args:
        image: (n, channels, z, y, x), channels last, of more than one voxel; statistics are taken in fp32, so it should
            be fp32, bf16 or fp16.
        weight: (channels,) or None for 1.
        bias: (channels,) or None for 0.
        eps: added to the variance.

    Returns:
        The same shape, type and layout.
    """
    output = torch.empty_like(image, memory_format=torch.channels_last_3d)
    channels = image.shape[1]
    for sample, target in zip(image, output, strict=True):
        voxels = sample.permute(1, 2, 3, 0).view(-1, channels)
        count = len(voxels)
        mean = voxels.sum(0, dtype=torch.float32) / count
        squares = torch.zeros_like(mean)
        for chunk in voxels.split(max(1, CHUNK_VALUES // channels)):
            deviation = chunk - mean
            squares += deviation.square_().sum(0)
        scale = torch.rsqrt(squares / count + eps)
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale
        if bias is not None:
            shift = shift + bias
        flat = target.permute(1, 2, 3, 0).view(-1, channels)
        torch.addcmul(shift.to(image.dtype), voxels, scale.to(image.dtype), out=flat)
    return output
