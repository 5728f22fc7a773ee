"""MAE, PSNR, MS-SSIM: the golden numbers of CONTRACT 3.3, and shapes that a person can work out by hand."""

from __future__ import annotations

import itertools
import math
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from golden_numbers import GOLDEN, Shape, golden_pair
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import evaluation.metrics
from evaluation.metrics import ImageSimilarity, image_similarity, masked_mae
from evaluation.metrics.arrays import in_threads
from synthct.errors import InputError, UsageError

Array = npt.NDArray[Any]


@pytest.mark.parametrize(("case", "shape"), GOLDEN)
@pytest.mark.parametrize("upper", [3071.0, 3000.0])
def test_golden_numbers(case: str, shape: Shape, upper: float) -> None:
    mae, official, metrics_repository = GOLDEN[case, shape]
    psnr, ms_ssim = official if upper == 3071.0 else metrics_repository
    found = image_similarity(*golden_pair(case, shape), hu_range=(-1024.0, upper))
    # ten decimals are given, so half a unit of the tenth is all that may differ, besides rounding
    assert found.mae == pytest.approx(mae, abs=1e-10)
    assert found.psnr == pytest.approx(psnr, abs=1e-10)
    assert found.ms_ssim == pytest.approx(ms_ssim, abs=1e-10)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_axis_order_does_not_matter(axes: tuple[int, ...]) -> None:
    arrays = golden_pair("smooth", (100, 80, 40))
    plain = image_similarity(*arrays)
    views = [array.transpose(axes) for array in arrays]
    assert image_similarity(*views) == plain
    copies = [np.ascontiguousarray(view) for view in views]
    copied = image_similarity(*copies)
    assert (copied.mae, copied.psnr) == (plain.mae, plain.psnr)
    assert copied.ms_ssim == pytest.approx(plain.ms_ssim, abs=1e-13)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64, ">i2"])
def test_dtypes_agree(dtype: Any) -> None:
    g, p, mask = golden_pair("hash", (100, 80, 40))
    plain = image_similarity(g, p, mask)
    for pair in ((g.astype(dtype), p.astype(dtype)), (g, p.astype(dtype))):
        assert image_similarity(*pair, mask) == plain
    assert image_similarity(g, p, mask.astype(dtype) * 7) == plain
    assert image_similarity(g, p, mask.astype(bool)) == plain


def test_unsigned_images() -> None:
    g, p, mask = (array.astype(np.uint16) for array in golden_pair("hash", (100, 80, 40)))
    g, p = g % 2000, p % 2000
    assert image_similarity(g, p, mask) == image_similarity(g.astype(float), p.astype(float), mask)


def test_by_hand() -> None:
    reference = np.zeros((100, 100, 100), np.int16)
    prediction = reference.copy()
    mask = np.zeros(reference.shape, np.uint8)
    mask[50, 50, 40:50] = 1
    prediction[50, 50, 40] = 4000  # clipped to 3071 for PSNR, not for MAE
    prediction[50, 50, 41] = -2000  # clipped to -1024
    prediction[0, 0, 0] = 12345  # outside the mask
    found = image_similarity(reference, prediction, mask)
    assert found.mae == 600.0
    assert found.psnr == pytest.approx(10 * math.log10(4095**2 / ((3071**2 + 1024**2) / 10)), abs=1e-12)


def test_masked_mae_by_hand() -> None:
    reference = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    prediction = reference + np.array([1, -3, 0, 0, 0, 0, 0, 8], np.int16).reshape(2, 2, 2)
    labels = np.array([1, 1, 2, 2, 2, 0, 0, 0]).reshape(2, 2, 2)
    assert masked_mae(reference, prediction, labels == 1) == 2.0
    assert masked_mae(reference, prediction, labels == 2) == 0.0
    assert masked_mae(reference, prediction, np.ones_like(labels)) == 1.5
    assert masked_mae(reference, prediction, labels == 3) is None


def test_extreme_int16_values_do_not_wrap() -> None:
    reference = np.full((4, 4, 4), -32768, np.int16)
    prediction = np.full((4, 4, 4), 32767, np.int16)
    assert masked_mae(reference, prediction, np.ones((4, 4, 4))) == 65535.0


def test_undefined_values_are_none() -> None:
    g, p, mask = golden_pair("hash", (100, 80, 40))
    assert image_similarity(g, p, mask * 0) == ImageSimilarity(mae=None, psnr=None, ms_ssim=None)
    identical = image_similarity(g, g, mask)
    assert (identical.mae, identical.psnr) == (0.0, None)
    assert identical.ms_ssim == pytest.approx(1.0, abs=1e-12)
    corner = np.zeros_like(mask, shape=(100, 100, 100))
    corner[:8, :8, :8] = 1
    found = image_similarity(corner, corner + np.uint8(1), corner)
    assert (found.mae, found.ms_ssim) == (1.0, None)
    assert masked_mae(*(np.zeros((0, 4, 4)),) * 3) is None
    huge = np.full((2, 2, 2), 1e308)
    assert masked_mae(huge, -huge, huge) is None


@pytest.mark.parametrize("name", ["reference", "prediction"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_inside_the_mask_only(name: str, bad: float) -> None:
    g, p, mask = golden_pair("hash", (100, 80, 40))
    images = {"reference": g.astype(np.float32), "prediction": p.astype(np.float32)}
    images[name][0, 0, 0] = bad
    assert image_similarity(**images, mask=mask) == image_similarity(g, p, mask)
    images[name][50, 40, 20] = bad
    with pytest.raises(InputError, match=rf"^{name} holds NaN or infinity inside the mask") as refusal:
        image_similarity(**images, mask=mask)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match=name):
        masked_mae(**images, where=mask)


def test_shapes_and_dtypes_are_checked() -> None:
    cube = np.zeros((3, 4, 5))
    with pytest.raises(InputError, match=r"reference \(3, 4, 5\), prediction \(3, 4, 6\), mask \(3, 4, 5\)"):
        image_similarity(cube, np.zeros((3, 4, 6)), cube)
    with pytest.raises(InputError, match=r"three-dimensional.*mask \(4, 5\)"):
        image_similarity(cube[0], cube[0], cube[0])
    with pytest.raises(InputError, match="prediction holds complex128"):
        image_similarity(cube, cube.astype(complex), cube)
    with pytest.raises(InputError, match="where"):
        masked_mae(cube, cube, cube[0])


@pytest.mark.parametrize("hu_range", [(0.0, 0.0), (10.0, -10.0), (math.nan, 1.0), (-math.inf, 0.0)])
def test_the_range_is_checked(hu_range: tuple[float, float]) -> None:
    cube = np.zeros((3, 4, 5))
    with pytest.raises(UsageError, match="HU range"):
        image_similarity(cube, cube, cube, hu_range)


images = hnp.arrays(np.int16, (5, 6, 7), elements=st.integers(-1500, 3500))


@settings(max_examples=40, deadline=None)
@given(g=images, p=images, mask=hnp.arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 2)))
def test_mae_and_psnr_equal_the_formula(g: Array, p: Array, mask: Array) -> None:
    found = image_similarity(g, p, mask)
    inside = mask > 0
    if not inside.any():
        assert found == ImageSimilarity(mae=None, psnr=None, ms_ssim=None)
        return
    assert found.mae == pytest.approx(np.abs(g.astype(float) - p)[inside].mean())
    mse = ((g.clip(-1024, 3071).astype(float) - p.clip(-1024, 3071)) ** 2)[inside].mean()
    assert found.psnr == (pytest.approx(10 * np.log10(4095**2 / mse)) if mse else None)
    assert image_similarity(p, g, mask).mae == found.mae


@pytest.mark.parametrize("shape", [(100, 80, 40), (128, 112, 104), (3, 260, 101)])
def test_the_number_of_threads_changes_no_bit(shape: Shape) -> None:
    arrays = golden_pair("smooth", shape)
    alone = image_similarity(*arrays, threads=1)
    for threads in (2, 3, 8, None):
        assert image_similarity(*arrays, threads=threads) == alone


def test_threads_must_be_meant() -> None:
    arrays = golden_pair("hash", (10, 10, 10))
    for threads in (0, -2):
        with pytest.raises(UsageError, match=f"{threads} threads: expected at least 1"):
            image_similarity(*arrays, threads=threads)


def test_infinity_in_both_images_is_refused_too() -> None:
    g, p, mask = golden_pair("hash", (100, 80, 40))
    images = [g.astype(np.float64), p.astype(np.float64)]
    for image in images:
        image[50, 40, 20] = math.inf  # the difference is NaN, not infinity
    with pytest.raises(InputError, match="reference holds NaN or infinity"):
        image_similarity(*images, mask)


def test_an_integer_and_a_fractional_image_keep_the_fractions() -> None:
    g, p, mask = golden_pair("smooth", (100, 80, 40))
    fractional = p + np.random.default_rng(0).uniform(-0.5, 0.5, p.shape)
    expected = image_similarity(g.astype(np.float64), fractional, mask)
    for reference, prediction in ((g, fractional), (fractional, g)):
        found = image_similarity(reference, prediction, mask)
        assert found.mae == pytest.approx(expected.mae, abs=1e-10)
        assert found.psnr == pytest.approx(expected.psnr, abs=1e-10)
        assert found.ms_ssim == pytest.approx(expected.ms_ssim, abs=1e-12)
    assert image_similarity(g, p, mask).ms_ssim != pytest.approx(expected.ms_ssim, abs=1e-9)


def test_results_of_threads_stand_in_the_order_of_the_items() -> None:
    def work(item: float) -> float:
        time.sleep(item / 1000)
        if item == 7:
            raise InputError("seven")
        if item == 3:
            raise InputError("three")
        return item

    assert in_threads(work, [20, 10, 0, 5], threads=4) == [20, 10, 0, 5]
    assert in_threads(work, [], threads=4) == []
    for threads in (1, 4):
        with pytest.raises(InputError, match="seven"):  # the first of the list, though the other is faster
            in_threads(work, [1, 7, 3, 2], threads)


def test_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20.0)
    assert len(in_threads(lambda _: meeting.wait(), range(3), threads=3)) == 3


def test_all_names_exist() -> None:
    assert sorted(evaluation.metrics.__all__) == evaluation.metrics.__all__
    assert all(hasattr(evaluation.metrics, name) for name in evaluation.metrics.__all__)
