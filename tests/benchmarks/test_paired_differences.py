"""Paired differences, their bootstrap interval and the verdict, on values that a person can work out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.paired import LEAST_PAIRS, NO_DIFFERENCE, PairedDifference, paired_differences, verdict
from synthct.errors import InputError


def rows(*values: Any) -> list[dict[str, Any]]:
    return [{"case": f"1EXA{number:03d}", "mae": value} for number, value in enumerate(values)]


def test_a_difference_that_all_cases_share() -> None:
    found = paired_differences(rows(10, 20, 90, 4, 5, 6), rows(12, 22, 92, 6, 7, 8), "mae")
    assert found == PairedDifference(-2.0, -2.0, -2.0, 6, 0)
    assert verdict(found, "lower") == "better"
    assert verdict(found, "higher") == "worse"
    assert verdict(found, None) == "lower"


def test_cases_are_paired_by_name_not_by_place() -> None:
    a, b = rows(1.0, 2.0, 3.0), rows(1.5, 2.5, 3.5)
    assert paired_differences(a[::-1], b, "mae").mean == pytest.approx(-0.5)


def test_interval_of_two_cases_by_hand() -> None:
    """Means of two draws from 0 and 1 are 0, 1/2 and 1, a quarter, a half and a quarter of the time."""
    found = paired_differences(rows(0.0, 1.0), rows(0.0, 0.0), "mae")
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_interval_is_that_of_the_normal_distribution_where_cases_are_many() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)
    found = paired_differences(rows(*values), rows(*np.zeros(400)), "mae")
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = rows(1.0, 5.0, 2.0, 8.0), rows(0.5, 7.0, 1.0, 3.0)
    assert paired_differences(a, b, "mae") == paired_differences(a, b, "mae")
    assert paired_differences(a, b, "mae", resamples=50, seed=1) != paired_differences(a, b, "mae", resamples=50)


@pytest.mark.parametrize("absent", [None, math.nan, math.inf])
def test_a_pair_without_a_value_is_left_out_and_counted(absent: float | None) -> None:
    found = paired_differences(rows(1.0, absent, 3.0), rows(0.0, 1.0, absent), "mae")
    assert found == PairedDifference(1.0, 1.0, 1.0, 1, 2)


def test_a_case_or_a_column_that_one_arm_lacks() -> None:
    assert paired_differences(rows(1.0, 2.0, 3.0), rows(1.0), "mae").left_out == 2
    found = paired_differences(rows(1.0, 2.0), rows(1.0, 2.0), "psnr")
    assert found == PairedDifference(None, None, None, 0, 2)
    assert verdict(found, "higher") == NO_DIFFERENCE
    assert paired_differences([], [], "mae") == PairedDifference(None, None, None, 0, 0)


def test_no_verdict_where_the_interval_holds_zero() -> None:
    for low, high in ((-0.1, 0.2), (0.0, 0.3), (-0.3, 0.0)):
        assert verdict(PairedDifference(0.1, low, high, 18, 0), "higher") == NO_DIFFERENCE
    assert verdict(PairedDifference(0.1, 0.01, 0.2, 18, 0), "higher") == "better"
    assert verdict(PairedDifference(-0.1, -0.2, -0.01, 18, 0), "higher") == "worse"
    assert verdict(PairedDifference(0.1, 0.01, 0.2, 18, 0), None) == "higher"


def test_no_verdict_on_a_handful_of_cases() -> None:
    few = paired_differences(rows(*[2.0] * (LEAST_PAIRS - 1)), rows(*[1.0] * (LEAST_PAIRS - 1)), "mae")
    assert (few.low, verdict(few, "higher")) == (1.0, NO_DIFFERENCE)
    assert 2 * 0.5 ** (LEAST_PAIRS - 1) > 0.05 > 2 * 0.5**LEAST_PAIRS


def test_a_case_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="1EXA000 stands twice"):
        paired_differences(rows(1.0) * 2, rows(1.0), "mae")
