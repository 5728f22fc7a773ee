"""Which windows run: skipping is exact inside the mask."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from synthct.errors import GeometryError
from synthct.inference import SweepSettings, sliding_windows
from synthct.inference.plan import Planner

Triple = tuple[int, int, int]


def _mask(shape: Triple, *voxels: Triple) -> Array:
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def _box(start: Triple, patch: Triple) -> tuple[slice, ...]:
    return tuple(slice(first, first + edge) for first, edge in zip(start, patch, strict=True))


def test_no_mask_runs_all() -> None:
    plan = Planner((4, 8, 8), SweepSettings(patch=(4, 4, 4), step=1.0)).plan()
    assert plan.starts == ((0, 0, 0), (0, 0, 4), (0, 4, 0), (0, 4, 4))
    assert (plan.skipped, plan.step) == (0, 1.0)


def test_empty_mask_runs_none() -> None:
    plan = Planner((4, 8, 8), SweepSettings(patch=(4, 4, 4), step=1.0), _mask((4, 8, 8))).plan()
    assert (plan.starts, plan.skipped) == ((), 4)


@pytest.mark.parametrize(("margin", "starts"), [(0, (8,)), (1, (8,)), (2, (4, 8)), (5, (4, 8)), (6, (0, 4, 8))])
def test_margin_by_hand(margin: int, starts: tuple[int, ...]) -> None:
    """One voxel at x = 9; windows [0, 4), [4, 8), [8, 12) lie 6, 2 and 0 voxels away."""
    settings = SweepSettings(patch=(1, 1, 4), step=1.0, margin=margin)
    plan = Planner((1, 1, 12), settings, _mask((1, 1, 12), (0, 0, 9))).plan()
    assert plan.starts == tuple((0, 0, x) for x in starts)
    assert plan.skipped == 3 - len(starts)


def test_another_step() -> None:
    planner = Planner((1, 1, 12), SweepSettings(patch=(1, 1, 4), step=0.5), np.ones((1, 1, 12), bool))
    assert len(planner.plan().starts) == 5
    assert len(planner.plan(1.0).starts) == 3
    assert planner.plan(1.0).step == 1.0


def test_mask_of_another_shape() -> None:
    with pytest.raises(GeometryError, match=r"\(4, 4, 5\) .* expected the image's, \(4, 4, 4\)"):
        Planner((4, 4, 4), SweepSettings(patch=(2, 2, 2)), np.ones((4, 4, 5), bool))


@given(
    st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.sampled_from(["nnunet", "monai"]),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_equals_dilation_and_keeps_the_mask_whole(
    shape: Triple, patch: Triple, step: float, rule: str, margin: int, seed: int
) -> None:
    wanted = np.random.default_rng(seed).random(shape) > 0.995
    settings = SweepSettings.model_validate({"patch": patch, "step": step, "rule": rule, "margin": margin})
    plan = Planner(shape, settings, wanted).plan()
    every = sliding_windows(shape, patch, step, settings.rule)
    cube = np.ones((2 * margin + 1,) * 3, bool)
    dilated = binary_dilation(wanted, cube) if margin else wanted
    assert list(plan.starts) == [start for start in every if dilated[_box(start, patch)].any()]
    assert plan.skipped == len(every) - len(plan.starts)

    def cover(starts: list[Triple]) -> Array:
        counts = np.zeros(shape, int)
        for start in starts:
            counts[_box(start, patch)] += 1
        return counts[wanted]

    np.testing.assert_array_equal(cover(list(plan.starts)), cover(every))
