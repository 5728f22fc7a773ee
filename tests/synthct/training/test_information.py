"""Mutual information against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from textured_limb import limb_ct, limb_mr

from synthct.training.information import mutual_information, smoothed_information


def test_mutual_information_by_hand() -> None:
    pair = np.array([0, 1, 0, 1])
    assert mutual_information(pair, np.array([0, 100, 0, 100])) == pytest.approx(math.log(2))
    assert mutual_information(pair, np.array([100, 0, 100, 0])) == pytest.approx(math.log(2))
    assert mutual_information(pair, np.array([0, 0, 100, 100])) == pytest.approx(0.0)
    assert mutual_information(np.arange(4), np.array([0, 100, 200, 300])) == pytest.approx(math.log(4))
    # Half of the voxels tell nothing: p(0,0) = 1/2, p(1,0) = p(1,1) = 1/4.
    expected = 0.5 * math.log(0.5 / (0.5 * 0.75)) + 0.25 * math.log(0.25 / (0.5 * 0.75)) + 0.25 * math.log(2)
    assert mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 100])) == pytest.approx(expected)


def test_mutual_information_sees_only_the_ct_window() -> None:
    image = np.array([0, 1, 2, 3])
    assert mutual_information(image, np.array([-1000, -300, 1200, 3000])) == pytest.approx(math.log(2))


def test_mutual_information_of_few_bins() -> None:
    image = np.array([0, 1, 2, 3])
    assert mutual_information(image, np.array([0, 10, 20, 30]), bins=2) == pytest.approx(math.log(2))


@pytest.mark.parametrize("times", [5, 20, 1000])
def test_one_hot_voxel_does_not_change_the_figure(times: int) -> None:
    """A metal artefact: over the full range nearly all other voxels would share the lowest bins."""
    ct, everywhere = limb_ct(), np.ones(limb_ct().voxels.shape, bool)
    image = limb_mr(ct)
    hot = image.voxels.astype(np.int32)
    hot[10, 20, 30] = times * int(image.voxels.max())
    as_it_is = smoothed_information(image, ct.voxels, everywhere)
    assert as_it_is > 0.5
    assert smoothed_information(image.with_voxels(hot), ct.voxels, everywhere) == pytest.approx(as_it_is, rel=0.01)


def test_smoothed_information_of_no_voxel() -> None:
    ct = limb_ct()
    assert smoothed_information(limb_mr(ct), ct.voxels, np.zeros(ct.voxels.shape, bool)) == 0.0


def test_mutual_information_of_nothing_and_of_a_constant() -> None:
    assert mutual_information(np.zeros(0), np.zeros(0)) == 0.0
    assert mutual_information(np.zeros(5), np.arange(5)) == pytest.approx(0.0)
