"""What steers a latent: the normalised MR at full resolution, and the tiles on which the denoiser hears it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from algorithms.ldm_brain.codec import latent_shape, latent_tile, padded_to
from algorithms.ldm_brain.networks import LdmConfig
from algorithms.ldm_brain.tiles import Tiling, Triple
from synthct.errors import UsageError
from synthct.inference.channels_last import ChannelsLastLayers
from synthct.inference.precision import AUTOCAST_TYPES, UsedPrecision

__all__ = ["LEAST_EDGE", "Denoiser", "Steering", "in_precision"]

LEAST_EDGE = 2
"""A latent's edge is at least so many multiples, so that the deepest level's GroupNorm sees more than one voxel."""


class Denoiser(Protocol):
    """What predicts noise or velocity, such as `LatentDiffusion`."""

    def denoise(self, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Predict for a noisy latent (1, c, z, y, x) at (1,) times beside the MR at full resolution."""
        ...


@dataclass(frozen=True, eq=False)
class Steering:
    """A normalised MR, ready to steer a latent.

    Attributes:
        condition: padded, (1, 1, z, y, x).
        tiling: of the padded latent.
        shape: of the latent without the padding, (z, y, x).
        factor: voxels of the MR along each edge of a latent voxel.
    """

    condition: Tensor
    tiling: Tiling
    shape: Triple
    factor: int

    @classmethod
    def by(cls, mr: Tensor, *, config: LdmConfig, tile: Triple, overlap: float) -> Steering:
        """Pad an MR (z, y, x) with 0 at its far ends, as far as the UNet's strides ask for it, and lay the tiles.

        Raises:
            UsageError: the MR has another number of axes, or the tile is no multiple of `config.multiple`.
        """
        if mr.dim() != 3:
            raise UsageError(f"an MR of shape {tuple(mr.shape)} was to steer a latent; expected (z, y, x)")
        if any(edge % config.multiple for edge in tile):
            raise UsageError(f"tile {tile} (z, y, x) is no multiple of {config.multiple}, which the networks ask for")
        factor, multiple, edges = config.factor, config.denoiser.multiple, latent_tile(tile, config.factor)
        shape = latent_shape((mr.shape[0], mr.shape[1], mr.shape[2]), factor)
        z, y, x = (_padded_edge(size, edge, multiple) for size, edge in zip(shape, edges, strict=True))
        condition = padded_to(mr[None, None].float(), (z * factor, y * factor, x * factor))
        return cls(condition, Tiling.over((z, y, x), edges, overlap), shape, factor)

    def predict_tile(
        self, networks: Denoiser, part: Tensor, time: int, start: Triple, precision: UsedPrecision
    ) -> Tensor:
        """Predict for one tile's part of the padded latent, float32."""
        times = torch.tensor([time], device=part.device)
        condition = self.tiling.cut(self.condition, start, factor=self.factor)
        return in_precision(lambda: networks.denoise(part, times, condition), part.device, precision)

    def predict(self, networks: Denoiser, latent: Tensor, time: int, precision: UsedPrecision) -> Tensor:
        """Predict for the padded latent (1, c, z, y, x), tiles blended; float32."""
        return self.tiling.merge(
            lambda start: self.predict_tile(networks, self.tiling.cut(latent, start), time, start, precision)
        )


def in_precision(calculate: Callable[[], Tensor], device: torch.device, precision: UsedPrecision) -> Tensor:
    """Calculate under autocast; what does not come back finite is calculated again in fp32. Returns float32."""
    dtype = AUTOCAST_TYPES.get(precision)
    layout = ChannelsLastLayers if device.type == "cpu" else nullcontext
    with layout(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        result = calculate().float()
    if dtype is not None and not bool(result.isfinite().all()):
        with layout(), torch.autocast(device.type, enabled=False):
            result = calculate().float()
    return result


def _padded_edge(size: int, tile: int, multiple: int) -> int:
    """A latent's edge after padding; an axis that is longer than a tile needs none."""
    if size >= tile:
        return size
    return min(tile, max(math.ceil(size / multiple), LEAST_EDGE) * multiple)
