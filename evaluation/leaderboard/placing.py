"""Entries put in order by one of the rules, with the draws that say how sure the order is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.leaderboard.bootstrap import draw_ranks, first_probabilities, rank_intervals
from evaluation.leaderboard.entries import Entry
from evaluation.leaderboard.metrics import METRICS, Metric, find_metrics
from evaluation.leaderboard.rankings import Floats, is_platform, rank_metrics, rank_scores, score_means
from evaluation.standings import Bootstrap, Placing
from synthct.errors import InputError

__all__ = ["collect_means", "place", "rank_entries", "refuse_unrankable", "used_metrics"]


def rank_entries(
    entries: Sequence[Entry], ranking: str = "synthrad2025", *, metrics: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rank entries, best first; equal scores share the lower rank (1, 1, 3).

    `synthrad2023` sums each metric normalised to 0 (worst entry) ... 1 (best), 0.5 where all are equal.
    `synthrad2025` takes the mean of that per group, then over the groups: partial, for want of dose.
    `platform` takes the mean of the ranks per metric (`platform-median` their median), lower is better; an entry with
    a missing value is invalid: its rank and score are None and it stands last.
    In the first two a missing value counts as the worst, with a warning.

    Args:
        entries: from `read_entries`.
        ranking: the rule.
        metrics: rank by these alone; empty for all that any entry has a value of.

    Raises:
        UsageError: the ranking or a metric is unknown.
        InputError: there is nothing to rank by.
    """
    used = used_metrics(entries, metrics)
    means = collect_means(entries, used)
    refuse_unrankable([entry.name for entry in entries], means, used, ranking)
    by_name = {entry.name: entry for entry in entries}
    rows = []
    for placing in place([entry.name for entry in entries], means, used, ranking):
        entry = by_name[placing.entry]
        rows.append(
            {
                "rank": placing.rank,
                "entry": placing.entry,
                "score": placing.score,
                **placing.per_metric,
                "cases": len(entry.cases),
                "simulated": entry.simulated,
                "starter": entry.starter,
                "random_features": entry.random_features,
                "demonstration_only": entry.demonstration_only,
            }
        )
    return rows


def used_metrics(entries: Sequence[Entry], names: Sequence[str] = ()) -> tuple[Metric, ...]:
    """Metrics to rank by, each with the column that its entries have it in.

    Raises:
        UsageError: a name is unknown.
        InputError: no entry has a value of a metric that is asked for, or of any.
    """
    wanted = find_metrics(names or list(METRICS))
    used = [metric for metric in wanted if any(entry.means.get(metric.name) is not None for entry in entries)]
    if names and len(used) < len(wanted):
        lacking = [metric.name for metric in wanted if metric not in used]
        raise InputError(f"no entry has a value of {', '.join(lacking)}; expected one to rank by")
    if not used:
        raise InputError("no entry has a value in any metric that can be ranked")
    columns = {name: column for entry in entries for name, column in entry.columns.items()}
    return tuple(replace(metric, column=columns.get(metric.name, metric.name)) for metric in used)


def collect_means(entries: Sequence[Entry], metrics: Sequence[Metric]) -> Floats:
    """Means as (entries, metrics), NaN where undefined."""
    rows = [[entry.means.get(metric.name) for metric in metrics] for entry in entries]
    return np.array(rows, dtype=np.float64).reshape(len(entries), len(metrics))


def refuse_unrankable(names: Sequence[str], means: Floats, metrics: Sequence[Metric], ranking: str) -> list[str]:
    """Warn of every missing value and what it counts for; the warnings are also returned.

    Raises:
        UsageError: the ranking is unknown.
        InputError: the ranking drops every entry.
    """
    missing = np.isnan(means)
    if is_platform(ranking):
        said = [
            f"{names[row]} has a missing value and is invalid on the platform"
            for row in np.flatnonzero(missing.any(axis=1)).tolist()
        ]
    else:
        said = [
            f"{names[row]} has no value for {metrics[column].name}; it counts as the worst"
            for row, column in np.argwhere(missing).tolist()
        ]
    for line in said:
        warnings.warn(line, stacklevel=3)
    if is_platform(ranking) and missing.any(axis=1).all():
        raise InputError("no entry has a value in every metric; the platform would rank none")
    return said


def place(
    names: Sequence[str],
    means: Floats,
    metrics: Sequence[Metric],
    ranking: str,
    *,
    values: Floats | None = None,
    bootstrap: Bootstrap | None = None,
) -> list[Placing]:
    """Put entries in order, best first; those that the ranking holds invalid stand last.

    Args:
        names: of the entries.
        means: (entries, metrics); NaN where undefined.
        metrics: in the order of the columns.
        ranking: the rule.
        values: (entries, metrics, cases), for the draws; None for none.
        bootstrap: how many draws and from which seed.

    Raises:
        UsageError: the ranking is unknown.
    """
    missing = np.isnan(means)
    spoilt = missing.any(axis=1) if is_platform(ranking) else np.zeros(len(names), dtype=bool)
    valid: list[int] = np.flatnonzero(~spoilt).tolist()
    placings = [_placing(names[row], means[row], metrics) for row in np.flatnonzero(spoilt).tolist()]
    unranked = sorted(placings, key=lambda placing: placing.entry)
    if not valid:
        return unranked
    scores = score_means(means[valid], metrics, ranking)
    ranks = rank_scores(scores, ranking)
    per_metric = rank_metrics(means[valid], metrics)
    placings = []
    for index, row in enumerate(valid):
        placing = _placing(names[row], means[row], metrics)
        metric_ranks = {
            metric.name: None if missing[row, column] else int(per_metric[index, column])
            for column, metric in enumerate(metrics)
        }
        placings.append(replace(placing, rank=int(ranks[index]), score=float(scores[index]), metric_ranks=metric_ranks))
    if values is not None and bootstrap is not None and bootstrap.draws > 0 and values.shape[2] > 1:
        drawn = draw_ranks(
            values[valid], metrics, ranking, draws=bootstrap.draws, seed=bootstrap.seed, missing=missing[valid]
        )
        intervals, first = rank_intervals(drawn, bootstrap.confidence), first_probabilities(drawn)
        placings = [
            replace(placing, rank_interval=interval, first_probability=float(share))
            for placing, interval, share in zip(placings, intervals, first, strict=True)
        ]
    return sorted(placings, key=lambda placing: (placing.rank or 0, placing.entry)) + unranked


def _placing(name: str, means: Floats, metrics: Sequence[Metric]) -> Placing:
    per_metric = {
        metric.name: None if np.isnan(mean) else float(mean) for metric, mean in zip(metrics, means, strict=True)
    }
    return Placing(None, name, None, per_metric, dict.fromkeys(per_metric))
