"""What a case page counts: how often each HU occurs, what became of each HU of the CT, and the error by tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.tissue import LOWER_LIMITS, TISSUES, tissue_labels

__all__ = ["HISTOGRAM_RANGE", "JOINT_RANGE", "TissueError", "histogram", "joint_histogram", "tissue_errors"]

HISTOGRAM_RANGE = (-1050.0, 1800.0)
"""HU that the histogram shows; what lies beyond is counted in its first and last bin."""
HISTOGRAM_BINS = 114
"""Of 25 HU each."""
JOINT_RANGE = (-1050.0, 1550.0)
"""HU that the joint histogram shows; what lies beyond is counted at its edge."""
JOINT_BINS = 104
"""Of 25 HU each."""

Voxels = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TissueError:
    """The error where the CT shows one tissue.

    Attributes:
        name: of the tissue, for readers.
        low: HU from which the CT counts as it; None for the first class.
        high: HU below which it does; None for the last.
        volume_ml: of the CT's voxels of it.
        mae: mean absolute error in HU; None where the CT has none of it.
        bias: mean of sCT minus CT in HU; above zero the sCT is too dense.
        spread: 5th and 95th percentile of the error in HU.
    """

    name: str
    low: int | None
    high: int | None
    volume_ml: float
    mae: float | None
    bias: float | None
    spread: tuple[float, float] | None


def histogram(voxels: Voxels, inside: Mask) -> npt.NDArray[np.float64]:
    """Share of the body's voxels in each of HISTOGRAM_BINS bins over HISTOGRAM_RANGE; all 0 for an empty body."""
    low, high = HISTOGRAM_RANGE
    values = np.clip(voxels[inside].astype(np.float32), low, high - 1)
    counts = np.histogram(values, bins=HISTOGRAM_BINS, range=HISTOGRAM_RANGE)[0].astype(np.float64)
    shares: npt.NDArray[np.float64] = counts / max(1.0, counts.sum())
    return shares


def joint_histogram(ct: Voxels, sct: Voxels, inside: Mask) -> npt.NDArray[np.float64]:
    """Counts of (sCT, CT) pairs over JOINT_RANGE, shape (bins of sCT, bins of CT)."""
    low, high = JOINT_RANGE
    step = (high - low) / JOINT_BINS
    rows, columns = (
        ((np.clip(each[inside].astype(np.float64), low, high - 1) - low) // step).astype(np.intp) for each in (sct, ct)
    )
    counts = np.bincount(rows * JOINT_BINS + columns, minlength=JOINT_BINS**2)
    return counts.reshape(JOINT_BINS, JOINT_BINS).astype(np.float64)


def tissue_errors(ct: Voxels, sct: Voxels, inside: Mask, voxel_ml: float) -> list[TissueError]:
    """The error in each tissue class of the CT, and over the whole body last.

    Args:
        ct: HU.
        sct: HU, same shape.
        inside: the body, same shape.
        voxel_ml: volume of a voxel.
    """
    labels = tissue_labels(ct, inside)
    error = sct.astype(np.float32) - ct.astype(np.float32)
    limits = [None, *(LOWER_LIMITS[label] for label in sorted(LOWER_LIMITS)), None]
    rows = [
        _row(name.replace("_", " "), limits[place], limits[place + 1], error[labels == label], voxel_ml)
        for place, (label, name) in enumerate(sorted(TISSUES.items()))
    ]
    return [*rows, _row("whole body", None, None, error[inside], voxel_ml)]


def _row(name: str, low: int | None, high: int | None, error: npt.NDArray[np.float32], voxel_ml: float) -> TissueError:
    volume = error.size * voxel_ml
    if not error.size:
        return TissueError(name, low, high, volume, None, None, None)
    below, above = np.percentile(error, [5, 95])
    wide = error.astype(np.float64)
    return TissueError(
        name, low, high, volume, float(np.abs(wide).mean()), float(wide.mean()), (float(below), float(above))
    )
