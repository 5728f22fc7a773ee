"""The image columns of a row: the official values, and beside them strict ones that no anomaly can hide in.

The official program lets NaN and infinity through, which the platform reads as null (CONTRACT 2.6, 3.6; ANCHORS 6.1):
mae, psnr and ms_ssim hold None there. The strict columns put it right:

* mae_strict, psnr_strict, ms_ssim_strict: a voxel of the sCT that is no finite number counts as the end of the HU range
  that lies farther from the CT. `n_nonfinite` counts such voxels inside the mask.
* psnr_strict: the mean squared error is not taken below 1/12 HU^2, the error of rounding to whole HU; an sCT that
  equals its CT gets a number (83.0 dB for [-1024, 3071]) instead of infinity.
* ms_ssim_strict: luminance counts at the coarsest level alone, as the measure was meant; levels at which no mask voxel
  survives the 3-voxel crop are left out and the other weights scaled to their sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics import image_similarity, masked_ssim

__all__ = ["HU_RANGES", "SMALLEST_MSE", "image_columns", "repaired"]

HU_RANGES = {"synthrad2025": (-1024.0, 3071.0), "synthrad2023": (-1024.0, 3000.0)}
"""Range that PSNR and (MS-)SSIM clip to, by protocol (CONTRACT 3.2, 3.7)."""

SMALLEST_MSE = 1.0 / 12.0
"""Variance in HU^2 of what rounding to whole HU takes away."""

Array = npt.NDArray[Any]


def image_columns(
    reference: Array, prediction: Array, mask: Array, protocol: str, *, threads: int | None = None
) -> dict[str, float | int | None]:
    """Score the voxels of an sCT inside the mask.

    Args:
        reference: CT in HU, (z, y, x), finite.
        prediction: sCT in HU, same shape; may hold NaN and infinity.
        mask: voxels > 0 count.
        protocol: synthrad2025 or synthrad2023; the latter adds ssim.
        threads: at most so many; None for all usable cores.

    Returns:
        mae (HU), psnr (dB), ms_ssim, under synthrad2023 ssim, then the strict three and n_nonfinite.
    """
    hu_range = HU_RANGES[protocol]
    whole = repaired(prediction, reference, hu_range)
    broken = 0 if whole is prediction else int(np.count_nonzero(~np.isfinite(prediction) & (mask > 0)))
    image = image_similarity(reference, whole, mask, hu_range, threads=threads, strict=True)
    official: dict[str, float | int | None] = {"mae": image.mae, "psnr": image.psnr, "ms_ssim": image.ms_ssim}
    if protocol == "synthrad2023":
        official["ssim"] = masked_ssim(reference, whole, mask, hu_range)
    if broken:
        official = dict.fromkeys(official)
    psnr = image.psnr
    if image.mae is not None:
        ceiling = 10.0 * math.log10((hu_range[1] - hu_range[0]) ** 2 / SMALLEST_MSE)
        psnr = ceiling if psnr is None else min(psnr, ceiling)
    return {
        **official,
        "mae_strict": image.mae,
        "psnr_strict": psnr,
        "ms_ssim_strict": image.ms_ssim_strict,
        "n_nonfinite": broken,
    }


def repaired(prediction: Array, reference: Array, hu_range: tuple[float, float]) -> Array:
    """The sCT with every NaN and infinity replaced by the end of the range that is farther from the CT.

    Returns:
        The same array where all voxels are finite, a copy otherwise.
    """
    if prediction.dtype.kind != "f":
        return prediction
    finite = np.isfinite(prediction)
    if finite.all():
        return prediction
    low, high = hu_range
    worst = np.where(reference > (low + high) / 2, low, high).astype(prediction.dtype)
    return np.where(finite, prediction, worst)
