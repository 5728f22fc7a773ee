"""Window starts: both rules against an independent statement of each, and coverage (ALGORITHMS 1.5)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.errors import UsageError
from synthct.inference import sliding_windows

Triple = tuple[int, int, int]

SIZES, PATCHES, AXES = st.integers(1, 600), st.integers(1, 200), st.integers(0, 2)
STEPS = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.75, 1.0])
RULES = st.sampled_from(["nnunet", "monai"])


def _along(axis: int, size: int, patch: int, step: float, rule: Any) -> list[int]:
    """The starts along one axis of a volume that is one patch thick along the others."""
    shape, patches = [5, 5, 5], [5, 5, 5]
    shape[axis], patches[axis] = size, patch
    starts = sliding_windows((shape[0], shape[1], shape[2]), (patches[0], patches[1], patches[2]), step, rule)
    assert all(start[other] == 0 for start in starts for other in {0, 1, 2} - {axis})
    return [start[axis] for start in starts]


def _nnunet_axis(size: int, patch: int, step: float) -> list[int]:
    """nnU-Net: the fewest windows, evenly spread, at most step x patch (but a voxel) apart; halves go to even."""
    last, farthest = max(0, size - patch), max(1.0, patch * step)
    gaps = next(number for number in itertools.count() if last / farthest <= number)
    return np.round(np.arange(gaps + 1) * (last / max(gaps, 1))).astype(int).tolist()


def _monai_axis(size: int, patch: int, step: float) -> list[int]:
    """MONAI: march with a whole stride until a window reaches the end, and move that one back."""
    stride, start, starts = max(1, int(patch * step)), 0, []
    while start + patch < size:
        starts.append(start)
        start += stride
    return [*starts, max(0, size - patch)]


@pytest.mark.parametrize(
    ("shape", "patch", "step", "rule", "expected"),
    [
        ((110, 8, 8), (64, 8, 8), 0.5, "nnunet", [0, 23, 46]),
        ((110, 8, 8), (64, 8, 8), 0.5, "monai", [0, 32, 46]),
        ((100, 8, 8), (64, 8, 8), 0.5, "nnunet", [0, 18, 36]),
        ((96, 8, 8), (64, 8, 8), 0.5, "nnunet", [0, 32]),
        ((96, 8, 8), (64, 8, 8), 0.5, "monai", [0, 32]),
        ((128, 8, 8), (64, 8, 8), 1.0, "nnunet", [0, 64]),
        ((129, 8, 8), (64, 8, 8), 1.0, "nnunet", [0, 32, 65]),  # 32.5 goes to the even neighbour
        ((129, 8, 8), (64, 8, 8), 1.0, "monai", [0, 64, 65]),
        ((64, 8, 8), (64, 8, 8), 0.3, "nnunet", [0]),
        ((64, 8, 8), (64, 8, 8), 0.3, "monai", [0]),
        ((20, 8, 8), (64, 8, 8), 0.3, "nnunet", [0]),  # overhangs
        ((20, 8, 8), (64, 8, 8), 0.3, "monai", [0]),
        ((12, 8, 8), (10, 8, 8), 0.01, "monai", [0, 1, 2]),  # the stride is never below 1
    ],
)
def test_by_hand(shape: Triple, patch: Triple, step: float, rule: Any, expected: list[int]) -> None:
    assert sliding_windows(shape, patch, step, rule) == [(z, 0, 0) for z in expected]


def test_order_is_x_fastest() -> None:
    assert sliding_windows((2, 1, 3), (1, 1, 2), 1.0) == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]


@pytest.mark.parametrize("rule", ["nnunet", "monai"])
def test_patch_of_one_slice_visits_each_slice_once(rule: Any) -> None:
    assert sliding_windows((4, 8, 8), (1, 8, 8), 0.3, rule) == [(z, 0, 0) for z in range(4)]


@settings(max_examples=1000)
@given(AXES, SIZES, PATCHES, STEPS)
def test_nnunet_rule(axis: int, size: int, patch: int, step: float) -> None:
    assert _along(axis, size, patch, step, "nnunet") == _nnunet_axis(size, patch, step)


@settings(max_examples=1000)
@given(AXES, SIZES, PATCHES, STEPS)
def test_monai_rule(axis: int, size: int, patch: int, step: float) -> None:
    assert _along(axis, size, patch, step, "monai") == _monai_axis(size, patch, step)


def test_nnunet_rule_is_nnunets_own() -> None:
    """A thousand random volumes at least as large as their patch, with steps of a voxel and more."""
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    rng = np.random.default_rng(1)
    for _ in range(1000):
        patch = rng.integers(1, 257, 3)
        shape = patch + rng.integers(0, 400, 3) * (rng.random(3) > 0.1)
        step = float(rng.choice([rng.uniform(1 / patch.min(), 1), 0.3, 0.5, 0.8, 1.0]))
        step = max(step, 1 / patch.min())
        starts = compute_steps_for_sliding_window(tuple(shape.tolist()), tuple(patch.tolist()), step)
        expected = [(int(z), int(y), int(x)) for z, y, x in itertools.product(*starts)]
        z, y, x = shape.tolist()
        assert sliding_windows((z, y, x), (int(patch[0]), int(patch[1]), int(patch[2])), step) == expected


@settings(max_examples=500)
@given(AXES, SIZES, PATCHES, STEPS, RULES)
def test_every_voxel_is_covered(axis: int, size: int, patch: int, step: float, rule: str) -> None:
    starts = _along(axis, size, patch, step, rule)
    assert starts[0] == 0
    assert starts[-1] == max(0, size - patch)
    gaps = np.diff(starts)
    assert (gaps >= 1).all()
    assert (gaps <= math.ceil(patch * step)).all()
    if rule == "nnunet" and gaps.size:
        assert np.ptp(gaps) <= 2  # each start is rounded by half a voxel at most


@given(st.tuples(SIZES, SIZES, SIZES), st.integers(1, 3), RULES)
def test_axes_do_not_mix(shape: Triple, parts: int, rule: Any) -> None:
    patch = tuple(max(1, math.ceil(size / parts)) for size in shape)
    starts = sliding_windows(shape, (patch[0], patch[1], patch[2]), 1.0, rule)
    along = [_along(axis, shape[axis], patch[axis], 1.0, rule) for axis in range(3)]
    assert starts == list(itertools.product(*along))


@pytest.mark.parametrize("step", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_step_out_of_range(step: float) -> None:
    with pytest.raises(UsageError, match="step"):
        sliding_windows((10, 10, 10), (4, 4, 4), step)


@pytest.mark.parametrize("patch", [(0, 4, 4), (4, -1, 4)])
def test_patch_without_volume(patch: Triple) -> None:
    with pytest.raises(UsageError, match="patch"):
        sliding_windows((10, 10, 10), patch, 0.5)


def test_unknown_rule() -> None:
    rule: Any = "dense"
    with pytest.raises(UsageError, match="'dense' is unknown; expected nnunet or monai"):
        sliding_windows((10, 10, 10), (4, 4, 4), 0.5, rule)
