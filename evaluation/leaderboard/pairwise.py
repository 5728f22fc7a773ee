"""Which entries differ case by case: Wilcoxon's signed-rank test (Wilcoxon 1945), corrected after Holm (1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.leaderboard.metrics import Metric
from evaluation.leaderboard.rankings import Floats
from evaluation.standings import Pair, Placing

__all__ = ["choose_pairs", "compare_pairs", "holm", "signed_rank_p", "smallest_p"]

ALL_PAIRS_UP_TO = 20
"""Entries up to which every pair is tested; beyond, 200 entries would be 19,900 tests a metric, with nothing left of
any after the correction."""
EXACT_UP_TO = 50
DECIMALS = 9
"""Places to which differences are rounded: what two machines compute differently is none, and ranks tie too."""


def choose_pairs(entries: int) -> list[tuple[int, int]]:
    """Pairs of places (better, worse) that are tested: all of few entries, else neighbours and the first against all.

    Args:
        entries: how many, best first.
    """
    if entries <= ALL_PAIRS_UP_TO:
        return [(first, second) for first in range(entries) for second in range(first + 1, entries)]
    return [(0, other) for other in range(1, entries)] + [(place, place + 1) for place in range(1, entries - 1)]


def signed_rank_p(differences: Floats) -> Floats:
    """Two-sided p of Wilcoxon's signed-rank test, many pairs at a time.

    Differences that are zero are left out (Wilcoxon's own way). The null distribution is exact up to 50 differences
    (equal ones share the mean of their ranks, and all patterns of signs are counted), and the normal approximation
    beyond (corrected for ties, no correction for continuity).

    Args:
        differences: (pairs, cases); NaN where a case has no value of both.

    Returns:
        (pairs,): NaN without any case, 1 where every difference is zero. One case alone gives 1.
    """
    from scipy.stats import wilcoxon

    p = np.full(len(differences), np.nan)
    compared = np.isfinite(differences)
    filled = np.where(compared, differences, 0.0)  # a zero is left out as well
    counts = np.count_nonzero(filled, axis=1)
    p[compared.any(axis=1) & (counts == 0)] = 1.0
    ordered = np.sort(np.where(filled == 0, np.nan, np.abs(filled)), axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    some = counts > 0
    exact = some & ~tied & (counts <= EXACT_UP_TO)
    counted = some & tied & (counts <= EXACT_UP_TO)
    if exact.any():
        p[exact] = wilcoxon(filled[exact], axis=1, method="exact").pvalue
    for pair in np.flatnonzero(counted):
        p[pair] = _counted_p(filled[pair][filled[pair] != 0])
    rest = some & ~exact & ~counted
    if rest.any():
        p[rest] = wilcoxon(filled[rest], axis=1, method="asymptotic", correction=False).pvalue
    return p


def smallest_p(pairs: Sequence[Pair]) -> float:
    """The smallest corrected p that any metric's tests could have had: all signs alike, as often as there are pairs.

    Returns:
        1 where nothing was tested.
    """
    tests: dict[str, list[int]] = {}
    for pair in pairs:
        if pair.p is not None:
            tests.setdefault(pair.metric, []).append(pair.n)
    return min((min(1.0, len(cases) * 2.0 ** (1 - max(cases))) for cases in tests.values()), default=1.0)


def holm(p: Sequence[float] | Floats) -> Floats:
    """Correct p values for their number: sorted, the i-th (from 0) of m times m - i, never falling, at most 1.

    NaN is no test: it stays, and does not count.
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors)) if len(order) else []
    return corrected


def compare_pairs(
    placings: Sequence[Placing], names: Sequence[str], values: Floats, metrics: Sequence[Metric]
) -> tuple[Pair, ...]:
    """Test pairs of ranked entries in each metric; Holm's correction is over the pairs of one metric.

    Args:
        placings: best first; those without a rank are left out.
        names: of the entries, in the order of `values`.
        values: (entries, metrics, cases); NaN where a case has no value.
        metrics: in the order of the second axis.
    """
    rows = {name: row for row, name in enumerate(names)}
    ranked = [placing.entry for placing in placings if placing.rank is not None]
    places = choose_pairs(len(ranked))
    if not places or not values.shape[2]:
        return ()
    pairs = [(ranked[first], ranked[second]) for first, second in places]
    first, second = ([rows[pair[side]] for pair in pairs] for side in (0, 1))
    found = []
    for column, metric in enumerate(metrics):
        differences = np.round(values[first, column] - values[second, column], DECIMALS)
        compared = np.isfinite(differences).sum(axis=1)
        p = signed_rank_p(differences)
        corrected = holm(p)
        medians = _medians(differences)
        for row, (better, worse) in enumerate(pairs):
            tested = compared[row] > 0
            found.append(
                Pair(
                    first=better,
                    second=worse,
                    metric=metric.name,
                    p=float(p[row]) if tested else None,
                    p_holm=float(corrected[row]) if tested else None,
                    median_difference=float(medians[row]) if tested else None,
                    n=int(compared[row]),
                )
            )
    return tuple(found)


def _counted_p(differences: Floats) -> float:
    """Two-sided p of differences without zeros: how many of all patterns of signs are as far from the middle."""
    from scipy.stats import rankdata

    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)  # whole where ranks are halves
    total = int(doubled.sum())
    patterns = np.zeros(total + 1)
    patterns[0] = 1.0
    for rank in doubled.tolist():
        patterns[rank:] += patterns[:-rank].copy()
    distances = np.abs(2 * np.arange(total + 1) - total)
    found = abs(2 * int(doubled[differences > 0].sum()) - total)
    return float(patterns[distances >= found].sum() / 2.0 ** len(doubled))


def _medians(differences: Floats) -> Floats:
    """Median per pair over the cases that have a value of both; NaN where none has."""
    medians = np.full(len(differences), np.nan)
    some = np.isfinite(differences).any(axis=1)
    medians[some] = np.nanmedian(differences[some], axis=1)
    return medians
