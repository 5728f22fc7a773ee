"""Tissue classes: every limit from both sides, and what lies outside the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluation.segmenters
from evaluation.segmenters import Segmenter, TissueSegmenter, tissue_labels
from evaluation.segmenters.tissue import BONE, LOWER_LIMITS, TISSUES
from synthct.errors import InputError
from synthct.volume import Geometry, Volume

EXPECTED = {
    -32768: "air",
    -1000: "air",
    -700: "air",
    -401: "air",
    -400: "fat",
    -100: "fat",
    -31: "fat",
    -30: "soft_tissue",
    0: "soft_tissue",
    149: "soft_tissue",
    150: "spongy_bone",
    599: "spongy_bone",
    600: "compact_bone",
    3071: "compact_bone",
    32767: "compact_bone",
}


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_each_limit_from_both_sides(dtype: Any) -> None:
    hu = np.array(list(EXPECTED), dtype=dtype).reshape(3, 5, 1)
    labels = tissue_labels(hu, np.ones(hu.shape, np.uint8))
    assert labels.dtype == np.uint8
    assert labels.shape == hu.shape
    assert [TISSUES[int(label)] for label in labels.ravel()] == list(EXPECTED.values())


def test_fractions_and_unsigned_values() -> None:
    inside = np.ones((1, 1, 3), bool)
    assert tissue_labels(np.array([[[-30.001, 149.9, 599.99]]]), inside).tolist() == [[[2, 3, 4]]]
    assert tissue_labels(np.array([[[0, 150, 255]]], np.uint8), inside).tolist() == [[[3, 4, 4]]]


def test_outside_the_mask_is_zero() -> None:
    hu = np.full((2, 2, 2), 700, np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    assert not tissue_labels(hu, mask).any()
    mask[0, 1, 1] = 3
    labels = tissue_labels(hu, mask)
    assert labels[0, 1, 1] == 5
    assert labels.sum() == 5


def test_nan_is_refused_inside_the_mask_only() -> None:
    hu = np.zeros((2, 2, 2), np.float32)
    hu[0, 0, 0] = np.nan
    mask = np.ones(hu.shape, np.uint8)
    with pytest.raises(InputError, match="NaN inside the mask"):
        tissue_labels(hu, mask)
    mask[0, 0, 0] = 0
    assert tissue_labels(hu, mask)[0, 0].tolist() == [0, 3]


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match=r"image \(2, 2, 2\), mask \(2, 2\)"):
        tissue_labels(np.zeros((2, 2, 2)), np.zeros((2, 2)))


def test_bone_is_everything_from_150_hu() -> None:
    hu = np.arange(-2000, 4000, dtype=np.int16).reshape(10, 20, 30)
    labels = tissue_labels(hu, np.ones(hu.shape))
    np.testing.assert_array_equal(np.isin(labels, BONE), hu >= 150)
    assert list(LOWER_LIMITS.values()) == sorted(LOWER_LIMITS.values())


def test_the_segmenter_fulfils_the_interface() -> None:
    segmenter: Segmenter = TissueSegmenter()
    assert isinstance(segmenter, Segmenter)
    assert segmenter.name == "tissue"
    assert segmenter.labels == {1: "air", 2: "fat", 3: "soft_tissue", 4: "spongy_bone", 5: "compact_bone"}
    assert segmenter.weights is None
    hu = np.arange(-1000, 1000, dtype=np.int16).reshape(10, 20, 10)
    mask = hu > -900
    image = Volume(hu, Geometry((10, 20, 10)))
    np.testing.assert_array_equal(segmenter.segment(image, mask, case="1ABA001"), tissue_labels(hu, mask))
    given = Path("absent.mha")  # it holds other labels: the CT is segmented, the file never opened
    reference = segmenter.segment_reference(image, mask, given, case="1ABA001")
    np.testing.assert_array_equal(reference, tissue_labels(hu, mask))


def test_all_names_exist() -> None:
    assert len(set(evaluation.segmenters.__all__)) == len(evaluation.segmenters.__all__) == 7
    assert all(hasattr(evaluation.segmenters, name) for name in evaluation.segmenters.__all__)
