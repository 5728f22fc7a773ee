"""SSIM of SynthRAD2023, masked (CONTRACT 3.7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from evaluation.metrics.arrays import require_same_volume

__all__ = ["masked_ssim"]

WINDOW = 7
CROP = WINDOW // 2

Array = npt.NDArray[Any]


def masked_ssim(
    reference: Array, prediction: Array, mask: Array, hu_range: tuple[float, float] = (-1024.0, 3000.0)
) -> float | None:
    """Mean over the mask of the structural similarity map, as SynthRAD2023 scored it; no unit, higher is better.

    Both images are clipped to the range, set to its lower end outside the mask and shifted to start at 0; the map has a
    uniform window of 7 voxels and sample covariances; 3 voxels are cut from every side of map and mask.

    Args:
        reference: the CT in HU, three-dimensional, in any axis order.
        prediction: the sCT in HU, same shape.
        mask: voxels > 0 count; same shape.
        hu_range: clip range in HU, its width is the data range.

    Returns:
        1.0 for identical images; None where the cut leaves no voxel of the mask, or an axis is shorter than 7.

    Raises:
        InputError: shapes that differ.
    """
    require_same_volume(reference=reference, prediction=prediction, mask=mask)
    inside = mask > 0
    low, high = hu_range
    cut = (slice(CROP, -CROP),) * 3
    if min(reference.shape) < WINDOW or not inside[cut].any():
        return None
    images = [
        np.where(inside, np.clip(image.astype(np.float32), low, high), np.float32(low)) - np.float32(low)
        for image in (reference, prediction)
    ]
    _, similarity = structural_similarity(*images, win_size=WINDOW, data_range=high - low, full=True)
    return float(similarity[cut][inside[cut]].mean(dtype=np.float64))
