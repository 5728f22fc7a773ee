"""The style loss of CREPs: Gram matrices of a frozen network's maps, slice by slice (paper 001, equations 1 to 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from synthct.losses.anatomical import Features

__all__ = ["GramReduction", "StyleLoss", "gram"]

GramReduction = Literal["sum", "mean"]


def gram(maps: Tensor) -> Tensor:
    """Gram matrices psi psi^T / (c h w), psi being a map flattened to (c, h w) (paper 001, equations 1 and 2).

    They are computed in float32 whatever autocast says: sums over thousands of pixels lose too much in 16 bits.

    Args:
        maps: (n, c, h, w).

    Returns:
        (n, c, c) float32, symmetric.

    Raises:
        ValueError: the shape is another.
    """
    if maps.ndim != 4:
        raise ValueError(f"maps of shape {tuple(maps.shape)}; expected (n, channels, height, width)")
    with torch.autocast(maps.device.type, enabled=False):
        rows = maps.float().flatten(2)
        return rows @ rows.mT / (rows.shape[1] * rows.shape[2])


class StyleLoss:
    """How far the style of synthetic CTs is from that of CTs; the gradient reaches the synthetic CT alone.

    The two may be of different patients and places. Slice k of one patch is compared with slice k of the other: for
    unpaired patches any pairing is as good, and both have the same shape.

    Args:
        extractor: HU (batch, 1, z, y, x) to maps (batch, c, slices, h, w), slices being what its network saw as images.
        reduction: of the absolute differences between two Gram matrices. sum: the 1-norm (paper 001, equation 3);
            mean: the same divided by c^2, so that wide layers do not count for more.
    """

    def __init__(self, extractor: Features, reduction: GramReduction = "sum") -> None:
        self._extractor = extractor
        self._reduction = reduction

    def __call__(self, prediction_hu: Tensor, reference_hu: Tensor) -> Tensor:
        """Return the sum over the layers, all of weight 1, of the mean over slices and batch; a scalar.

        The averages over slices and batch are the authors' code's, as far as it is known (ALGORITHMS 3); the paper
        does not tell them.

        Args:
            prediction_hu: sCT in HU, (batch, 1, z, y, x).
            reference_hu: CT in HU, the same shape.

        Raises:
            ValueError: shapes differ, the extractor gives no map, or maps of another shape for the other image.
        """
        if prediction_hu.shape != reference_hu.shape:
            raise ValueError(
                f"sCT of {tuple(prediction_hu.shape)} against CT of {tuple(reference_hu.shape)}; expected one shape"
            )
        with torch.no_grad():
            wanted = _grams(self._extractor(reference_hu))
        found = _grams(self._extractor(prediction_hu))
        if not found or [each.shape for each in found] != [each.shape for each in wanted]:
            raise ValueError(f"{len(found)} feature maps against {len(wanted)}; expected as many, alike, and some")
        return torch.stack([self._distance(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)]).sum()

    def _distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        difference = (ours - theirs).abs().flatten(1)
        entries = difference.sum(dim=1) if self._reduction == "sum" else difference.mean(dim=1)
        return entries.mean()


def _grams(layers: Sequence[Tensor]) -> list[Tensor]:
    """Gram matrices of each layer's slices, (batch * slices, c, c)."""
    return [gram(maps.movedim(2, 1).flatten(0, 1)) for maps in layers]
