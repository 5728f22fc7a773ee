"""Mutual information of an image and its CT: how much one tells of the other where they lie on each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from synthct.volume import Volume

__all__ = ["BRIGHTEST", "mutual_information", "smoothed_information"]

BRIGHTEST = 99.5
"""Percentile of the image in the mask at which it is cut: a few bright vessels, or one hot voxel, would take most
histogram bins."""

CT_WINDOW = (-300.0, 1200.0)
"""HU that are looked at: outline to compact bone, without noise in the air around."""

SMOOTHING_VOXELS = 1.5
"""Standard deviation with which a CT is smoothed before information is compared: resampling smooths noise away, which
alone raises mutual information, so that a moved CT would always seem better."""


def smoothed_information(image: Volume, ct: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> float:
    """Mutual information of an image, cut at BRIGHTEST, and its smoothed CT (HU, (z, y, x)) over a bool mask, in nats.

    0 for an empty mask.
    """
    if not inside.any():
        return 0.0
    smooth = gaussian_filter(np.clip(ct.astype(np.float32), *CT_WINDOW), SMOOTHING_VOXELS)
    values = image.voxels[inside]
    return mutual_information(np.minimum(values, np.percentile(values, BRIGHTEST)), smooth[inside])


def mutual_information(image: npt.NDArray[np.generic], ct: npt.NDArray[np.generic], *, bins: int = 64) -> float:
    """Mutual information of two voxel lists in nats: joint histogram, CT cut to CT_WINDOW; 0 for no voxels."""
    if image.size == 0:
        return 0.0
    joint, _, _ = np.histogram2d(image.astype(np.float64), np.clip(ct.astype(np.float64), *CT_WINDOW), bins=bins)
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log(joint[filled] / independent[filled])))
