"""Two arms of an experiment on the same cases: the mean paired difference, its bootstrap interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synthct.errors import InputError

__all__ = ["LEAST_PAIRS", "NO_DIFFERENCE", "PairedDifference", "paired_differences", "verdict"]

RESAMPLES = 10_000
SEED = 0
LEVEL = 0.95

LEAST_PAIRS = 6
"""With fewer pairs nothing is called a difference: five of one sign come about by chance in 1 of 16 experiments."""

NO_DIFFERENCE = "no difference shown"

Rows = Sequence[Mapping[str, Any]]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class PairedDifference:
    """One arm's values less the other's.

    Attributes:
        mean: over the pairs; None where there is none.
        low: lower end of the 95 % interval; None where there is no pair.
        high: its upper end.
        pairs: cases that both arms have a value for.
        left_out: cases that only one arm has, or that lack a value (null) in either.
    """

    mean: float | None
    low: float | None
    high: float | None
    pairs: int
    left_out: int


def paired_differences(
    rows_a: Rows, rows_b: Rows, metric: str, *, resamples: int = RESAMPLES, seed: int = SEED
) -> PairedDifference:
    """Return arm a less arm b, paired by `case`, with a percentile bootstrap interval of the mean over cases.

    The interval says what other cases might have given, with these networks. It does not hold what another seed of the
    training might have given.

    Args:
        rows_a: a mapping a case, with `case` and the metric.
        rows_b: the same of the other arm.
        metric: key of the value; null, NaN, infinity and a missing key count as no value.
        resamples: draws of as many cases as there are, with replacement.
        seed: of the draws.

    Raises:
        InputError: a case stands twice in one arm.
    """
    values = [_values(rows, metric) for rows in (rows_a, rows_b)]
    everything = values[0].keys() | values[1].keys()
    differences = []
    for case in sorted(everything):
        own, other = (value.get(case) for value in values)
        if own is not None and other is not None:
            differences.append(own - other)
    left_out = len(everything) - len(differences)
    if not differences:
        return PairedDifference(None, None, None, 0, left_out)
    found = np.array(differences)
    drawn = np.random.default_rng(seed).integers(len(found), size=(resamples, len(found)))
    low, high = np.quantile(found[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return PairedDifference(float(found.mean()), float(low), float(high), len(found), left_out)


def verdict(difference: PairedDifference, better: Better | None) -> str:
    """Say what a difference shows.

    Args:
        difference: of arm a less arm b.
        better: which way the metric is good; None where neither is, and the verdict is `higher` or `lower`.

    Returns:
        `better` or `worse` (of arm a) where the interval excludes 0 and there are `LEAST_PAIRS` pairs; else
        `no difference shown`.
    """
    low, high = difference.low, difference.high
    if low is None or high is None or difference.pairs < LEAST_PAIRS or low <= 0 <= high:
        return NO_DIFFERENCE
    direction = "higher" if low > 0 else "lower"
    if better is None:
        return direction
    return "better" if direction == better else "worse"


def _values(rows: Rows, metric: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for row in rows:
        case = str(row["case"])
        if case in found:
            raise InputError(f"case {case} stands twice in one arm; expected one row a case")
        value = row.get(metric)
        found[case] = float(value) if value is not None and math.isfinite(value) else None
    return found
