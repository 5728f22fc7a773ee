"""Dice: the golden boxes of CONTRACT 3.3, every empty case, and a count per pair of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.metrics import dice_of_counts, dice_scores, label_counts
from evaluation.metrics.overlap import LARGEST_LABEL
from synthct.errors import InputError

Array = npt.NDArray[Any]


def test_golden_boxes() -> None:
    reference, prediction = np.zeros((2, 40, 40, 20), np.uint8)
    reference[10:20, 10:20, 5:12] = 5
    prediction[11:22, 9:20, 5:14] = 5
    score = dice_scores(reference, prediction, [5])[5]
    assert score == pytest.approx(0.7043041, abs=5e-8)
    assert score == 2 * (9 * 10 * 7) / (10 * 10 * 7 + 11 * 11 * 9)


def test_every_empty_case() -> None:
    reference, prediction = np.zeros((2, 3, 3, 3), np.uint8)
    reference[0] = 1
    prediction[1] = 2
    reference[2] = prediction[2] = 3
    scores = dice_scores(reference, prediction, [4, 3, 2, 1, 999, -1])
    assert scores == {4: None, 3: 1.0, 2: 0.0, 1: 0.0, 999: None, -1: None}
    assert list(scores) == [4, 3, 2, 1, 999, -1]
    nothing = np.zeros((0, 3, 3), np.uint8)
    assert dice_scores(nothing, nothing, [0, 1]) == {0: None, 1: None}


def test_counts_by_hand() -> None:
    reference = np.array([0, 0, 1, 1, 1, 3]).reshape(1, 2, 3)
    prediction = np.array([0, 1, 1, 1, 0, 0]).reshape(1, 2, 3)
    expected = np.zeros((4, 4), int)
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 0], expected[3, 0] = 1, 1, 2, 1, 1
    counts = label_counts(reference, prediction)
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == np.int64
    assert dice_of_counts(counts, [1, 2, 3]) == {1: 2 * 2 / (3 + 3), 2: None, 3: 0.0}


maps = hnp.arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 7, 117, 255]))


@settings(max_examples=60, deadline=None)
@given(reference=maps, prediction=maps)
def test_counts_equal_a_count_per_pair(reference: Array, prediction: Array) -> None:
    counts = label_counts(reference, prediction)
    assert counts.sum() == reference.size
    for r in np.unique(reference):
        for p in np.unique(prediction):
            assert counts[r, p] == np.count_nonzero((reference == r) & (prediction == p))
    np.testing.assert_array_equal(label_counts(prediction, reference), counts.T)
    np.testing.assert_array_equal(label_counts(reference.T, prediction.T), counts)
    wide = label_counts(np.asfortranarray(reference.astype(np.uint16)), prediction.astype(np.int64))
    np.testing.assert_array_equal(wide, counts)


def test_no_label_wraps_around() -> None:
    reference = np.full((2, 3, 4), 200, np.uint8)
    prediction = np.full((2, 3, 4), LARGEST_LABEL, np.int32)
    counts = label_counts(reference, prediction)
    assert counts[200, LARGEST_LABEL] == 24
    assert counts.sum() == 24


def test_what_is_no_label_map_is_refused() -> None:
    cube = np.zeros((3, 3, 3), np.int16)
    with pytest.raises(InputError, match="prediction holds labels from -1 to 0"):
        label_counts(cube, cube - (np.arange(27).reshape(3, 3, 3) == 5))
    with pytest.raises(InputError, match="reference holds labels from 1024 to 1024"):
        label_counts(cube + 1024, cube)
    with pytest.raises(InputError, match="reference holds float64 values"):
        label_counts(cube.astype(float), cube)
    with pytest.raises(InputError, match=r"reference \(3, 3, 3\), prediction \(2, 3, 3\)"):
        dice_scores(cube, cube[1:], [1])
