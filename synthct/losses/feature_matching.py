"""Feature matching: the discriminator should see in a synthetic CT what it sees in the CT (pix2pixHD, equation 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["feature_matching"]


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of each layer's maps, summed over the layers, then the mean over the scales.

    Equation 4 of pix2pixHD sums over the layers, each divided by its number of elements. Its equation 5 sums over the
    scales as well; here they are averaged (ALGORITHMS 2.2), so the weight means the same for any number of scales.

    Args:
        fake: for each scale the maps of every layer of a discriminator shown the synthetic CT. The last map of a scale
            holds its logits, which the adversarial term judges, and is left out.
        real: the same for the CT. No gradient goes there.

    Returns:
        A scalar in float32.

    Raises:
        ValueError: no scale, a scale without a layer before its logits, or maps of `real` that differ in number or
            shape.
    """
    if not fake or len(fake) != len(real):
        raise ValueError(f"{len(fake)} scales against {len(real)}; expected as many, and at least one")
    return torch.stack([_one_scale(ours[:-1], theirs[:-1]) for ours, theirs in zip(fake, real, strict=True)]).mean()


def _one_scale(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    shapes = [tuple(each.shape) for each in fake]
    if not shapes or shapes != [tuple(each.shape) for each in real]:
        raise ValueError(
            f"maps of shapes {shapes} against {[tuple(each.shape) for each in real]}; expected the same, and some "
            "before the logits"
        )
    terms = [(ours.float() - theirs.detach().float()).abs().mean() for ours, theirs in zip(fake, real, strict=True)]
    return torch.stack(terms).sum()
