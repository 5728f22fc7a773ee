"""The yardstick of the benchmarks gives the golden numbers of CONTRACT 3.3, and what a person can work out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.official_way import dice_and_hd95, image_metrics, nsd_surfel, nsd_voxel
from evaluation.metrics import image_similarity

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]

GOLDEN = {  # (case, shape): mae, (psnr, ms_ssim) up to 3071, (psnr, ms_ssim) up to 3000
    ("hash", (100, 80, 40)): (25.2472800926, (42.9568954643, 0.9997844807), (42.8049767833, 0.9997838826)),
    ("hash", (128, 112, 104)): (25.2475490196, (42.9568558385, 0.9997449362), (42.8049371575, 0.9997441970)),
    ("smooth", (100, 80, 40)): (20.9992476852, (44.0358511635, 0.9986122552), (43.8839324826, 0.9985959751)),
    ("smooth", (128, 112, 104)): (20.9262702677, (44.0519058058, 0.9968717738), (43.8999871248, 0.9968243767)),
}


def golden_pair(case: str, shape: Shape) -> tuple[Array, Array, Array]:
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    if case == "hash":
        g = (37 * x + 91 * y + 53 * z) % 2000 - 1000
        p = g + (13 * x + 7 * y + 29 * z) % 101 - 50
    else:
        x, y, z = x / shape[0], y / shape[1], z / shape[2]
        g = np.rint(800 * np.sin(6 * x) * np.cos(5 * y) + 300 * np.sin(4 * z))
        p = np.rint(g + 60 * np.sin(40 * x) * np.sin(33 * y) * np.cos(21 * z) + 15)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 5, n - n // 5) for n in shape)] = 1
    return g.astype(np.int16), p.astype(np.int16), mask


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
