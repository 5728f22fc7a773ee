"""All that a leaderboard shows, in one frozen value: ranks and how sure they are, per metric, region and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.leaderboard.metrics import Metric

__all__ = ["Bootstrap", "Pair", "Placing", "Standing", "Standings", "Stratum", "build_standings"]


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals were drawn.

    Attributes:
        draws: number of draws; 0 where none were made (one case, or no values per case).
        seed: of the draws.
        confidence: of the rank intervals.
    """

    draws: int
    seed: int
    confidence: float = 0.95


@dataclass(frozen=True)
class Placing:
    """Where one entry stands, over all cases or over those of a stratum.

    Attributes:
        rank: 1 is best, equal scores share the lower rank (1, 1, 3); None where the ranking holds the entry invalid.
        entry: its name.
        score: of the ranking; synthrad2023 and synthrad2025: higher is better, platform: lower is better.
        per_metric: mean per metric, None where undefined.
        metric_ranks: rank per metric among the entries that are valid; None where the mean is undefined.
        rank_interval: lowest and highest rank of the central 95 % of the draws; None where nothing was drawn.
        first_probability: share of the draws in which it is first; n entries that share the place get 1/n each.
    """

    rank: int | None
    entry: str
    score: float | None
    per_metric: Mapping[str, float | None]
    metric_ranks: Mapping[str, int | None]
    rank_interval: tuple[int, int] | None = None
    first_probability: float | None = None


@dataclass(frozen=True)
class Standing(Placing):
    """One entry of the board.

    Attributes:
        marks: what it has to be read with: `starter`, `weights unknown`, `simulated data`, `random features`,
            `demonstration only`.
        starter: whether starter weights were used; None where nothing tells.
        cases: its rows of metrics.json, one per case in the order of the cases' ids, with dose columns where there are
            any. `Metric.column` names a ranked metric's value in a row; `structures` holds {segmenter: {structure:
            {dice, hd95, nsd, status, ...}}}.
        folder: where its metrics.json lies.
        about: its metrics.json without results and aggregates: protocol, segmenters, manifest, ...
    """

    marks: tuple[str, ...] = ()
    starter: bool | None = None
    cases: tuple[Mapping[str, Any], ...] = ()
    folder: Path = Path()
    about: Mapping[str, Any] = field(default_factory=dict)

    def values(self, column: str) -> list[float | None]:
        """A column of `cases` in their order, None where a case has no number in it."""
        from evaluation.leaderboard.entries import finite

        return [finite(row.get(column)) for row in self.cases]


@dataclass(frozen=True)
class Pair:
    """Two entries on the same cases in one metric: Wilcoxon's signed-rank test, two-sided.

    Attributes:
        first: the entry with the better rank.
        second: the other.
        metric: its name.
        p: None where no case has a value of both; 1 where all differences are zero.
        p_holm: corrected over all pairs of this metric that were tested.
        median_difference: of `first` minus `second`, in the metric's unit.
        n: cases compared, those without a difference included.
    """

    first: str
    second: str
    metric: str
    p: float | None
    p_holm: float | None
    median_difference: float | None
    n: int


@dataclass(frozen=True)
class Stratum:
    """The same ranking on the cases of one region, one task, or one region of one task.

    Attributes:
        region: AB, HN, TH, B, P, EX; None for all of a task.
        task: mri or cbct; None for all of a region.
        cases: how many.
        placings: best first; entries that are invalid here stand last with rank None.
        pairwise: as for all cases.
    """

    region: str | None
    task: str | None
    cases: int
    placings: tuple[Placing, ...]
    pairwise: tuple[Pair, ...]


@dataclass(frozen=True)
class Standings:
    """A whole leaderboard.

    Attributes:
        ranking: synthrad2023, synthrad2025 or platform (platform-median).
        scores: `official` or `strict`.
        metrics: those that count, in the order of their groups.
        entries: best first; those that are invalid stand last with rank None.
        invalid: (entry, reason) of these.
        notes: what the whole board has to be read with, one line each, such as "partial: 2 of 4 groups (...)".
        pairwise: tests between entries; all pairs of few entries, neighbours and the first against all of many.
        by_region: strata by region, where there are several regions.
        by_task: strata by task, where there are several tasks.
        by_region_and_task: strata by both, where there are several of both.
        judged_by: what every entry agrees in: protocol, segmenter, segmenter_weights, registration, ...
        bootstrap: how the intervals were drawn.
    """

    ranking: str
    scores: str
    metrics: tuple[Metric, ...]
    entries: tuple[Standing, ...]
    invalid: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    pairwise: tuple[Pair, ...] = ()
    by_region: tuple[Stratum, ...] = ()
    by_task: tuple[Stratum, ...] = ()
    by_region_and_task: tuple[Stratum, ...] = ()
    judged_by: Mapping[str, Any] = field(default_factory=dict)
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(0, 0))


def build_standings(
    paths: Sequence[Path],
    names: Sequence[str] = (),
    *,
    ranking: str = "synthrad2025",
    scores: str = "official",
    metrics: Sequence[str] = (),
    dose: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 0,
) -> Standings:
    """Read metrics.json files, rank them and say how sure the ranks are.

    Args:
        paths: metrics.json files or their folders, one per entry.
        names: of the entries; else those of their folders.
        ranking: synthrad2023, synthrad2025, platform, or platform-median.
        scores: official or strict.
        metrics: rank by these alone; empty for all that there are.
        dose: CSV files with dose columns, `ENTRY=FILE` each, or `FILE` with a column `entry`.
        draws: bootstrap draws over cases; 0 for none.
        seed: of the draws.

    Raises:
        InputError: a file cannot be used, or entries may not be compared.
        UsageError: ranking, metric or scores are unknown.
    """
    from evaluation.leaderboard.build import build

    return build(paths, names, ranking=ranking, scores=scores, metrics=metrics, dose=dose, draws=draws, seed=seed)
