"""Overlapping tiles of a latent: where they lie, and one whole out of what is calculated of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.inference.merging import gaussian_weight
from synthct.inference.windows import sliding_windows

__all__ = ["Tiling", "Triple"]

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Tiling:
    """Tiles over a latent of a shape; all are of one size.

    Attributes:
        shape: of the latent, (z, y, x) in latent voxels.
        tile: of a tile, nowhere larger than the latent.
        starts: first voxel of each tile, (z, y, x).
    """

    shape: Triple
    tile: Triple
    starts: tuple[Triple, ...]

    @classmethod
    def over(cls, shape: Triple, tile: Triple, overlap: float) -> Tiling:
        """Lay tiles over a latent.

        Args:
            shape: of the latent, (z, y, x).
            tile: wanted, in latent voxels; along an axis where the latent is shorter, the latent's edge is taken.
            overlap: of neighbours, as a fraction of the tile; at least so much, spread evenly.
        """
        z, y, x = (min(edge, size) for edge, size in zip(tile, shape, strict=True))
        return cls(shape, (z, y, x), tuple(sliding_windows(shape, (z, y, x), 1.0 - overlap)))

    def cut(self, whole: Tensor, start: Triple, *, factor: int = 1) -> Tensor:
        """The tile's part of (b, c, z, y, x), which has `factor` voxels along each edge of a latent voxel; a view."""
        return whole[(..., *_box(start, self.tile, factor))]

    def merge(self, calculate: Callable[[Triple], Tensor], *, factor: int = 1) -> Tensor:
        """Calculate every tile and take their weighted mean, a Gaussian about each tile's middle; sums are float32.

        Beside one tile's own needs this holds two arrays as large as the whole.

        Args:
            calculate: from a tile's start to (1, c, z, y, x) of the tile's shape times `factor`.
            factor: voxels of the result along each edge of a latent voxel.

        Returns:
            (1, c, z, y, x) float32. Where there is one tile, this is what was calculated, to the bit.
        """
        if len(self.starts) == 1:
            return calculate(self.starts[0]).float()
        weight = gaussian_weight(_scaled(self.tile, factor))
        total = weights = torch.empty(0)
        for start in self.starts:
            part = calculate(start).float()
            if not total.numel():
                weight, whole = weight.to(part.device), _scaled(self.shape, factor)
                total, weights = part.new_zeros((1, part.shape[1], *whole)), part.new_zeros(whole)
            box = _box(start, self.tile, factor)
            total[(..., *box)] += part * weight
            weights[box] += weight
        return torch.div(total, weights, out=total)


def _scaled(shape: Triple, factor: int) -> Triple:
    return shape[0] * factor, shape[1] * factor, shape[2] * factor


def _box(start: Triple, tile: Triple, factor: int) -> tuple[slice, slice, slice]:
    z, y, x = (slice(first * factor, (first + edge) * factor) for first, edge in zip(start, tile, strict=True))
    return z, y, x
