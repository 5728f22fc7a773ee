"""Parts of a network that stay in float32 whatever the run's precision is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["LastConvolution", "full_precision"]


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Leave autocast for as long as the context lasts, on the tensor's device; the tensor itself is not converted."""
    if tensor.is_meta or not torch.is_autocast_enabled(tensor.device.type):
        yield
        return
    with torch.autocast(tensor.device.type, enabled=False):
        yield


class LastConvolution(nn.Conv3d):
    """The last layer, in float32 also under autocast: bf16 would round an sCT to several HU in bone."""

    def forward(self, image: Tensor) -> Tensor:  # noqa: D102
        image = image.to(self.weight.dtype)
        with full_precision(image):
            return super().forward(image)
