"""MS-SSIM against an independent, slow implementation written straight from CONTRACT 3.2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from evaluation.metrics import msssim
from evaluation.metrics.msssim import downsample, mask_bounds, masked_ms_ssim

Array = npt.NDArray[Any]
OFFICIAL = (-1024.0, 3071.0)


def slow_ms_ssim(g: Array, p: Array, mask: Array, hu_range: tuple[float, float] = OFFICIAL) -> float | None:
    low, high = hu_range
    width = high - low
    g, p = (np.where(mask > 0, np.clip(image.astype(np.float64), low, high), low) - low for image in (g, p))
    mask = mask > 0
    pads = [((97 - d) // 2, 97 - d - (97 - d) // 2) if d < 97 else (0, 0) for d in g.shape]
    g, p, mask = (np.pad(array, pads, mode="edge") for array in (g, p, mask))
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    c3 = c2 / 2
    result = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        mg, mp = uniform_filter(g, 7), uniform_filter(p, 7)
        vg = 343 / 342 * (uniform_filter(g * g, 7) - mg * mg)
        vp = 343 / 342 * (uniform_filter(p * p, 7) - mp * mp)
        cov = 343 / 342 * (uniform_filter(g * p, 7) - mg * mp)
        sg, sp = np.sqrt(np.maximum(vg, 0)), np.sqrt(np.maximum(vp, 0))
        luminance = np.maximum((2 * mg * mp + c1) / (mg**2 + mp**2 + c1), 0)
        contrast = np.maximum((2 * sg * sp + c2) / (vg + vp + c2), 0)
        structure = np.maximum((cov + c3) / (sg * sp + c3), 0)
        similarity = (luminance * contrast * structure) ** weight
        inner = (slice(3, -3),) * 3
        if not mask[inner].any():
            return None
        result *= float(np.clip(similarity[inner][mask[inner]].mean(), 0, 1))
        box = np.full((2, 2, 2), 1 / 8)
        g, p = (fftconvolve(image, box, mode="same")[::2, ::2, ::2] for image in (g, p))
        mask = mask[::2, ::2, ::2]
    return result


def random_pair(shape: tuple[int, int, int], seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 500, tuple(n // 8 + 1 for n in shape))
    smooth = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]]
    g = np.rint(smooth + rng.normal(0, 60, shape)).astype(np.int16)
    return g, np.rint(0.8 * g + rng.normal(0, 90, shape)).astype(np.int16)


def box_mask(shape: tuple[int, int, int], *sides: tuple[int, int]) -> Array:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(*side) for side in sides)] = 1
    return mask


CASES = {
    "shorter than 97, odd": ((41, 63, 85), ((5, 37), (0, 63), (20, 70))),
    "exactly 97": ((97, 97, 97), ((0, 97), (0, 97), (0, 97))),
    "longer, odd": ((99, 113, 131), ((30, 70), (11, 112), (64, 131))),
    "thin volume": ((1, 70, 120), ((0, 1), (10, 60), (20, 100))),
    "corner at the origin": ((100, 100, 100), ((0, 64), (0, 64), (0, 64))),
    "corner at the end": ((104, 98, 120), ((40, 104), (30, 98), (50, 120))),
    "small, far inside": ((180, 101, 98), ((120, 121), (50, 53), (49, 50))),
    "wide rim to cut away": ((100, 240, 100), ((40, 60), (130, 150), (40, 60))),
}


@pytest.mark.parametrize("hu_range", [OFFICIAL, (-1024.0, 3000.0), (-1000.5, 3000.0), (-20000.0, 20000.0)])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_text_of_the_contract(case: str, hu_range: tuple[float, float]) -> None:
    shape, sides = CASES[case]
    g, p = random_pair(shape, seed=len(case))
    mask = box_mask(shape, *sides)
    expected = slow_ms_ssim(g, p, mask, hu_range)
    found = masked_ms_ssim(g, p, mask, hu_range)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-9)
        assert 0.0 < found < 1.0


def test_the_cases_cover_both_answers() -> None:
    defined = [slow_ms_ssim(*random_pair(s, 0), box_mask(s, *sides)) is not None for s, sides in CASES.values()]
    assert True in defined
    assert False in defined


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(*[st.integers(20, 118)] * 3),
    seed=st.integers(0, 2**32 - 1),
    density=st.sampled_from([0.0005, 0.05, 0.9]),
)
def test_equals_the_text_of_the_contract_for_scattered_masks(
    shape: tuple[int, int, int], seed: int, density: float
) -> None:
    g, p = random_pair(shape, seed)
    mask = np.random.default_rng(seed).random(shape) < density
    expected, found = slow_ms_ssim(g, p, mask), masked_ms_ssim(g, p, mask, OFFICIAL)
    assert (found is None) == (expected is None)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("sides", [((130, 150), (64, 65), (96, 97)), ((0, 70), (90, 160), (70, 90))])
def test_cutting_the_rim_changes_nothing(sides: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (230, 160, 170)
    g, p = random_pair(shape, seed=7)
    mask = box_mask(shape, *sides)
    cut = masked_ms_ssim(g, p, mask, OFFICIAL)
    kept = msssim._influential(mask_bounds(mask > 0), shape)
    assert mask[kept].size < 0.7 * mask.size
    monkeypatch.setattr(msssim, "_influential", lambda _bounds, shape: tuple(slice(0, n) for n in shape))
    assert cut is not None
    assert cut == pytest.approx(masked_ms_ssim(g, p, mask, OFFICIAL), abs=1e-13)


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    g, p = random_pair((97, 120, 97), seed=3)
    mask = box_mask((97, 120, 97), (10, 90), (0, 120), (30, 70))
    whole = masked_ms_ssim(g, p, mask, OFFICIAL)
    monkeypatch.setattr(msssim, "_STRIP_ROWS", 5)
    assert masked_ms_ssim(g, p, mask, OFFICIAL) == pytest.approx(whole, abs=1e-13)


@pytest.mark.parametrize("rows", [1, 7, 40, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_strips_and_threads_change_nothing(rows: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    g, p = random_pair((98, 131, 97), seed=5)
    mask = np.random.default_rng(5).random(g.shape) < 0.3
    mask[:, 40:90] = False
    expected = slow_ms_ssim(g, p, mask)
    monkeypatch.setattr(msssim, "_STRIP_ROWS", rows)
    assert masked_ms_ssim(g, p, mask, OFFICIAL, threads) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("width", [1, 100, 4095, 5004, 5005, 8191, 8192])
def test_sums_never_overflow(width: int) -> None:
    """The squares are largest where both images lie at an end of the range, whole windows long."""
    shape = (97, 98, 99)
    rng = np.random.default_rng(width)
    coarse = rng.integers(0, 2, (2, 9, 9, 9)) * width - width // 2
    g, p = (image.repeat(11, 0).repeat(11, 1).repeat(11, 2)[:97, :98, :99].astype(np.int16) for image in coarse)
    mask = np.ones(shape, bool)
    hu_range = (float(-(width // 2)), float(width - width // 2))
    expected = slow_ms_ssim(g, p, mask, hu_range)
    assert masked_ms_ssim(g, p, mask, hu_range) == pytest.approx(expected, abs=1e-10)
    low = np.full(shape, -(width // 2), np.int16)
    assert masked_ms_ssim(low, low, mask, hu_range) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("width", [4095.0, 5004.0, 5006.0])
def test_the_exact_centre_is_used_where_it_fits(width: float) -> None:
    centre = msssim._exact_centre(width)
    half = math.ceil(width / 2)
    assert centre == (half if width < 5005 else 0)
    assert (2 * half**2 * 343 < 2**32) == (centre > 0)
    assert centre**2 * 343 < 2**31


@pytest.mark.parametrize("dtypes", [(np.uint16, np.int16), (np.int8, np.int16), (np.int32, np.int16), (np.uint8, bool)])
def test_mixed_integer_types(dtypes: tuple[type, type]) -> None:
    rng = np.random.default_rng(8)
    g, p = (rng.integers(0, 2 if dtype is bool else 100, (97, 97, 97)).astype(dtype) for dtype in dtypes)
    mask = np.ones(g.shape, np.uint8)
    assert masked_ms_ssim(g, p, mask, OFFICIAL) == pytest.approx(slow_ms_ssim(g, p, mask), abs=1e-10)


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 11), (1, 2, 3), (33, 20, 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.uint16])
def test_downsample_equals_fft_convolution(shape: tuple[int, int, int], dtype: type) -> None:
    image = np.random.default_rng(1).integers(0, 4096, shape).astype(dtype)
    expected = fftconvolve(image.astype(np.float64), np.full((2, 2, 2), 1 / 8), mode="same")[::2, ::2, ::2]
    found = downsample(image)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(downsample(image, threads=3), found)


def test_downsample_by_hand() -> None:
    line = np.array([8.0, 16.0, 24.0, 40.0]).reshape(1, 1, 4)
    # the zero border halves the value once along each axis; along x voxel 1 is the mean of 16 and 24
    np.testing.assert_array_equal(downsample(line), [[[1.0, 5.0]]])


def test_a_mask_that_the_crop_removes_has_no_value() -> None:
    g, p = random_pair((100, 100, 100), seed=2)
    assert masked_ms_ssim(g, p, box_mask((100, 100, 100), (0, 8), (0, 8), (0, 8)), OFFICIAL) is None
    assert masked_ms_ssim(g, p, np.zeros((100, 100, 100), np.uint8), OFFICIAL) is None


def test_luminance_acts_at_every_level() -> None:
    g = np.full((97, 97, 97), 0, np.int16)
    p = np.full((97, 97, 97), 1000, np.int16)
    mask = box_mask((97, 97, 97), (0, 97), (0, 97), (0, 97))
    c1 = 40.95**2
    luminance = (2 * 1024 * 2024 + c1) / (1024**2 + 2024**2 + c1)
    # constant images: contrast and structure are 1 in the interior, where the one mask voxel lies at the coarsest level
    middle = box_mask((97, 97, 97), (48, 49), (48, 49), (48, 49))
    expected = slow_ms_ssim(g, p, mask)
    assert masked_ms_ssim(g, p, mask, OFFICIAL) == pytest.approx(expected, abs=1e-12)
    assert expected is not None
    # had it acted at the coarsest level only, the value would exceed luminance ** 0.1333
    assert expected < luminance**0.1333
    assert masked_ms_ssim(g, p, middle, OFFICIAL) == pytest.approx(slow_ms_ssim(g, p, middle), abs=1e-12)


def test_identical_images_give_one() -> None:
    g, _ = random_pair((60, 97, 110), seed=4)
    mask = box_mask((60, 97, 110), (5, 50), (10, 80), (20, 90))
    assert masked_ms_ssim(g, g, mask, OFFICIAL) == pytest.approx(1.0, abs=1e-12)


def test_mask_bounds_are_tight() -> None:
    assert mask_bounds(box_mask((9, 8, 7), (1, 4), (0, 8), (6, 7)) > 0) == (slice(1, 4), slice(0, 8), slice(6, 7))
    assert mask_bounds(np.zeros((3, 3, 3), bool)) is None
    assert mask_bounds(np.zeros((3, 0, 3), bool)) is None
