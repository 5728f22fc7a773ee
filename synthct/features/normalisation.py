"""From HU to an extractor's own units, on tensors and differentiable; synthct.intensity does the same on arrays."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from synthct.intensity import LinearScale, ZScore

__all__ = ["ExtractorNormalisation", "VolumeZScore", "air_value", "normalise", "volume_statistics"]

AIR_HU = -1000.0
SMALLEST_DEVIATION = 1e-3
"""In HU; a constant volume is divided by this, so that it becomes 0 and its gradient stays finite."""


class VolumeZScore(BaseModel):
    """(value - mean) / standard deviation of the volume itself: a shift or a scaling of the whole volume is unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["volume-z-score"] = "volume-z-score"


ExtractorNormalisation = Annotated[LinearScale | ZScore | VolumeZScore, Field(discriminator="kind")]
"""How an extractor's input is made from HU; told apart by `kind`, as extractor.json holds it."""


def normalise(
    hu: Tensor,
    normalisation: LinearScale | ZScore | VolumeZScore,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Normalise HU; the gradient is that of the formula, so 0 where the value is clipped.

    Args:
        hu: (b, 1, z, y, x), float32.
        normalisation: of the extractor.
        statistics: mean and deviation to use for VolumeZScore; None takes `hu`'s own.

    Returns:
        The same shape and type.
    """
    if isinstance(normalisation, VolumeZScore):
        mean, deviation = volume_statistics(hu) if statistics is None else statistics
        return (hu - mean) / deviation
    if normalisation.low is not None or normalisation.high is not None:
        hu = hu.clamp(normalisation.low, normalisation.high)
    if isinstance(normalisation, ZScore):
        return (hu - normalisation.mean) / normalisation.std
    return (hu - normalisation.offset) / normalisation.scale


def volume_statistics(hu: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population deviation of each volume of a batch, (b, 1, 1, 1, 1) each."""
    mean = hu.mean(dim=(1, 2, 3, 4), keepdim=True)
    variance = (hu - mean).square().mean(dim=(1, 2, 3, 4), keepdim=True)
    return mean, variance.clamp_min(SMALLEST_DEVIATION**2).sqrt()


def air_value(normalisation: LinearScale | ZScore | VolumeZScore) -> float | None:
    """What -1000 HU becomes; None where that depends on the volume."""
    if isinstance(normalisation, VolumeZScore):
        return None
    return float(normalise(torch.tensor(AIR_HU), normalisation))
