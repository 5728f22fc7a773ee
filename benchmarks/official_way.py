"""The scores of the SynthRAD2025 evaluation in the official program's way: whole volumes, float64, general libraries.

It is the oracle and the yardstick of `benchmarks/evaluation.py`: written from the text of CONTRACT 3.2 and 3.5, with
the libraries that the official program calls, and with no attempt at speed. Arrays may have any one axis order, the
spacing follows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

if TYPE_CHECKING:
    import torch

__all__ = ["OfficialImageMetrics", "dice_and_hd95", "image_metrics", "nsd_surfel", "nsd_voxel"]

Array = npt.NDArray[Any]

WINDOW, CROP, SHORTEST_AXIS = 7, 3, 97
LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@dataclass(frozen=True)
class OfficialImageMetrics:
    """Scores inside the mask, and the MS-SSIM of the whole volume, which the official program computes and drops."""

    mae: float
    psnr: float
    ms_ssim: float
    ms_ssim_unmasked: float


def image_metrics(
    reference: Array, prediction: Array, mask: Array, hu_range: tuple[float, float] = (-1024.0, 3071.0)
) -> OfficialImageMetrics:
    """MAE in HU, PSNR in dB and both values of MS-SSIM (CONTRACT 3.2); NaN for an empty mask."""
    low, high = hu_range
    inside = mask > 0
    reference, prediction = np.where(inside, reference, -1024), np.where(inside, prediction, -1024)
    weights = inside.astype(np.float64)
    mae = float(np.sum(np.abs(reference * weights - prediction * weights)) / weights.sum())
    reference, prediction = np.clip(reference, low, high), np.clip(prediction, low, high)
    mse = np.mean((reference[inside] - prediction[inside]) ** 2, dtype=np.float64)
    with np.errstate(divide="ignore"):
        psnr = float(10.0 * np.log10((high - low) ** 2 / mse))
    masked, unmasked = _ms_ssim(
        np.where(inside, reference, low) - low, np.where(inside, prediction, low) - low, inside, high - low
    )
    return OfficialImageMetrics(mae=mae, psnr=psnr, ms_ssim=masked, ms_ssim_unmasked=unmasked)


def _ms_ssim(g: Array, p: Array, inside: Array, width: float) -> tuple[float, float]:
    """MS-SSIM over the mask and over everything; NaN where the crop leaves no voxel at some level."""
    missing = [max(SHORTEST_AXIS - length, 0) for length in g.shape]
    padding = [(count // 2, count - count // 2) for count in missing]
    g, p, inside = (np.pad(array, padding, mode="edge") for array in (g, p, inside))
    cut = (slice(CROP, -CROP),) * 3
    halving = np.full((2, 2, 2), 1.0 / 8.0)
    masked, unmasked = 1.0, 1.0
    for weight in LEVEL_WEIGHTS:
        similarity = _similarity(g, p, width, weight)[cut]
        chosen = similarity[inside[cut]]
        masked *= float(np.clip(chosen.mean(), 0.0, 1.0)) if chosen.size else float("nan")
        unmasked *= float(np.clip(similarity.mean(), 0.0, 1.0))
        g, p = (fftconvolve(image, halving, mode="same")[::2, ::2, ::2] for image in (g, p))
        inside = inside[::2, ::2, ::2]
    return masked, unmasked


def _similarity(g: Array, p: Array, width: float, weight: float) -> Array:
    """Product of luminance, contrast and structure, each to the power of the weight (CONTRACT 3.2, step 3)."""
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    sample = WINDOW**3 / (WINDOW**3 - 1)
    mean_g, mean_p = uniform_filter(g, WINDOW), uniform_filter(p, WINDOW)
    variance_g = sample * (uniform_filter(g * g, WINDOW) - mean_g * mean_g)
    variance_p = sample * (uniform_filter(p * p, WINDOW) - mean_p * mean_p)
    covariance = sample * (uniform_filter(g * p, WINDOW) - mean_g * mean_p)
    deviations = np.sqrt(np.maximum(variance_g, 0.0)) * np.sqrt(np.maximum(variance_p, 0.0))
    luminance = (2.0 * mean_g * mean_p + c1) / (mean_g**2 + mean_p**2 + c1)
    contrast = (2.0 * deviations + c2) / (variance_g + variance_p + c2)
    structure = (covariance + c2 / 2.0) / (deviations + c2 / 2.0)
    product = np.maximum(luminance, 0.0) ** weight * np.maximum(contrast, 0.0) ** weight
    similarity: Array = product * np.maximum(structure, 0.0) ** weight
    return similarity


def dice_and_hd95(
    reference_labels: Array, prediction_labels: Array, labels: Iterable[int], spacing: tuple[float, float, float]
) -> dict[int, tuple[float, float]]:
    """Dice and HD95 in mm of each label that the reference holds, one after the other (CONTRACT 3.5).

    Dice is 0 and HD95 NaN for a structure that the prediction misses.
    """
    from monai.metrics.hausdorff_distance import HausdorffDistanceMetric
    from monai.metrics.meandice import DiceMetric

    scores = {}
    for label in _present(reference_labels, labels):
        pair = _binary(prediction_labels, label), _binary(reference_labels, label)
        dice = DiceMetric(include_background=True)
        distance = HausdorffDistanceMetric(include_background=True, percentile=95)
        with _quiet_monai():
            scores[label] = _number(dice(*pair)), _number(distance(*pair, spacing=spacing))
    return scores


def nsd_voxel(
    reference_labels: Array,
    prediction_labels: Array,
    labels: Iterable[int],
    spacing: tuple[float, float, float],
    tolerance_mm: float = 2.0,
) -> dict[int, float]:
    """Surface Dice of each label that the reference holds, where every surface voxel counts once (MONAI's default)."""
    return _surface_dice(reference_labels, prediction_labels, labels, spacing, tolerance_mm, subvoxels=False)


def nsd_surfel(
    reference_labels: Array,
    prediction_labels: Array,
    labels: Iterable[int],
    spacing: tuple[float, float, float],
    tolerance_mm: float = 2.0,
) -> dict[int, float]:
    """Surface Dice of each label that the reference holds, where surface elements count with their area in mm^2."""
    return _surface_dice(reference_labels, prediction_labels, labels, spacing, tolerance_mm, subvoxels=True)


def _surface_dice(
    reference_labels: Array,
    prediction_labels: Array,
    labels: Iterable[int],
    spacing: tuple[float, float, float],
    tolerance_mm: float,
    *,
    subvoxels: bool,
) -> dict[int, float]:
    from monai.metrics.surface_dice import SurfaceDiceMetric

    scores = {}
    for label in _present(reference_labels, labels):
        metric = SurfaceDiceMetric([tolerance_mm], include_background=True, use_subvoxels=subvoxels)
        pair = _binary(prediction_labels, label), _binary(reference_labels, label)
        with _quiet_monai():
            scores[label] = _number(metric(*pair, spacing=spacing))
    return scores


def _number(score: Any) -> float:  # noqa: ANN401 - MONAI's own type also covers sequences of tensors
    """The one element of a metric's tensor."""
    return float(score)


@contextmanager
def _quiet_monai() -> Iterator[None]:
    """Without MONAI's warnings of absent structures and of an argument that it passes to itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the (prediction|ground truth) of class 0 is all 0")
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        yield


def _present(reference_labels: Array, labels: Iterable[int]) -> list[int]:
    """The labels with at least one voxel; the others are skipped."""
    return [label for label in labels if np.any(reference_labels == label)]


def _binary(label_map: Array, label: int) -> torch.Tensor:
    """A float tensor of shape (1, 1, ...) with 1 where the label is."""
    import torch

    return torch.from_numpy((label_map == label).astype(np.float32))[None, None]
