"""MAE, PSNR and MS-SSIM of an sCT against its reference CT, inside a mask (CONTRACT 3.2).

None of the measures depends on the order of the axes, as long as all arrays of one call share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.arrays import in_memory_order, in_threads, require_same_volume
from evaluation.metrics.msssim import both_ms_ssim
from synthct.errors import InputError, UsageError

__all__ = ["ImageSimilarity", "image_similarity", "masked_mae"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageSimilarity:
    """How close an sCT is to its reference, inside the mask M; the definitions are those of CONTRACT 3.2.

    Attributes:
        mae: mean of |reference - prediction| over M in HU, unclipped; lower is better. 0.0 for identical images, None
            for an empty mask and where the sum leaves float64 (values near 1e308).
        psnr: 10 log10(R^2 / MSE) in dB, where both images are clipped to the HU range, R is the width of that range
            and MSE the mean squared difference over M; higher is better. None for an empty mask and where MSE is 0:
            the official program gives infinity there, which JSON cannot hold.
        ms_ssim: masked five-level structural similarity, 0 to 1, higher is better. 1.0 for identical images; None for
            an empty mask and where no mask voxel survives the 3-voxel crop at some level (see `msssim`).
        ms_ssim_strict: the same as it was meant, with luminance at the coarsest level alone (see `both_ms_ssim`); None
            unless it was asked for.
    """

    mae: float | None
    psnr: float | None
    ms_ssim: float | None
    ms_ssim_strict: float | None = None


@dataclass(frozen=True)
class _Differences:
    """Sums over the mask: |g - p| in HU, the squared difference of the clipped images in HU^2, and the voxels."""

    absolute: float
    squared: float
    count: int


def image_similarity(
    reference: Array,
    prediction: Array,
    mask: Array,
    hu_range: tuple[float, float] = (-1024.0, 3071.0),
    threads: int | None = None,
    *,
    strict: bool = False,
) -> ImageSimilarity:
    """MAE, PSNR and MS-SSIM inside a mask, with the official values of SynthRAD2025 (CONTRACT 3.2 and 3.3).

    Args:
        reference: the CT in HU; three-dimensional, in any axis order.
        prediction: the sCT in HU, same shape and axis order.
        mask: voxels > 0 count; same shape and axis order. What lies outside is never looked at.
        hu_range: the range to which PSNR and MS-SSIM clip; the evaluation of 2025 uses [-1024, 3071], its metrics
            repository [-1024, 3000].
        threads: how many work at a time; None for as many as there are processors. The values do not depend on it.
        strict: compute `ms_ssim_strict` as well.

    Returns:
        The values; all None for an empty mask.

    Raises:
        InputError: shapes that differ, arrays that are not three-dimensional, NaN or infinity inside the mask.
        UsageError: a range that is not finite and increasing, or fewer than one thread.
    """
    low, high = hu_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"HU range [{low:g}, {high:g}]: expected two finite values in increasing order")
    require_same_volume(reference=reference, prediction=prediction, mask=mask)
    reference, prediction, mask = in_memory_order(reference, prediction, mask)
    sums = _differences(reference, prediction, mask, hu_range, threads)
    if sums.count == 0:
        return ImageSimilarity(mae=None, psnr=None, ms_ssim=None)
    mse = sums.squared / sums.count
    ms_ssim, ms_ssim_strict = both_ms_ssim(reference, prediction, mask, hu_range, threads, strict=strict)
    return ImageSimilarity(
        mae=_finite_mean(sums.absolute, sums.count),
        psnr=10.0 * math.log10((high - low) ** 2 / mse) if mse > 0.0 else None,
        ms_ssim=ms_ssim,
        ms_ssim_strict=ms_ssim_strict,
    )


def masked_mae(reference: Array, prediction: Array, where: Array) -> float | None:
    """Mean of |reference - prediction| in HU over the voxels where `where` > 0, unclipped (CONTRACT 3.2, mae).

    With `where = labels == label` this is the MAE of one tissue. None where no voxel is chosen. Raises InputError as
    `image_similarity` does.
    """
    require_same_volume(reference=reference, prediction=prediction, where=where)
    reference, prediction, where = in_memory_order(reference, prediction, where)
    sums = _differences(reference, prediction, where, None, None)
    return _finite_mean(sums.absolute, sums.count)


def _differences(
    reference: Array, prediction: Array, mask: Array, hu_range: tuple[float, float] | None, threads: int | None
) -> _Differences:
    """One pass over the planes; without a range the squares are left at 0. Sums of integers are exact."""

    def plane_sums(plane: int) -> tuple[float, float, int]:
        chosen = mask[plane] > 0
        g = reference[plane][chosen].astype(np.float64)
        p = prediction[plane][chosen].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = g - p
            absolute = float(np.abs(difference, out=difference).sum())
        if not math.isfinite(absolute):
            _require_finite(reference=g, prediction=p)
        if hu_range is None:
            return absolute, 0.0, g.size
        np.subtract(g.clip(*hu_range, out=g), p.clip(*hu_range, out=p), out=difference)
        return absolute, float(np.square(difference, out=difference).sum()), g.size

    planes = in_threads(plane_sums, range(len(reference)), threads)
    return _Differences(
        absolute=sum(absolute for absolute, _, _ in planes),
        squared=sum(squared for _, squared, _ in planes),
        count=sum(count for _, _, count in planes),
    )


def _finite_mean(total: float, count: int) -> float | None:
    """The mean; None for no voxels and for a sum that overflowed."""
    return total / count if count and math.isfinite(total) else None


def _require_finite(**values: Array) -> None:
    """Refuse NaN and infinity among the masked voxels of one plane."""
    for name, chosen in values.items():
        if not np.isfinite(chosen).all():
            bad = int(np.count_nonzero(~np.isfinite(chosen)))
            raise InputError(f"{name} holds NaN or infinity inside the mask ({bad} voxels in the first such plane)")
