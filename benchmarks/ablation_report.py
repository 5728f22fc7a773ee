"""The report of benchmarks/ablations.py: means of each arm, paired differences, what it cost, as Markdown."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.ablation_arms import ARMS, SPADE
from benchmarks.paired import LEAST_PAIRS, Better, PairedDifference, paired_differences, verdict

__all__ = ["BEGIN", "COMPARISONS", "END", "METRICS", "Metric", "make_report", "put_between_marks"]

BEGIN = "<!-- figures: python -m benchmarks.ablations report WORK --markdown THIS_FILE -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True)
class Metric:
    """One column.

    Attributes:
        name: key of a row.
        title: in the report.
        digits: after the point.
        better: which way is good; None where neither is.
    """

    name: str
    title: str
    digits: int
    better: Better | None


METRICS = (
    Metric("mae", "MAE, HU", 1, "lower"),
    Metric("dice_bone", "Dice of bone †", 3, "higher"),
    Metric("hd95_bone", "HD95 of bone, mm", 2, "lower"),
    Metric("nsd_surfel_bone", "nsd_surfel of bone", 3, "higher"),
    Metric("mae_bone", "MAE in bone, HU", 1, "lower"),
    Metric("mae_compact_bone", "MAE in compact bone, HU", 1, "lower"),
    Metric("checkerboard", "checkerboard index ‡", 3, None),
    Metric("checkerboard_2", "of period 2 ‡", 3, None),
    Metric("checkerboard_4", "of period 4 ‡", 3, None),
)

COMPARISONS = (
    *((arm, "l1") for arm in ("afp", "afp-random", "two-stage", "plain", "hybrid", "transposed", "l1-again")),
    ("two-stage", "afp"),
    ("afp", "afp-random"),
    ("spade-l1-afp", "spade-l1"),
    ("spade-l1", "l1"),
)
"""Pairs of arms: the first less the second."""

NOTES = f"""\
† a trained extractor has learned tissue labels by the same HU limits, so an arm with it has an advantage here; judge
bone by HD95, nsd_surfel and MAE.
‡ 1: as the real CT at the frequencies of the strides; above 1: more (`benchmarks/checkerboard.py`). Neither way is good
by itself, so the verdict is higher or lower.

A verdict stands only where the 95 % bootstrap interval (over cases, 10,000 resamples) excludes 0, with
{LEAST_PAIRS} pairs or more. The interval does not hold what another seed would give: see l1-again against l1.
"""

Rows = Sequence[Mapping[str, Any]]


def make_report(record: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the report as Markdown.

    Args:
        record: what all runs share: iterations, folds, threads, patch, features, cases, extractor (or None).
        runs: each with arm, fold, seconds (or None), extractors (sha256), rows.

    Returns:
        Budget, a table of means, a table a comparison of which both arms have rows, notes. An arm without its
        extractor's training is named so in each place.
    """
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        rows[run["arm"]].extend(run["rows"])
        if run["seconds"] is not None:
            seconds[run["arm"]].append(run["seconds"])
    extractor = record["extractor"]
    untrained = bool(extractor and extractor["random"])
    names = [name for name in ARMS if rows[name]]
    parts = [*_budget(record, runs), "", *_means(names, rows, seconds, untrained=untrained)]
    for arm, other in COMPARISONS:
        if arm in names and other in names:
            title = f"{_title(arm, untrained)}, against: {_title(other, untrained)}"
            parts += ["", f"**{arm} less {other}** ({title})", "", *_differences(rows[arm], rows[other])]
    return "\n".join([*parts, "", NOTES])


def put_between_marks(before: str, text: str) -> str:
    """Return a page with the text between its two marks; the text alone, in marks, where the page has none."""
    block = f"{BEGIN}\n\n{text.strip()}\n\n{END}\n"
    head, begin, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    return head + block + tail.removeprefix("\n") if begin and end else block


def _budget(record: Mapping[str, Any], runs: Rows) -> Iterator[str]:
    patch, features = (" x ".join(map(str, record[name])) for name in ("patch", "features"))
    threads = record["threads"]
    yield (
        f"{len(record['cases'])} cases, {record['folds']} folds, {len(runs)} runs; "
        f"{record['iterations']} iterations a run, batch 1, patch {patch}, features {features}, AdamW, "
        f"one seed; {threads} CPU thread{'s' * (threads > 1)}."
    )
    if any(ARMS[run["arm"]].algorithm == SPADE for run in runs):
        yield (
            f"Arms spade-*: networks, losses (10 L1) and Adam of {SPADE}'s preset starter; no plan, so each case on "
            "its own grid; the lower median of windows. Patches, length, schedule and average are the same."
        )
    extractor = record["extractor"]
    if extractor is not None:
        kind = "RANDOM weights" if extractor["random"] else f"trained on {extractor['trained_on'] or 'unknown data'}"
        yield f"Extractor: sha256 `{extractor['sha256']}`, {kind}; layers {', '.join(extractor['layers'])}."
    drawn = sorted({digest for run in runs if ARMS[run["arm"]].random_extractor for digest in run["extractors"]})
    if drawn:
        yield f"The RANDOM extractor has the same shape: sha256 {', '.join(f'`{digest}`' for digest in drawn)}."


def _means(
    names: Sequence[str], rows: Mapping[str, Rows], seconds: Mapping[str, Sequence[float]], *, untrained: bool
) -> Iterator[str]:
    yield "| arm | cases | " + " | ".join(metric.title for metric in METRICS) + " | seconds a training (median) |"
    yield "|---|---|" + "---|" * (len(METRICS) + 1)
    for name in names:
        cells = [f"{name}: {_title(name, untrained)}", str(len(rows[name]))]
        cells += [_mean([row.get(metric.name) for row in rows[name]], metric.digits) for metric in METRICS]
        cells.append(f"{statistics.median(seconds[name]):.0f}" if seconds.get(name) else "-")
        yield "| " + " | ".join(cells) + " |"


def _mean(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    missing = f" ({len(values) - len(known)} without)" if len(known) < len(values) else ""
    return f"{np.mean(known):.{digits}f}{missing}"


def _differences(rows: Rows, others: Rows) -> Iterator[str]:
    yield "| metric | mean difference | 95 % interval | pairs | verdict |"
    yield "|---|---|---|---|---|"
    for metric in METRICS:
        found = paired_differences(rows, others, metric.name)
        yield f"| {metric.title} | {_figures(found, metric)} | {verdict(found, metric.better)} |"


def _figures(found: PairedDifference, metric: Metric) -> str:
    pairs = f"{found.pairs} ({found.left_out} left out)" if found.left_out else str(found.pairs)
    if found.mean is None:
        return f"- | - | {pairs}"
    mean, low, high = (f"{value:+.{metric.digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} | {low} to {high} | {pairs}"


def _title(arm: str, untrained: bool) -> str:
    """Title of an arm, which says where the extractor that it was given is random."""
    title = ARMS[arm].title
    return f"{title}, RANDOM extractor" if untrained and ARMS[arm].needs_extractor and "RANDOM" not in title else title
