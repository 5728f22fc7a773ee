"""The three rules of ranking (CONTRACT 3.9, 2.6) on arrays of means, many draws at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluation.leaderboard.metrics import GROUPS, Metric
from synthct.errors import InputError, UsageError

__all__ = ["RANKINGS", "Floats", "Integers", "groups_note", "is_platform", "rank_metrics", "rank_scores", "score_means"]

RANKINGS = ("synthrad2023", "synthrad2025", "platform", "platform-median")
OFFICIAL_GROUPS = ("image similarity", "geometric fidelity", "photon dose", "proton dose")
TIE = 1e-9
"""Relative difference up to which two values are equal; the rounding of a mean stays far below it."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def is_platform(ranking: str) -> bool:
    """Whether a ranking is by ranks per metric, lower scores better, and drops entries with a missing value.

    Raises:
        UsageError: the ranking is unknown.
    """
    if ranking not in RANKINGS:
        raise UsageError(f"ranking '{ranking}' is unknown; expected {', '.join(RANKINGS[:-1])} or {RANKINGS[-1]}")
    return ranking.startswith("platform")


def score_means(means: Floats, metrics: Sequence[Metric], ranking: str) -> Floats:
    """Score entries by their means.

    `synthrad2023` sums each metric normalised to 0 (worst entry) ... 1 (best), 0.5 where all are equal.
    `synthrad2025` takes the mean of that per group, then over the groups.
    `platform` takes the mean of the ranks per metric, `platform-median` their median; lower is better.

    Args:
        means: (..., entries, metrics); NaN where undefined, which counts as the worst. A metric that is NaN for every
            entry tells none from another.
        metrics: in the order of the last axis.
        ranking: one of RANKINGS.

    Returns:
        (..., entries).

    Raises:
        UsageError: the ranking is unknown.
        InputError: dose columns with a beam and without one stand side by side.
    """
    if is_platform(ranking):
        ranks = rank_metrics(means, metrics).astype(np.float64)
        scores: Floats = np.median(ranks, axis=-1) if ranking == "platform-median" else ranks.mean(axis=-1)
        return scores
    normalised = _normalise(_oriented(means, metrics))
    if ranking == "synthrad2023":
        total: Floats = normalised.sum(axis=-1)
        return total
    columns = [[i for i, metric in enumerate(metrics) if metric.group == group] for group in _present(metrics)]
    per_group = [normalised[..., chosen].mean(axis=-1) for chosen in columns]
    weighed: Floats = np.mean(per_group, axis=0)
    return weighed


def rank_scores(scores: Floats, ranking: str) -> Integers:
    """Ranks of scores (..., entries): equal scores share the lower rank (1, 1, 3)."""
    return _shared_ranks(scores if is_platform(ranking) else -scores)


def rank_metrics(means: Floats, metrics: Sequence[Metric]) -> Integers:
    """Ranks per metric, (..., entries, metrics); what is NaN shares the last place."""
    ranks = _shared_ranks(-np.swapaxes(_oriented(means, metrics), -1, -2))
    return np.swapaxes(ranks, -1, -2)


def groups_note(metrics: Sequence[Metric]) -> str:
    """Say which of the four groups of synthrad2025 are missing; empty where none is."""
    present = _present(metrics)
    if all(group in present for group in OFFICIAL_GROUPS):
        return ""
    absent = [group for group in OFFICIAL_GROUPS if group not in present]
    if "dose" in present:
        return f"partial: {len(present)} of 4 groups ({', '.join(present)}, which does not tell its beam)"
    return f"partial: {len(present)} of 4 groups ({', '.join(present)}; no {', '.join(absent)})"


def _present(metrics: Sequence[Metric]) -> list[str]:
    present = [group for group in GROUPS if any(metric.group == group for metric in metrics)]
    if "dose" in present and len({"photon dose", "proton dose"} & set(present)) > 0:
        raise InputError("dose columns stand with a beam (_photon, _proton) and without one; expected either")
    return present


def _oriented(means: Floats, metrics: Sequence[Metric]) -> Floats:
    """Means turned so that higher is better."""
    turned: Floats = means * np.array([1.0 if metric.higher_is_better else -1.0 for metric in metrics])
    return turned


def _normalise(oriented: Floats) -> Floats:
    """Scale to 0 (worst entry) ... 1 (best) along the entries; equal values 0.5, NaN 0."""
    missing = np.isnan(oriented)
    told = np.where(missing.all(axis=-2, keepdims=True), 0.0, oriented)  # nobody has a value: all are equal
    missing = np.isnan(told)
    worst = np.where(missing, np.inf, told).min(axis=-2, keepdims=True)
    best = np.where(missing, -np.inf, told).max(axis=-2, keepdims=True)
    equal = best - worst <= TIE * np.maximum(np.abs(best), np.abs(worst))
    scaled = np.where(equal, 0.5, (told - worst) / np.where(equal, 1.0, best - worst))
    filled: Floats = np.where(missing, 0.0, scaled)
    return filled


def _shared_ranks(values: Floats) -> Integers:
    """Competition ranks along the last axis, lowest value first: 1 + the number of entries that are strictly better."""
    filled = np.where(np.isnan(values), np.inf, values)
    order = np.argsort(filled, axis=-1, kind="stable")
    ordered = np.take_along_axis(filled, order, axis=-1)
    with np.errstate(invalid="ignore"):  # inf - inf, both missing: no step
        steps = np.diff(ordered, axis=-1)
    lower = np.abs(ordered[..., :-1])
    step = steps > TIE * np.maximum(1.0, np.where(np.isfinite(lower), lower, 0.0))
    places = np.arange(values.shape[-1], dtype=np.int64)
    first = np.zeros(values.shape, dtype=np.int64)
    first[..., 1:] = np.where(step, places[1:], 0)
    ranks = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.maximum.accumulate(first, axis=-1) + 1, axis=-1)
    return ranks
