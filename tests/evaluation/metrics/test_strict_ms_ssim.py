"""The strict MS-SSIM against its own formula, written out plainly with SciPy on whole volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import uniform_filter

from evaluation.metrics import image_similarity, masked_ms_ssim
from evaluation.metrics.msssim import LEVEL_WEIGHTS, both_ms_ssim, downsample

Array = npt.NDArray[Any]
RANGE = (-1024.0, 3071.0)
WIDTH = RANGE[1] - RANGE[0]
SHAPE = (100, 104, 98)


def images(seed: int = 1) -> tuple[Array, Array]:
    z, y, x = np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij")
    g = 600 * np.sin(x / 9.0) * np.cos(y / 11.0) + 200 * np.sin(z / 5.0)
    p = g + np.random.default_rng(seed).normal(0, 60, SHAPE) + 40
    return np.rint(g).astype(np.int16), np.rint(p).astype(np.int16)


def block(low: int, high: int) -> Array:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[low:high, low:high, low:high] = 1
    return mask


def plainly(g: Array, p: Array, mask: Array) -> float:
    """Five levels; contrast and structure at each, luminance at the last that has a voxel."""
    g, p = (np.where(mask > 0, np.clip(image.astype(float), *RANGE), RANGE[0]) - RANGE[0] for image in (g, p))
    maps = []
    for weight in LEVEL_WEIGHTS:
        means = [uniform_filter(image, 7) for image in (g, p, g * g, p * p, g * p)]
        sample = 343 / 342
        variances = sample * (means[2] + means[3] - means[0] ** 2 - means[1] ** 2)
        covariance = sample * (means[4] - means[0] * means[1])
        c1, c2 = (0.01 * WIDTH) ** 2, (0.03 * WIDTH) ** 2
        contrast = np.maximum(2 * covariance + c2, 0) / (variances + c2)
        luminance = (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
        inside = mask[3:-3, 3:-3, 3:-3] > 0
        maps.append((weight, contrast[3:-3, 3:-3, 3:-3][inside], luminance[3:-3, 3:-3, 3:-3][inside]))
        g, p, mask = downsample(g), downsample(p), mask[::2, ::2, ::2]
    kept = [level for level in maps if level[1].size]
    share = sum(weight for weight, _, _ in kept) / sum(LEVEL_WEIGHTS)
    result = 1.0
    for number, (weight, contrast, luminance) in enumerate(kept, start=1):
        values = contrast * luminance if number == len(kept) else contrast
        result *= float(np.mean(values ** (weight / share)))
    return result


def test_equals_its_formula_and_differs_from_the_official_value() -> None:
    g, p = images()
    mask = block(20, 80)
    official, strict = both_ms_ssim(g, p, mask, RANGE)
    assert strict == pytest.approx(plainly(g, p, mask), abs=1e-12)
    assert official == masked_ms_ssim(g, p, mask, RANGE)
    assert strict is not None
    assert official is not None
    assert strict > official  # luminance can only lower a level's map


def test_a_constant_shift_costs_at_the_coarsest_level_only() -> None:
    g, _ = images()
    official, strict = both_ms_ssim(g, (g + 300).astype(np.int16), block(20, 80), RANGE)
    assert official is not None
    assert strict is not None
    assert 0.0 < official < strict < 1.0


def test_levels_without_a_voxel_are_left_out() -> None:
    g, p = images()
    corner = block(0, 8)  # levels 0 and 1 keep a voxel three voxels from each face; the others do not
    official, strict = both_ms_ssim(g, p, corner, RANGE)
    assert official is None
    assert strict == pytest.approx(plainly(g, p, corner), abs=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_number_of_threads_changes_nothing(threads: int) -> None:
    g, p = images(seed=2)
    assert both_ms_ssim(g, p, block(10, 90), RANGE, threads) == both_ms_ssim(g, p, block(10, 90), RANGE, 3)


def test_nothing_to_measure_has_no_value() -> None:
    g, p = images()
    assert both_ms_ssim(g, p, block(0, 0), RANGE) == (None, None)
    assert both_ms_ssim(g, p, block(0, 2), RANGE) == (None, None)


def test_only_where_it_is_asked_for() -> None:
    g, p = images()
    plain = image_similarity(g, p, block(20, 80))
    asked = image_similarity(g, p, block(20, 80), strict=True)
    assert plain.ms_ssim_strict is None
    assert asked.ms_ssim_strict == both_ms_ssim(g, p, block(20, 80), RANGE)[1]
    assert (plain.mae, plain.psnr, plain.ms_ssim) == (asked.mae, asked.psnr, asked.ms_ssim)


def test_identical_images_give_one() -> None:
    g, _ = images()
    assert both_ms_ssim(g, g, block(20, 80), RANGE) == (1.0, 1.0)
