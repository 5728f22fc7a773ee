"""The HU finish: what an sCT may hold (CONTRACT 1.5, 6.A.5)."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synthct.inference.finish import finish_hu


def test_by_hand() -> None:
    hu = np.array([[[-2000.0, -1024.4, -0.6, 0.4, 2.5, 3.5, 3071.4, 9999.0, 55.0]]], np.float32)
    mask = np.array([[[1, 1, 1, 1, 1, 1, 1, 255, 0]]], np.uint8)
    finished = finish_hu(hu, mask)
    assert finished.dtype == np.int16
    assert finished.tolist() == [[[-1024, -1024, -1, 0, 2, 4, 3071, 3071, -1000]]]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.float32])
def test_masks_of_every_type(dtype: type[np.generic]) -> None:
    mask = np.array([[[0, 1]]]).astype(dtype)
    assert finish_hu(np.full((1, 1, 2), 40.0), mask).tolist() == [[[-1000, 40]]]


def test_mask_below_zero_is_outside() -> None:
    assert finish_hu(np.full((1, 1, 1), 40.0), np.array([[[-1]]])).tolist() == [[[-1000]]]


def test_no_numbers_become_air_with_one_warning() -> None:
    hu = np.array([[[np.nan, np.inf, -np.inf, 7.0, np.nan]]], np.float32)
    mask = np.array([[[1, 1, 1, 1, 0]]], np.uint8)
    with pytest.warns(RuntimeWarning, match="^3 voxels inside the mask") as caught:
        finished = finish_hu(hu, mask)
    assert len(caught) == 1
    assert finished.tolist() == [[[-1000, -1000, -1000, 7, -1000]]]


def test_no_numbers_outside_the_mask_need_no_warning() -> None:
    hu = np.array([[[np.nan, 7.0]]], np.float32)
    assert finish_hu(hu, np.array([[[0, 1]]])).tolist() == [[[-1000, 7]]]


def test_prediction_given_is_not_changed() -> None:
    hu = np.array([[[5000.0, 3.3]]], np.float32)
    finish_hu(hu, np.zeros((1, 1, 2)))
    assert hu[0, 0, 0] == 5000.0


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    hnp.arrays(np.bool_, (2, 3, 4)),
)
def test_every_value_is_allowed(hu: Array, mask: Array) -> None:
    finished = finish_hu(hu, mask)
    assert finished.dtype == np.int16
    assert finished.min() >= -1024
    assert finished.max() <= 3071
    assert (finished[~mask] == -1000).all()
    inside = (hu >= -1024) & (hu <= 3071) & mask
    assert (np.abs(finished[inside] - hu[inside]) <= 0.5).all()
