"""The drawings of a leaderboard: rank intervals, box plots over the cases, a heat map of structures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.report.colours import hex_colours
from evaluation.report.numbers import is_number
from evaluation.report.scales import Frame

if TYPE_CHECKING:
    from evaluation.leaderboard.metrics import Metric
    from evaluation.standings import Standing, Standings

__all__ = ["draw_boxes", "draw_heat_map", "draw_interval"]

ROW = 22.0
NAME_WIDTH = 190.0
NAME_LETTERS = 26
INTERVAL_WIDTH = 120.0
HEAT_STEPS = 12
HEAT_ENTRIES = 40
"""Entries whose structures the heat map shows, the best first."""


def draw_interval(standing: Standing, entries: int) -> dict[str, float] | None:
    """Places of a rank and its interval on a line of all ranks; None where nothing was drawn."""
    if standing.rank is None or standing.rank_interval is None:
        return None
    step = (INTERVAL_WIDTH - 12) / max(1, entries - 1)
    low, high = standing.rank_interval
    return {
        "width": INTERVAL_WIDTH,
        "low": round(6 + (low - 1) * step, 1),
        "high": round(6 + (high - 1) * step, 1),
        "rank": round(6 + (standing.rank - 1) * step, 1),
    }


def draw_boxes(entries: Sequence[Standing], metric: Metric) -> dict[str, Any] | None:
    """A box plot over the cases per entry, with a dot per case; None where no case has a value.

    The box holds the middle half, its line is the median, the whiskers reach to the lowest and highest case.
    """
    values = [[value for value in standing.values(metric.column) if value is not None] for standing in entries]
    known = [value for row in values for value in row if math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    margin = (high - low) * 0.02 or max(abs(low) * 0.02, 0.5)
    bottom = 8 + ROW * len(entries)
    frame = Frame(900, bottom + 42, NAME_WIDTH, 8, 880, bottom, (low - margin, high + margin), (0, 1))
    unit = f" ({metric.unit})" if metric.unit else ""
    return {
        **vars(frame),
        "title": f"{metric.label} per case",
        "x_ticks": frame.x_ticks(8),
        "y_ticks": [],
        "x_label": f"{metric.label}{unit}, {'higher' if metric.higher_is_better else 'lower'} is better",
        "y_label": "",
        "rows": [
            _box(frame, standing.entry, row, frame.top + ROW * (place + 0.5))
            for place, (standing, row) in enumerate(zip(entries, values, strict=True))
        ],
    }


def _box(frame: Frame, name: str, values: list[float], middle: float) -> dict[str, Any]:
    shown = name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "\u2026"
    row: dict[str, Any] = {"name": shown, "whole": name, "y": round(middle, 1), "box": None}
    if values:
        ends = [frame.x(value) for value in np.percentile(values, [0, 25, 50, 75, 100]).tolist()]
        row["box"] = dict(zip(("lowest", "lower", "median", "upper", "highest"), ends, strict=True))
        row["box"]["wide"] = round(max(ends[3] - ends[1], 0.5), 2)
        # Dots of one colour are one path: a line of no length with a round end is a dot.
        row["dots"] = "".join(
            f"M{frame.x(value):.1f} {middle + (place * 7 % 11 - 5):.1f}h0" for place, value in enumerate(values)
        )
    return row


def draw_heat_map(standings: Standings) -> dict[str, Any] | None:
    """Mean Dice of each structure and entry; None where no case has structures.

    Returns:
        `judge`, `entries`, `left` (entries that are not shown), `colours` (background, ink) and `rows`: a structure's
        name and per entry its mean and the number of its colour, None where it has none.
    """
    shown = standings.entries[:HEAT_ENTRIES]
    judge = str(standings.judged_by.get("segmenter") or "")
    means = [_structure_means(standing, judge) for standing in shown]
    names = dict.fromkeys(name for each in means for name in each)
    if not names:
        return None
    rows = []
    for name in names:
        cells = [each.get(name) for each in means]
        rows.append((name.replace("_", " "), [None if mean is None else (mean, _step(mean)) for mean in cells]))
    return {
        "judge": judge,
        "entries": [standing.entry for standing in shown],
        "left": len(standings.entries) - len(shown),
        "colours": [(colour, _ink(colour)) for colour in hex_colours("viridis", HEAT_STEPS)],
        "rows": rows,
    }


def _structure_means(standing: Standing, judge: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in standing.cases:
        for name, scores in _judged(row, judge).items():
            dice = scores.get("dice") if isinstance(scores, dict) else None
            if is_number(dice) and 0 <= dice <= 1:
                found.setdefault(str(name), []).append(float(dice))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _judged(row: Mapping[str, Any], judge: str) -> Mapping[str, Any]:
    judged = row.get("structures")
    if not isinstance(judged, dict) or not judged:
        return {}
    chosen = judged.get(judge, next(iter(judged.values())))
    return chosen if isinstance(chosen, dict) else {}


def _step(mean: float) -> int:
    return min(HEAT_STEPS - 1, max(0, int(mean * HEAT_STEPS)))


def _ink(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "#ffffff"
