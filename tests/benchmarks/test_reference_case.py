"""The case of the benchmarks is what its text says, and ours equals the yardstick on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.official_way import dice_and_hd95, image_metrics
from benchmarks.reference_case import LABELS, SPACING_ZYX, ReferenceCase, make_reference_case
from evaluation.metrics import dice_scores, image_similarity


@pytest.fixture(scope="module")
def full() -> ReferenceCase:
    return make_reference_case()


@pytest.fixture(scope="module")
def small() -> ReferenceCase:
    return make_reference_case(scale=0.25)


@pytest.mark.slow
def test_size_and_cover(full: ReferenceCase) -> None:
    for array in dataclasses.astuple(full):
        assert array.shape == (150, 512, 512)
    assert full.reference.dtype == full.prediction.dtype == np.int16
    assert full.mask.dtype == full.reference_labels.dtype == full.prediction_labels.dtype == np.uint8
    assert full.mask.mean() == pytest.approx(0.42, abs=0.004)
    assert set(np.unique(full.mask)) == {0, 1}
    assert SPACING_ZYX == (3.0, 1.0, 1.0)


@pytest.mark.slow
def test_every_structure_is_in_both_maps_and_moved(full: ReferenceCase) -> None:
    sizes = [np.bincount(labels.ravel(), minlength=61) for labels in (full.reference_labels, full.prediction_labels)]
    assert len(LABELS) == 60
    for size in sizes:
        assert len(size) == 61
        assert size[1:].min() > 1000
    # 4/3 pi (110 x 90 x 50) voxels, of which smaller structures hide some
    assert 0.4 * 2_073_451 < sizes[0][1] < 2_073_451
    # 4/3 pi (14 x 14 x 8) for the smallest, painted last
    assert sizes[0][60] == pytest.approx(6568, rel=0.02)
    dice = dice_scores(full.reference_labels, full.prediction_labels, LABELS)
    assert all(score is not None and 0.2 < score < 0.99 for score in dice.values())


@pytest.mark.slow
def test_the_boxes_hold_as_many_voxels_as_when_the_anchors_were_measured(full: ReferenceCase) -> None:
    voxels = 0
    for label in LABELS:
        where = np.argwhere((full.reference_labels == label)[:, ::2, ::2])
        voxels += int(np.prod(where.max(axis=0) - where.min(axis=0) + 1)) * 4
    assert voxels == pytest.approx(18.0e6, rel=0.15)


def test_images_are_plausible(small: ReferenceCase) -> None:
    inside = small.mask > 0
    for image in (small.reference, small.prediction):
        assert image.min() >= -1024
        assert image.max() <= 3071
        assert image[~inside].mean() == pytest.approx(-1000.0, abs=15.0)
        assert -300.0 < image[inside].mean() < 300.0
    difference = np.abs(small.reference.astype(float) - small.prediction)[inside]
    assert 20.0 < difference.mean() < 250.0


def test_the_same_seed_makes_the_same_case(small: ReferenceCase) -> None:
    again, other = make_reference_case(scale=0.25), make_reference_case(scale=0.25, seed=1)
    for name, array in vars(small).items():
        np.testing.assert_array_equal(vars(again)[name], array)
    assert (other.reference_labels != small.reference_labels).any()
    assert (other.reference != small.reference).any()


def test_a_small_case_has_all_structures(small: ReferenceCase) -> None:
    assert small.mask.shape == (38, 128, 128)
    assert small.mask.mean() == pytest.approx(0.42, abs=0.01)
    for labels in (small.reference_labels, small.prediction_labels):
        assert np.array_equal(np.unique(labels), np.arange(61))


def test_ours_equals_the_official_way_on_the_small_case(small: ReferenceCase) -> None:
    images = small.reference, small.prediction, small.mask
    official, ours = image_metrics(*images), image_similarity(*images)
    assert ours.mae == pytest.approx(official.mae, abs=1e-10)
    assert ours.psnr == pytest.approx(official.psnr, abs=1e-10)
    assert ours.ms_ssim == pytest.approx(official.ms_ssim, abs=1e-10)
    labels = LABELS[:3]
    dice = dice_scores(small.reference_labels, small.prediction_labels, labels)
    expected = dice_and_hd95(small.reference_labels, small.prediction_labels, labels, SPACING_ZYX)
    assert dice == pytest.approx({label: score for label, (score, _) in expected.items()}, abs=1e-6)
