"""SSIM of 2023 against CONTRACT 3.3's golden numbers and shapes whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.metrics import masked_ssim
from synthct.errors import InputError

Int16 = npt.NDArray[np.int16]


def box(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 5, n - n // 5) for n in shape)] = 1
    return mask


def hashed(shape: tuple[int, int, int]) -> tuple[Int16, Int16]:
    x, y, z = np.indices(shape)
    reference = (37 * x + 91 * y + 53 * z) % 2000 - 1000
    return reference.astype(np.int16), (reference + (13 * x + 7 * y + 29 * z) % 101 - 50).astype(np.int16)


def smooth(shape: tuple[int, int, int]) -> tuple[Int16, Int16]:
    x, y, z = (index / n for index, n in zip(np.indices(shape), shape, strict=True))
    reference = np.rint(800 * np.sin(6 * x) * np.cos(5 * y) + 300 * np.sin(4 * z))
    prediction = np.rint(reference + 60 * np.sin(40 * x) * np.sin(33 * y) * np.cos(21 * z) + 15)
    return reference.astype(np.int16), prediction.astype(np.int16)


@pytest.mark.parametrize(
    ("make", "shape", "golden"),
    [
        (hashed, (100, 80, 40), 0.99674786),
        (hashed, (128, 112, 104), 0.99615679),
        (smooth, (100, 80, 40), 0.98971855),
        (smooth, (128, 112, 104), 0.98908279),
    ],
)
def test_golden_numbers(
    make: Callable[[tuple[int, int, int]], tuple[Int16, Int16]], shape: tuple[int, int, int], golden: float
) -> None:
    score = masked_ssim(*make(shape), box(shape))
    assert score == pytest.approx(golden, abs=1e-6)


def test_identical_images_score_one_and_the_axis_order_does_not_matter() -> None:
    reference, prediction = smooth((20, 16, 12))
    mask = box((20, 16, 12))
    assert masked_ssim(reference, reference, mask) == pytest.approx(1.0, abs=1e-9)
    turned = masked_ssim(reference.T, prediction.T, mask.T)
    assert masked_ssim(reference, prediction, mask) == pytest.approx(turned, abs=1e-6)


def test_nothing_left_after_the_cut_is_none() -> None:
    reference, prediction = smooth((12, 12, 12))
    corner = np.zeros((12, 12, 12), np.uint8)
    corner[:3, :3, :3] = 1
    assert masked_ssim(reference, prediction, corner) is None
    assert masked_ssim(reference, prediction, corner * 0) is None
    assert masked_ssim(reference[:6], prediction[:6], np.ones((6, 12, 12))) is None


def test_outside_the_mask_nothing_counts() -> None:
    reference, prediction = smooth((20, 20, 20))
    mask = box((20, 20, 20))
    other = np.where(mask > 0, prediction, 2000).astype(np.int16)
    assert masked_ssim(reference, prediction, mask) == masked_ssim(reference, other, mask)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="8"):
        masked_ssim(np.zeros((8, 8, 8)), np.zeros((8, 8, 9)), np.ones((8, 8, 8)))


def test_by_hand_for_constant_images() -> None:
    reference = np.zeros((9, 9, 9), np.int16)
    prediction = np.full((9, 9, 9), 1000, np.int16)
    c1 = (0.01 * 4024) ** 2
    # without any variance only the luminance is left; the values start at -1024
    expected = (2 * 1024 * 2024 + c1) / (1024**2 + 2024**2 + c1)
    assert masked_ssim(reference, prediction, np.ones_like(reference)) == pytest.approx(expected, abs=1e-5)


def test_values_beyond_the_range_are_clipped() -> None:
    reference, prediction = smooth((20, 20, 20))
    mask = np.ones((20, 20, 20), np.uint8)
    reference[5:9, 5:9, 5:9] = 3000
    beyond = reference.copy()
    beyond[5:9, 5:9, 5:9] = 9000
    assert masked_ssim(beyond, prediction, mask) == masked_ssim(reference, prediction, mask)
    assert masked_ssim(beyond, prediction, mask, (-1024.0, 9000.0)) != masked_ssim(reference, prediction, mask)
