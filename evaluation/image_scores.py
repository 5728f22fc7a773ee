"""The image columns of a row: the official values, and beside them strict ones that no anomaly can hide in.

The official program lets NaN and infinity through, which the platform reads as null (CONTRACT 2.6, 3.6; ANCHORS 6.1):
mae, psnr and ms_ssim hold None there. The strict columns put it right:

* A voxel of the sCT that is no number of HU (NaN, infinity, or beyond int16, the type of an sCT) counts as the end of
  the HU range that lies farther from the CT. `n_nonfinite` counts such voxels inside the mask.
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

LARGEST_HU = 32768.0
"""Beyond it a voxel is no HU: an sCT is int16 (CONTRACT 1.5)."""

Array = npt.NDArray[Any]
Columns = dict[str, float | int | None]


def image_columns(
    reference: Array, prediction: Array, mask: Array, protocol: str, *, threads: int | None = None
) -> Columns:
    """Score the voxels of an sCT inside the mask.

    Args:
        reference: CT in HU, (z, y, x), finite.
        prediction: sCT in HU, same shape; may hold NaN and infinity.
        mask: voxels > 0 count.
        protocol: synthrad2025 or synthrad2023; the latter adds ssim.
        threads: at most so many; None for all usable cores.

    Returns:
        mae (HU), psnr (dB), ms_ssim, under synthrad2023 ssim; the same with _strict behind; n_nonfinite.
    """
    hu_range = HU_RANGES[protocol]
    whole = repaired(prediction, reference, hu_range)
    values, ms_ssim_strict = _values(reference, whole, mask, protocol, threads)
    strict = {f"{name}_strict": value for name, value in values.items()} | {"ms_ssim_strict": ms_ssim_strict}
    psnr = values["psnr"]
    if values["mae"] is not None:
        ceiling = 10.0 * math.log10((hu_range[1] - hu_range[0]) ** 2 / SMALLEST_MSE)
        strict["psnr_strict"] = ceiling if psnr is None else min(psnr, ceiling)
    broken = 0
    if whole is not prediction:
        broken = int(np.count_nonzero(_is_no_hu(prediction) & (mask > 0)))
        values = _official(reference, prediction, mask, protocol, threads)
    return {**values, **strict, "n_nonfinite": broken}


def repaired(prediction: Array, reference: Array, hu_range: tuple[float, float]) -> Array:
    """The sCT with every voxel that is no HU replaced by the end of the range that is farther from the CT.

    Returns:
        The same array where all voxels are HU, a copy otherwise.
    """
    if prediction.dtype in (np.int16, np.uint8, np.int8):
        return prediction
    broken = _is_no_hu(prediction)
    if not broken.any():
        return prediction
    low, high = hu_range
    worst = np.where(reference > (low + high) / 2, low, high).astype(prediction.dtype)
    return np.where(broken, worst, prediction)


def _is_no_hu(voxels: Array) -> npt.NDArray[np.bool_]:
    return ~((voxels >= -LARGEST_HU) & (voxels <= LARGEST_HU))


def _values(
    reference: Array, prediction: Array, mask: Array, protocol: str, threads: int | None, *, strict: bool = True
) -> tuple[Columns, float | None]:
    """The official columns of finite images, and ms_ssim_strict."""
    hu_range = HU_RANGES[protocol]
    image = image_similarity(reference, prediction, mask, hu_range, threads=threads, strict=strict)
    values: Columns = {"mae": image.mae, "psnr": image.psnr, "ms_ssim": image.ms_ssim}
    if protocol == "synthrad2023":
        values["ssim"] = masked_ssim(reference, prediction, mask, hu_range)
    return values, image.ms_ssim_strict


def _official(reference: Array, prediction: Array, mask: Array, protocol: str, threads: int | None) -> Columns:
    """What the official formulas give for an sCT with odd voxels: NaN spoils every value, infinity only the mae."""
    chosen = prediction[mask > 0]
    clipped = np.nan_to_num(prediction, nan=0.0, posinf=HU_RANGES[protocol][1], neginf=HU_RANGES[protocol][0])
    values, _ = _values(reference, clipped, mask, protocol, threads, strict=False)
    if np.isnan(chosen).any():
        return dict.fromkeys(values)
    return {**values, "mae": None} if np.isinf(chosen).any() else values
