"""Standings from metrics.json files: ranks, intervals, tests, and the same per region and task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from evaluation.leaderboard.dose import add_dose
from evaluation.leaderboard.entries import Entry, finite, read_entries
from evaluation.leaderboard.metrics import DOSE_COLUMNS, Metric
from evaluation.leaderboard.pairwise import compare_pairs, smallest_p
from evaluation.leaderboard.placing import collect_means, place, refuse_unrankable, used_metrics
from evaluation.leaderboard.rankings import Floats, groups_note, is_platform
from evaluation.leaderboard.strata import find_strata
from evaluation.standings import Bootstrap, Pair, Placing, Standing, Standings

__all__ = ["build", "build_from_entries"]

FEW_CASES = 10
"""Fewer cases than these give intervals that are too narrow: a draw cannot hold what was never seen."""
SIGNIFICANT = 0.05
"""A p below this is called a difference."""


def build(
    paths: Sequence[Path],
    names: Sequence[str] = (),
    *,
    ranking: str,
    scores: str,
    metrics: Sequence[str],
    dose: Sequence[str],
    draws: int,
    seed: int,
) -> Standings:
    """See `evaluation.standings.build_standings`."""
    entries = add_dose(read_entries(paths, names, scores=scores), dose)
    return build_from_entries(entries, ranking=ranking, scores=scores, metrics=metrics, draws=draws, seed=seed)


def build_from_entries(
    entries: Sequence[Entry],
    *,
    ranking: str = "synthrad2025",
    scores: str = "official",
    metrics: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 0,
) -> Standings:
    """Rank entries that were read already; arguments and errors as for `build_standings`."""
    used = used_metrics(entries, metrics)
    means = collect_means(entries, used)
    names = [entry.name for entry in entries]
    told = refuse_unrankable(names, means, used, ranking)
    values = _collect_values(entries, used)
    # Rows without values come from other programs: their means can be ranked, and no more.
    whole = values.shape[2] > 0 and not (np.isnan(values).all(axis=2) & ~np.isnan(means)).any()
    bootstrap = Bootstrap(draws if whole and values.shape[2] > 1 else 0, seed)
    placings = place(names, means, used, ranking, values=values if whole else None, bootstrap=bootstrap)
    strata = find_strata(entries, values, used, ranking, bootstrap) if whole else {}
    pairs = compare_pairs(placings, names, values, used) if whole else ()
    told += _without_strict(used, scores)
    by_name = {entry.name: entry for entry in entries}
    reasons = {
        placing.entry: "no value for " + ", ".join(name for name, mean in placing.per_metric.items() if mean is None)
        for placing in placings
        if placing.rank is None
    }
    return Standings(
        ranking=ranking,
        scores=scores,
        metrics=used,
        entries=tuple(_standing(placing, by_name[placing.entry]) for placing in placings),
        invalid=tuple(reasons.items()),
        notes=_notes(entries, used, ranking, told, whole=whole, pairs=pairs, drawn=bootstrap.draws > 0),
        pairwise=pairs,
        by_region=strata.get("region", ()),
        by_task=strata.get("task", ()),
        by_region_and_task=strata.get("both", ()),
        judged_by=dict(entries[0].protocol),
        bootstrap=bootstrap,
    )


def _collect_values(entries: Sequence[Entry], metrics: Sequence[Metric]) -> Floats:
    """Values as (entries, metrics, cases), NaN where a case has no number."""
    values = np.full((len(entries), len(metrics), len(entries[0].rows)), np.nan)
    for row, entry in enumerate(entries):
        for column, metric in enumerate(metrics):
            found = (finite(case.get(metric.column)) for case in entry.rows)
            values[row, column] = [np.nan if value is None else value for value in found]
    return values


def _standing(placing: Placing, entry: Entry) -> Standing:
    common = {field.name: getattr(placing, field.name) for field in fields(Placing)}
    return Standing(
        **common,
        marks=entry.marks,
        starter=entry.starter,
        cases=entry.rows,
        folder=entry.folder,
        about=entry.about,
    )


def _without_strict(metrics: Sequence[Metric], scores: str) -> list[str]:
    """Say which metrics are ranked by their official values although strict ones are asked for."""
    lacking = [metric.name for metric in metrics if metric.column == metric.name and metric.name not in DOSE_COLUMNS]
    if scores != "strict" or not lacking:
        return []
    return [f"no strict values of {', '.join(lacking)}: the official ones are ranked"]


def _notes(
    entries: Sequence[Entry],
    metrics: Sequence[Metric],
    ranking: str,
    told: Sequence[str],
    *,
    whole: bool,
    pairs: Sequence[Pair],
    drawn: bool,
) -> tuple[str, ...]:
    notes = [groups_note(metrics)] if ranking == "synthrad2025" else []
    if is_platform(ranking) and len(metrics) > 1:
        notes.append("the score is made of ranks: it moves when an entry joins or leaves")
    notes += told
    cases = len(entries[0].cases)
    if not whole:
        notes.append("some cases have no values: no intervals, tests or strata")
    elif cases == 1:
        notes.append("one case: no intervals, and no test can tell entries apart")
    elif drawn and cases < FEW_CASES:
        notes.append(f"{cases} cases: the intervals are too narrow, since draws cannot hold what was not seen")
    least = smallest_p(pairs)
    if pairs and cases > 1 and least >= SIGNIFICANT:
        notes.append(f"{cases} cases: no test can tell entries apart, p after the correction is {least:.2g} or more")
    return tuple(note for note in notes if note)
