"""The same ranking on the cases of one region, one task, or one region of one task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.aggregates import OFFICIAL
from evaluation.leaderboard.entries import Entry
from evaluation.leaderboard.metrics import DOSE_COLUMNS, Metric
from evaluation.leaderboard.pairwise import compare_pairs
from evaluation.leaderboard.placing import place
from evaluation.leaderboard.rankings import Floats
from evaluation.standings import Bootstrap, Stratum

__all__ = ["find_strata", "stratum_means"]

Label = tuple[str | None, str | None]


def find_strata(
    entries: Sequence[Entry], values: Floats, metrics: Sequence[Metric], ranking: str, bootstrap: Bootstrap
) -> dict[str, tuple[Stratum, ...]]:
    """Rank the cases of each region, task and region of a task by themselves, where there are several of them.

    Args:
        entries: all on the same cases; region and task of a case are those of the first entry.
        values: (entries, metrics, cases); NaN where a case has no value.
        metrics: in the order of the second axis.
        ranking: the rule.
        bootstrap: draws and seed; a stratum of one case has no intervals.

    Returns:
        `region`, `task` and `both`, each empty where there are not several; a stratum in which no entry has a value is
        left out, and so are metrics that nobody has a value of there.
    """
    labels = [(_text(row.get("region")), _text(row.get("task"))) for row in entries[0].rows]
    regions, tasks = ({label[side] for label in labels} for side in (0, 1))
    names = [entry.name for entry in entries]

    def rank(label: Label) -> Stratum | None:
        chosen = [_lies_in(found, label) for found in labels]
        kept = values[:, :, chosen]
        means = stratum_means(kept, metrics)
        used: list[int] = np.flatnonzero(~np.isnan(means).all(axis=0)).tolist()
        if not used:
            return None
        kept, means = kept[:, used], means[:, used]
        own = [metrics[column] for column in used]
        placings = place(names, means, own, ranking, values=kept, bootstrap=bootstrap)
        return Stratum(label[0], label[1], sum(chosen), tuple(placings), compare_pairs(placings, names, kept, own))

    wanted: dict[str, list[Label]] = {"region": [], "task": [], "both": []}
    if len(regions) > 1:
        wanted["region"] = [(region, None) for region in _sorted(regions)]
    if len(tasks) > 1:
        wanted["task"] = [(None, task) for task in _sorted(tasks)]
    if len(regions) > 1 and len(tasks) > 1:
        wanted["both"] = [(region, task) for region, task in sorted(set(labels), key=str) if region and task]
    found = {kind: [rank(label) for label in kinds] for kind, kinds in wanted.items()}
    return {kind: tuple(stratum for stratum in strata if stratum) for kind, strata in found.items()}


def stratum_means(values: Floats, metrics: Sequence[Metric]) -> Floats:
    """Means over a part of the cases, by the rule of the whole.

    An official or dose value that one case lacks leaves the entry without a mean; another mean is over the cases of
    which any entry has a value, and none where the entry lacks one of them.

    Args:
        values: (entries, metrics, cases); NaN where a case has no value.
        metrics: in the order of the second axis.

    Returns:
        (entries, metrics); NaN where undefined.
    """
    present = np.isfinite(values)
    counts = present.sum(axis=2)
    spoilt = np.array([metric.column in OFFICIAL or metric.name in DOSE_COLUMNS for metric in metrics])
    needed = np.where(spoilt, values.shape[2], present.any(axis=0).sum(axis=1))
    whole = (counts == needed) & (counts > 0)
    means: Floats = np.where(whole, np.where(present, values, 0.0).sum(axis=2) / np.maximum(counts, 1), np.nan)
    return means


def _lies_in(found: Label, wanted: Label) -> bool:
    return all(ask is None or ask == has for ask, has in zip(wanted, found, strict=True))


def _sorted(labels: set[str | None]) -> list[str]:
    return sorted(label for label in labels if label is not None)


def _text(value: object) -> str | None:
    return str(value) if value is not None else None
