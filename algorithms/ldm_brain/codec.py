"""From a normalised CT to its latent and back, in tiles, for a volume of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from algorithms.ldm_brain.tiles import Tiling, Triple
from synthct.errors import UsageError

if TYPE_CHECKING:
    from monai.networks.nets.autoencoderkl import AutoencoderKL

__all__ = ["OVERLAP", "decode", "encode", "latent_shape", "latent_tile", "padded_to", "reconstruct"]

OVERLAP = 0.25
"""Of neighbouring tiles, as a fraction of a tile (inference)."""


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, volume: Tensor, tile: Triple, *, overlap: float = OVERLAP) -> Tensor:
    """Return the mean of the latent, which is the same each time.

    Args:
        autoencoder: in evaluation mode, where the volume is.
        volume: normalised CT, (z, y, x) or (1, 1, z, y, x), of any size; padded at its far ends with its outermost
            voxels to multiples of the factor (MONAI's network would silently answer with another size).
        tile: in voxels (z, y, x), multiples of the factor: as large as the patches of training, since GroupNorm takes
            its statistics over what it is given. A volume that fits into one is one call.
        overlap: of neighbouring tiles, as a fraction of a tile.

    Returns:
        (1, c, z, y, x) float32, each edge ceil(size / factor).

    Raises:
        UsageError: the volume has another number of axes, or the tile is no multiple of the factor.
    """
    if volume.dim() == 3:
        volume = volume[None, None]
    if volume.dim() != 5 or volume.shape[:2] != (1, 1):
        raise UsageError(f"a volume of shape {tuple(volume.shape)} was to be encoded; expected (z, y, x)")
    factor = _factor(autoencoder)
    shape = latent_shape(_edges(volume), factor)
    padded = padded_to(volume, _scaled(shape, factor), mode="replicate")
    tiling = Tiling.over(shape, latent_tile(tile, factor), overlap)
    return tiling.merge(lambda start: autoencoder.encode(tiling.cut(padded, start, factor=factor))[0])


@torch.no_grad()
def decode(autoencoder: AutoencoderKL, latent: Tensor, tile: Triple, *, overlap: float = OVERLAP) -> Tensor:
    """Return the normalised CT of a latent.

    Args:
        autoencoder: in evaluation mode, where the latent is.
        latent: not scaled, (1, c, z, y, x), of any size.
        tile: in voxels (z, y, x), as for `encode`.
        overlap: as for `encode`.

    Returns:
        (z, y, x) float32, each edge `factor` times the latent's; whoever encoded an odd size crops it at the far ends.

    Raises:
        UsageError: the latent is no single one, or the tile is no multiple of the factor.
    """
    if latent.dim() != 5 or len(latent) != 1:
        raise UsageError(f"a latent of shape {tuple(latent.shape)} was to be decoded; expected (1, c, z, y, x)")
    factor = _factor(autoencoder)
    tiling = Tiling.over(_edges(latent), latent_tile(tile, factor), overlap)
    return tiling.merge(lambda start: autoencoder.decode(tiling.cut(latent, start)), factor=factor)[0, 0]


@torch.no_grad()
def reconstruct(autoencoder: AutoencoderKL, volume: Tensor, tile: Triple, *, overlap: float = OVERLAP) -> Tensor:
    """Return what comes back of a normalised CT: each tile encoded (the latent's mean) and decoded by itself, blended.

    A tile's latent goes with that tile's statistics: one blended of several would be decoded to another image.

    Args:
        autoencoder: in evaluation mode, where the volume is.
        volume: (z, y, x), of any size; padded as by `encode`.
        tile: in voxels (z, y, x), as for `encode`.
        overlap: as for `encode`.

    Returns:
        (z, y, x) float32, of the volume's shape.

    Raises:
        UsageError: the tile is no multiple of the factor.
    """
    factor = _factor(autoencoder)
    z, y, x = volume.shape
    shape = latent_shape((z, y, x), factor)
    padded = padded_to(volume[None, None], _scaled(shape, factor), mode="replicate")
    tiling = Tiling.over(shape, latent_tile(tile, factor), overlap)

    def returned(start: Triple) -> Tensor:
        there: Tensor = autoencoder.encode(tiling.cut(padded, start, factor=factor))[0]
        return autoencoder.decode(there)

    return tiling.merge(returned, factor=factor)[0, 0, :z, :y, :x]


def latent_shape(shape: Triple, factor: int) -> Triple:
    """Shape of the latent of a volume, (z, y, x): ceil(size / factor)."""
    z, y, x = (-(-size // factor) for size in shape)
    return z, y, x


def latent_tile(tile: Triple, factor: int) -> Triple:
    """A tile in latent voxels, (z, y, x).

    Raises:
        UsageError: an edge is no multiple of the factor, or below 1.
    """
    if any(edge < 1 or edge % factor for edge in tile):
        raise UsageError(f"tile {tile} (z, y, x) is no multiple of the autoencoder's factor {factor}")
    return latent_shape(tile, factor)


def padded_to(volume: Tensor, shape: Triple, *, mode: str = "constant") -> Tensor:
    """Pad (b, c, z, y, x) at its far ends to a shape that is no smaller: with 0 (constant), or its edge (replicate)."""
    missing = [after - size for size, after in zip(_edges(volume), shape, strict=True)]
    if not any(missing):
        return volume
    z, y, x = missing
    return functional.pad(volume, (0, x, 0, y, 0, z), mode=mode)


def _factor(autoencoder: AutoencoderKL) -> int:
    channels: tuple[int, ...] = autoencoder.encoder.channels  # type: ignore[assignment]  # a plain attribute of MONAI's
    return int(2 ** (len(channels) - 1))


def _edges(volume: Tensor) -> Triple:
    return volume.shape[-3], volume.shape[-2], volume.shape[-1]


def _scaled(shape: Triple, factor: int) -> Triple:
    return shape[0] * factor, shape[1] * factor, shape[2] * factor
