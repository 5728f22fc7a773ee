"""The anatomical feature-prioritised (AFP) loss: a frozen segmentation network compares (papers 000 and 002)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

__all__ = ["AnatomicalFeatureLoss", "Features", "Reduction", "feature_distance"]

Reduction = Literal["sum", "mean"]
LEAST_SHARE = 0.01
"""Of a patch; below it features at the mask's edge would weigh as much as a whole body."""


class Features(Protocol):
    """A frozen extractor: HU (batch, 1, z, y, x) to feature maps, differentiable to its input."""

    def __call__(self, hu: Tensor) -> Sequence[Tensor]:
        """Return the maps of a batch."""
        ...


def feature_distance(prediction: Sequence[Tensor], reference: Sequence[Tensor], reduction: Reduction) -> Tensor:
    """Mean absolute difference of each layer's maps, then the sum or the mean over the layers; one value a sample.

    Paper 000, equation 1, divides by the number of layers; the code behind papers 000 and 002 sums (ALGORITHMS 1.3),
    and so weights features against L1 by as many times more as there are layers.
    """
    terms = [(ours.float() - theirs.float()).abs().flatten(1).mean(1) for ours, theirs in _pairs(prediction, reference)]
    total = torch.stack(terms)
    return total.sum(dim=0) if reduction == "sum" else total.mean(dim=0)


class AnatomicalFeatureLoss:
    """How far a synthetic CT's features are from those of the CT; the gradient reaches the synthetic CT alone.

    Both images are given in HU and the extractor normalises them itself: in the synthesis network's units, which the
    public code hands over, a third party's extractor would see values it has never met (ALGORITHMS 1.3).

    Args:
        extractor: the frozen network.
        reduction: sum (paper 002) or mean (paper 000) over the layers.
    """

    def __init__(self, extractor: Features, reduction: Reduction = "sum") -> None:
        self._extractor = extractor
        self._reduction = reduction

    def __call__(self, prediction: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
        """Return the layers' mean differences, divided by the share of the patch that counts; a scalar.

        Beyond the mask there is no difference, so the mean over a patch that holds a sliver of body is small, where
        L1's mean inside the mask is not. Divided by the share, both are means over what counts, and 5 : 1 means the
        same in every patch, as it does in the authors' code, whose masks are all ones.

        Args:
            prediction: sCT in HU, (batch, 1, z, y, x).
            reference: CT in HU, the same shape.
            weight: 1 where the prediction counts, 0 elsewhere; there the extractor is shown the CT in both, so that
                anatomy at the edge of the mask keeps its surroundings and nothing outside is learned from.
        """
        shown = prediction * weight + reference * (1 - weight)
        with torch.no_grad():
            wanted = self._extractor(reference)
        share = weight.flatten(1).mean(dim=1).clamp_min(LEAST_SHARE)
        return (feature_distance(self._extractor(shown), wanted, self._reduction) / share).mean()


def _pairs(prediction: Sequence[Tensor], reference: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if not prediction or len(prediction) != len(reference):
        raise ValueError(f"{len(prediction)} feature maps against {len(reference)}; expected as many, and some")
    return list(zip(prediction, reference, strict=True))
