"""The yardstick of the benchmarks gives the golden numbers of CONTRACT 3.3, and what a person can work out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from golden_numbers import GOLDEN, Shape, golden_pair

from benchmarks.official_way import dice_and_hd95, image_metrics, nsd_surfel, nsd_voxel
from evaluation.metrics import image_similarity

Array = npt.NDArray[Any]


def box(shape: Shape, *sides: tuple[int, int], label: int = 1) -> Array:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(*side) for side in sides)] = label
    return labels


@pytest.mark.parametrize(("case", "shape"), GOLDEN)
@pytest.mark.parametrize("upper", [3071.0, 3000.0])
def test_golden_image_metrics(case: str, shape: Shape, upper: float) -> None:
    mae, official, metrics_repository = GOLDEN[case, shape]
    psnr, ms_ssim = official if upper == 3071.0 else metrics_repository
    found = image_metrics(*golden_pair(case, shape), hu_range=(-1024.0, upper))
    assert found.mae == pytest.approx(mae, abs=1e-6)
    assert found.psnr == pytest.approx(psnr, abs=1e-6)
    assert found.ms_ssim == pytest.approx(ms_ssim, abs=1e-6)


def test_both_ms_ssim_agree_where_the_mask_is_everything() -> None:
    g, p, mask = golden_pair("smooth", (100, 97, 98))
    whole = image_metrics(g, p, np.ones_like(mask))
    assert whole.ms_ssim == pytest.approx(whole.ms_ssim_unmasked, abs=1e-12)
    part = image_metrics(g, p, mask)
    assert part.ms_ssim_unmasked > part.ms_ssim  # outside the mask both images are equal


def test_undefined_values_are_those_of_the_official_program() -> None:
    g, _, mask = golden_pair("hash", (100, 80, 40))
    identical = image_metrics(g, g, mask)
    assert (identical.mae, identical.psnr) == (0.0, math.inf)
    corner = box((100, 100, 100), (0, 8), (0, 8), (0, 8))
    assert math.isnan(image_metrics(corner, corner * 2, corner).ms_ssim)
    assert image_similarity(corner, corner * 2, corner).ms_ssim is None


def test_clipping_spares_the_mae() -> None:
    reference = np.zeros((100, 100, 100), np.int16)
    prediction = reference.copy()
    prediction[50, 50, 50] = 4000
    prediction[0, 0, 0] = 4000
    mask = box(reference.shape, (45, 55), (50, 51), (50, 51))
    found = image_metrics(reference, prediction, mask)
    assert found.mae == 400.0
    assert found.psnr == pytest.approx(10 * math.log10(4095**2 / (3071**2 / 10)), abs=1e-9)


def test_golden_boxes() -> None:
    reference = box((40, 40, 20), (10, 20), (10, 20), (5, 12))
    prediction = box((40, 40, 20), (11, 22), (9, 20), (5, 14))
    dice, hd95 = dice_and_hd95(reference, prediction, [1], (1.0, 1.0, 3.0))[1]
    assert dice == pytest.approx(0.7043041, abs=1e-6)
    assert hd95 == pytest.approx(6.0827627, abs=1e-6)


@pytest.mark.parametrize(("axis", "distance"), [(0, 2.0), (1, 2.0), (2, 6.0)])
def test_spacing_follows_the_axes(axis: int, distance: float) -> None:
    reference = box((20, 20, 20), (5, 15), (5, 15), (5, 15), label=7)
    prediction = np.roll(reference, 2, axis)
    assert dice_and_hd95(reference, prediction, [7], (1.0, 1.0, 3.0))[7][1] == distance


def test_surface_dice_by_hand() -> None:
    reference = box((20, 20, 20), (5, 15), (5, 15), (5, 15))
    prediction = np.roll(reference, 2, 2)
    for nsd in (nsd_voxel, nsd_surfel):
        assert nsd(reference, reference, [1], (1.0, 1.0, 3.0))[1] == 1.0
        assert nsd(reference, prediction, [1], (1.0, 1.0, 3.0), 6.0)[1] == 1.0
        assert 0.0 < nsd(reference, prediction, [1], (1.0, 1.0, 3.0), 2.0)[1] < 1.0
    # a single plane: every voxel lies on the surface, and the neighbouring plane is 3 mm away
    plane = box((9, 9, 9), (2, 7), (2, 7), (4, 5))
    assert nsd_voxel(plane, np.roll(plane, 1, 2), [1], (1.0, 1.0, 3.0), 2.9)[1] == 0.0
    assert nsd_voxel(plane, np.roll(plane, 1, 2), [1], (1.0, 1.0, 3.0), 3.0)[1] == 1.0


def test_absent_structures() -> None:
    reference = box((12, 12, 12), (2, 6), (2, 6), (2, 6), label=3)
    scores = dice_and_hd95(reference, np.zeros_like(reference), [2, 3], (1.0, 1.0, 1.0))
    assert list(scores) == [3]  # what the reference lacks is skipped
    assert scores[3][0] == 0.0
    assert math.isnan(scores[3][1])
    assert dice_and_hd95(np.zeros_like(reference), reference, [3], (1.0, 1.0, 1.0)) == {}
