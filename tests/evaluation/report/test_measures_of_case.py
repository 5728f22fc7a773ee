"""Histograms and errors by tissue, on voxels that a person can count."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.report.measures import (
    HISTOGRAM_BINS,
    JOINT_BINS,
    histogram,
    joint_histogram,
    tissue_errors,
)

EVERYWHERE = np.ones((1, 1, 6), dtype=bool)


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


def test_histogram_counts_shares_of_25_hu() -> None:
    found = histogram(line(-1050, -1026, -1025, 0, 24, 24), EVERYWHERE)
    assert len(found) == HISTOGRAM_BINS
    assert found[:2].tolist() == pytest.approx([2 / 6, 1 / 6])
    assert found[1050 // 25] == pytest.approx(3 / 6)


def test_histogram_keeps_what_lies_beyond_at_its_ends() -> None:
    found = histogram(line(-3000, 3000, 1799, 0, 0, 0), EVERYWHERE)
    assert (found[0], found[-1], found.sum()) == pytest.approx((1 / 6, 2 / 6, 1.0))


def test_nothing_is_counted_outside_the_body() -> None:
    inside = np.array([True, False, False, False, False, False]).reshape(1, 1, 6)
    assert histogram(line(0, 900, 900, 900, 900, 900), inside)[1050 // 25] == 1.0
    assert histogram(line(0, 0, 0, 0, 0, 0), np.zeros((1, 1, 6), dtype=bool)).sum() == 0
    assert joint_histogram(line(0, 9, 9, 9, 9, 9), line(0, 9, 9, 9, 9, 9), inside).sum() == 1


def test_joint_histogram_has_the_sct_down_the_rows() -> None:
    ct, sct = line(0, 0, 100, 5000, -5000, -5000), line(0, 0, 300, 5000, -5000, 5000)
    found = joint_histogram(ct, sct, EVERYWHERE)
    assert found.shape == (JOINT_BINS, JOINT_BINS)
    zero = 1050 // 25
    assert found[zero, zero] == 2
    assert found[(300 + 1050) // 25, (100 + 1050) // 25] == 1
    assert (found[-1, -1], found[0, 0], found[-1, 0]) == (1, 1, 1)
    assert np.array_equal(found, np.histogram2d(*_clipped(sct, ct), bins=JOINT_BINS, range=[(-1050, 1550)] * 2)[0])


def _clipped(*lines: np.ndarray) -> list[np.ndarray]:
    return [np.clip(each.ravel(), -1050, 1549) for each in lines]


def test_errors_stand_with_the_tissue_of_the_ct() -> None:
    ct = line(-900, -100, -100, 50, 300, 800)
    sct = line(-800, -120, -60, 50, 200, 500)
    rows = {row.name: row for row in tissue_errors(ct, sct, EVERYWHERE, 0.5)}
    assert list(rows) == ["air", "fat", "soft tissue", "spongy bone", "compact bone", "whole body"]
    assert (rows["fat"].mae, rows["fat"].bias, rows["fat"].volume_ml) == (30.0, 10.0, 1.0)
    assert (rows["compact bone"].mae, rows["compact bone"].bias) == (300.0, -300.0)
    assert (rows["air"].low, rows["air"].high) == (None, -400)
    assert (rows["spongy bone"].low, rows["spongy bone"].high) == (150, 600)
    assert (rows["compact bone"].low, rows["compact bone"].high) == (600, None)
    assert rows["whole body"].mae == pytest.approx((100 + 20 + 40 + 0 + 100 + 300) / 6)
    assert rows["fat"].spread == pytest.approx((-17.0, 37.0))  # from -20 to 40, 5 % in from each end


def test_a_tissue_that_the_ct_lacks_has_no_error() -> None:
    rows = {row.name: row for row in tissue_errors(line(*[0] * 6), line(*[500] * 6), EVERYWHERE, 1.0)}
    assert (rows["compact bone"].mae, rows["compact bone"].spread, rows["compact bone"].volume_ml) == (None, None, 0.0)
    assert rows["soft tissue"].mae == 500.0


def test_unsigned_voxels_do_not_wrap_around() -> None:
    ct = np.full((1, 1, 6), 100, dtype=np.uint16)
    sct = np.full((1, 1, 6), 40, dtype=np.uint16)
    assert tissue_errors(ct, sct, EVERYWHERE, 1.0)[-1].bias == -60.0
