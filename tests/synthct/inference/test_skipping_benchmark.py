"""The volume on which benchmarks/inference.py times skipping is what its table says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.inference import middle, slim_body
from synthct.inference.plan import Planner
from synthct.inference.settings import SweepSettings


@pytest.mark.parametrize("patch", [(32, 128, 128), (16, 64, 64)])
def test_two_of_six_windows_lie_outside_a_body_of_42_percent(patch: tuple[int, int, int]) -> None:
    mask = slim_body((patch[0], patch[1], patch[2] * 7 // 2))
    assert mask.mean() == pytest.approx(0.42, abs=0.002)
    plan = Planner(mask.shape, SweepSettings(patch=patch), mask).plan()
    assert plan.skipped == 2
    assert [start[2] / patch[2] for start in plan.starts] == [0.5, 1.0, 1.5, 2.0]


def test_body_stands_in_the_middle() -> None:
    """42 of 100 columns: 29 free ones on either side."""
    mask = slim_body((2, 3, 100))
    assert np.flatnonzero(mask.any((0, 1))).tolist() == list(range(29, 71))
    assert mask[:, :, 29:71].all()


def test_middle_of_a_volume() -> None:
    volume = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    assert np.array_equal(middle(volume, (2, 6, 4)), volume[1:3, :, 2:6])
    assert middle(volume, (1, 1, 1)).shape == (1, 1, 1)
