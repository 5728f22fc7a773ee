"""Voxel values on the way into a network and out of it, where algorithms share the rule."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from algorithms.interface import Prediction
from synthct.dataset import Case
from synthct.inference.finish import AIR_HU, finish_hu, finish_spread
from synthct.intensity import LinearScale, ZScore

__all__ = ["air_units", "clipped_share", "finished"]

MOST_CLIPPED = 0.05
"""Share of voxels inside the mask beyond the trained MR range from which a warning is given (inference)."""


def air_units(ct: LinearScale | ZScore) -> float:
    """Air (-1000 HU) in a network's units."""
    return float(ct.apply(np.array([AIR_HU]))[0])


def clipped_share(case: Case, scale: LinearScale) -> float:
    """Share of the image's voxels inside the mask that an absolute scale clips.

    Gives a warning where it is large or the image is constant: the HU of such a case will be wrong. An image that is
    too dark goes unnoticed.
    """
    values = case.image.voxels[case.mask.voxels > 0]
    clipped = float(np.mean((values < scale.low) | (values > scale.high)))
    if clipped > MOST_CLIPPED or values.min() == values.max():
        warnings.warn(
            f"{case.id}: MR values from {values.min():g} to {values.max():g} ({clipped:.0%} beyond {scale.low:g} to "
            f"{scale.high:g}) are not those the model was trained on; its HU will be wrong",
            stacklevel=3,
        )
    return clipped


def finished(
    case: Case, hu: npt.NDArray[np.floating], deviation: npt.NDArray[np.floating] | None, **notes: object
) -> Prediction:
    """Make what a predictor returns of HU and their standard deviation, where there is one, on the case's own grid."""
    sct = case.image.with_voxels(finish_hu(hu, case.mask.voxels))
    spread = None if deviation is None else case.image.with_voxels(finish_spread(deviation, case.mask.voxels))
    return Prediction(sct, spread, notes=notes)
