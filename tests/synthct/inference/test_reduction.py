"""The selection network: exact medians by all three rules."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synthct.inference.reduction import MedianRule, median_of, selection_steps

RULES: tuple[MedianRule, ...] = get_args(MedianRule)


def _median(values: list[float], rule: MedianRule) -> float:
    return median_of(torch.tensor(values)[:, None], rule).item()


@pytest.mark.parametrize(
    ("values", "lower", "upper", "average"),
    [
        ([7.0], 7.0, 7.0, 7.0),
        ([3.0, 1.0], 1.0, 3.0, 2.0),
        ([5.0, -1.0, 2.0], 2.0, 2.0, 2.0),
        ([4.0, 0.0, 10.0, 6.0], 4.0, 6.0, 5.0),
        ([0.0, 0.0, 9.0, 9.0], 0.0, 9.0, 4.5),  # an exact 0.0 is a prediction like any other
        ([1.0, 1.0, 1.0, 1.0, 1.0, 8.0], 1.0, 1.0, 1.0),
        ([float("-inf"), 2.0, float("inf")], 2.0, 2.0, 2.0),
    ],
)
def test_by_hand(values: list[float], lower: float, upper: float, average: float) -> None:
    for order in itertools.islice(itertools.permutations(values), 120):
        assert [_median(list(order), rule) for rule in RULES] == [lower, upper, average]


@pytest.mark.parametrize("count", range(1, 13))
def test_sorts_all_zeros_and_ones(count: int) -> None:
    """A network that sorts every sequence of zeros and ones sorts everything (Knuth 5.3.4, theorem Z)."""
    sequences = torch.tensor(list(itertools.product([0.0, 1.0], repeat=count))).T
    ordered = sequences.sort(0).values
    assert torch.equal(median_of(sequences, "lower"), ordered[(count - 1) // 2])
    assert torch.equal(median_of(sequences, "upper"), ordered[count // 2])


@pytest.mark.parametrize("count", [13, 18, 27, 32, 33, 64, 100])
def test_many_predictions(count: int) -> None:
    predictions = torch.from_numpy(np.random.default_rng(count).normal(0, 400, (count, 1000)).astype(np.float32))
    ordered = predictions.sort(0).values
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    assert torch.equal(median_of(predictions, "lower"), low)
    assert torch.equal(median_of(predictions, "upper"), high)
    np.testing.assert_array_equal(median_of(predictions, "average").numpy(), np.median(predictions.numpy(), axis=0))


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 24), st.just(3)), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(RULES),
)
def test_any_values(predictions: np.ndarray, rule: MedianRule) -> None:
    before, count = predictions.copy(), len(predictions)
    ordered = np.sort(predictions, axis=0)
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    expected = {"lower": low, "upper": high, "average": (low + high) / 2}[rule]
    np.testing.assert_array_equal(median_of(torch.from_numpy(predictions), rule).numpy(), expected)
    np.testing.assert_array_equal(predictions, before)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 5, 8, 18])
def test_a_nan_anywhere_makes_the_voxel_nan(count: int, rule: MedianRule) -> None:
    predictions = torch.arange(float(count))[:, None].repeat(1, count + 1)
    predictions.diagonal().fill_(float("nan"))
    median = median_of(predictions, rule)
    assert median[:count].isnan().all()
    assert not median[count].isnan()


def test_comparisons_without_influence_are_left_out() -> None:
    full, pruned = selection_steps(18, tuple(range(18))), selection_steps(18, (9,))
    halves = sum(keep_low + keep_high for _, _, keep_low, keep_high in pruned)
    assert halves < 2 * len(full) * 0.85
    assert selection_steps(1, (0,)) == ()
    assert selection_steps(2, (0,)) == ((0, 1, True, False),)


@pytest.mark.parametrize("count", range(1, 28))
def test_the_upper_median_is_the_rule_of_paper_001(count: int) -> None:
    """3000 HU (3.0 in network units) joins an even count, the middle is taken, and all is clipped."""
    values = torch.rand(count, 1000, generator=torch.Generator().manual_seed(count)) * 5 - 1.5
    joined = torch.cat([values, torch.full((1, 1000), 3.0)]) if count % 2 == 0 else values
    wanted = joined.sort(0).values[len(joined) // 2].clamp(-1.024, 3.0)
    assert torch.equal(median_of(values, "upper").clamp(-1.024, 3.0), wanted)
