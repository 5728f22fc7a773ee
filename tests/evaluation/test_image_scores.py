"""Official and strict image columns of one case, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.image_scores import SMALLEST_MSE, image_columns, repaired

Array = npt.NDArray[Any]
RANGE = (-1024.0, 3071.0)
SHAPE = (12, 12, 12)
INSIDE = np.zeros(SHAPE, dtype=np.uint8)
INSIDE[2:10, 2:10, 2:10] = 1
VOXELS = 8**3


def constant(hu: float, dtype: type = np.float32) -> Array:
    return np.full(SHAPE, hu, dtype=dtype)


def test_finite_images_have_equal_official_and_strict_values_but_for_luminance() -> None:
    columns = image_columns(constant(0, np.int16), constant(100, np.int16), INSIDE, "synthrad2025")
    assert list(columns) == ["mae", "psnr", "ms_ssim", "mae_strict", "psnr_strict", "ms_ssim_strict", "n_nonfinite"]
    assert columns["mae"] == columns["mae_strict"] == 100.0
    assert columns["psnr"] == columns["psnr_strict"] == pytest.approx(20 * math.log10(4095 / 100))
    assert columns["n_nonfinite"] == 0


def test_identical_images_are_null_officially_and_a_number_strictly() -> None:
    columns = image_columns(constant(40, np.int16), constant(40, np.int16), INSIDE, "synthrad2025")
    assert (columns["mae"], columns["psnr"], columns["mae_strict"]) == (0.0, None, 0.0)
    assert columns["psnr_strict"] == pytest.approx(10 * math.log10(4095**2 * 12))
    assert columns["psnr_strict"] == pytest.approx(83.04, abs=0.01)


def test_hardly_differing_images_are_not_better_than_identical_ones() -> None:
    sct = constant(40)
    sct[5, 5, 5] = 41.0  # a mean squared error of 1/512, below that of rounding
    assert 1 / VOXELS < SMALLEST_MSE
    columns = image_columns(constant(40), sct, INSIDE, "synthrad2025")
    assert columns["psnr"] == pytest.approx(10 * math.log10(4095**2 * VOXELS))
    assert columns["psnr_strict"] == pytest.approx(10 * math.log10(4095**2 * 12))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_voxel_is_null_officially_and_the_worst_value_strictly(value: float) -> None:
    sct = constant(0)
    sct[5, 5, 5] = value
    columns = image_columns(constant(0), sct, INSIDE, "synthrad2025")
    assert columns["mae"] is None
    assert (columns["psnr"] is None) == math.isnan(value)  # clipping makes infinity a number
    assert columns["n_nonfinite"] == 1
    assert columns["mae_strict"] == 3071 / VOXELS  # 3071 is farther from 0 than -1024
    assert columns["psnr_strict"] == pytest.approx(10 * math.log10(4095**2 / (3071**2 / VOXELS)))


def test_bad_voxels_outside_the_mask_cost_nothing() -> None:
    sct = constant(10)
    sct[0, 0, 0] = math.nan
    columns = image_columns(constant(0), sct, INSIDE, "synthrad2025")
    assert (columns["mae"], columns["mae_strict"], columns["n_nonfinite"]) == (10.0, 10.0, 0)


def test_protocol_of_2023_has_its_ssim_and_its_range() -> None:
    columns = image_columns(constant(0, np.int16), constant(3000, np.int16), INSIDE, "synthrad2023")
    assert columns["psnr"] == pytest.approx(20 * math.log10(4024 / 3000))
    assert isinstance(columns["ssim"], float)
    assert 0.0 < columns["ssim"] < 0.5
    assert "ssim" not in image_columns(constant(0), constant(5), INSIDE, "synthrad2025")


def test_empty_mask_has_no_values() -> None:
    columns = image_columns(constant(0), constant(5), INSIDE * 0, "synthrad2025")
    assert columns.pop("n_nonfinite") == 0
    assert set(columns.values()) == {None}


def test_repair_takes_the_end_of_the_range_that_is_farther() -> None:
    reference = np.array([-1000.0, 0.0, 1023.0, 1024.0, 3000.0])
    broken = np.array([math.nan, math.inf, -math.inf, math.nan, 7.0])
    assert repaired(broken, reference, RANGE).tolist() == [3071.0, 3071.0, 3071.0, -1024.0, 7.0]
    whole = np.array([1.0, 2.0])
    assert repaired(whole, whole, RANGE) is whole
    integers = np.array([1, 2])
    assert repaired(integers, integers, RANGE) is integers


def test_infinity_spoils_only_what_is_not_clipped() -> None:
    sct = constant(0)
    sct[5, 5, 5] = math.inf
    columns = image_columns(constant(0), sct, INSIDE, "synthrad2023")
    assert columns["mae"] is None
    assert columns["psnr"] == pytest.approx(10 * math.log10(4024**2 / (3000**2 / VOXELS)))
    assert isinstance(columns["ssim"], float)
    sct[6, 6, 6] = math.nan
    assert image_columns(constant(0), sct, INSIDE, "synthrad2023")["psnr"] is None


@pytest.mark.parametrize(("value", "dtype"), [(1e308, np.float64), (40_000.0, np.float32), (-(2**31), np.int32)])
def test_numbers_that_are_no_hu_count_strictly_as_the_farther_end(value: float, dtype: type) -> None:
    sct = constant(0, dtype)
    sct[5, 5, 5] = value
    columns = image_columns(constant(0), sct, INSIDE, "synthrad2025")
    assert columns["mae"] == pytest.approx(abs(value) / VOXELS)
    assert columns["mae_strict"] == 3071 / VOXELS
    assert columns["n_nonfinite"] == 1


def test_a_sum_without_bounds_leaves_no_official_mae() -> None:
    sct = constant(1.7e308, np.float64)
    columns = image_columns(constant(0), sct, INSIDE, "synthrad2025")
    assert (columns["mae"], columns["mae_strict"]) == (None, 3071.0)
