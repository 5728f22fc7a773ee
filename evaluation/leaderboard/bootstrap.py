"""How sure a rank is: the same ranking on cases drawn anew, with replacement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.leaderboard.metrics import Metric
from evaluation.leaderboard.rankings import Floats, Integers, rank_scores, score_means

__all__ = ["draw_ranks", "first_probabilities", "rank_intervals"]

BLOCK = 2_000_000
"""Means that are held at a time; bounds the memory of many draws of many entries."""


def draw_ranks(
    values: Floats, metrics: Sequence[Metric], ranking: str, *, draws: int, seed: int, missing: np.ndarray | None = None
) -> Integers:
    """Rank entries on cases that are drawn with replacement, as many as there are.

    All entries are ranked on the same draw. In a draw, a mean is over the cases that have a value; an entry none of
    whose drawn cases has one has the worst value there.

    Args:
        values: (entries, metrics, cases); NaN where a case has no value.
        metrics: in the order of the second axis.
        ranking: as for `score_means`.
        draws: how many, 1 or more.
        seed: of the draws; the same seed gives the same ranks.
        missing: (entries, metrics); True where the entry has no mean over all cases: it has none in any draw.

    Returns:
        (draws, entries).
    """
    entries, kinds, cases = values.shape
    present = np.isfinite(values)
    if missing is not None:
        present &= ~missing[:, :, None]
    filled = np.where(present, values, 0.0).reshape(-1, cases).T
    counted = present.reshape(-1, cases).T.astype(np.float64)
    times = np.random.default_rng(seed).multinomial(cases, np.full(cases, 1 / cases), size=draws).astype(np.float64)
    size = max(1, BLOCK // (entries * kinds))
    blocks = []
    for start in range(0, draws, size):
        chosen = times[start : start + size]
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
            means = ((chosen @ filled) / (chosen @ counted)).reshape(-1, entries, kinds)
        blocks.append(rank_scores(score_means(means, metrics, ranking), ranking))
    return np.concatenate(blocks)


def rank_intervals(ranks: Integers, confidence: float = 0.95) -> list[tuple[int, int]]:
    """Lowest and highest rank of the central part of the draws, per entry; ranks (draws, entries)."""
    tail = (1 - confidence) / 2
    low = np.quantile(ranks, tail, axis=0, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=0, method="higher")
    return [(int(best), int(worst)) for best, worst in zip(low, high, strict=True)]


def first_probabilities(ranks: Integers) -> Floats:
    """Share of draws in which an entry is first; where n share the place, each has 1/n of it, so that all sum to 1."""
    first = ranks == 1
    shares: Floats = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
