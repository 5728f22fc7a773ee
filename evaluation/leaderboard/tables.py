"""A leaderboard as JSON, CSV, Markdown and a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evaluation.leaderboard.entries import plain_name
from evaluation.standings import Placing, Standing, Standings, Stratum

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_csv", "as_json", "as_markdown", "as_table", "rule_of"]

FORMULA_SIGNS = ("=", "+", "-", "@")
"""A spreadsheet runs a cell that begins with one of these."""

MARKDOWN_SIGNS = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "\\`*_[]#|~"},
        **{"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "},
    }
)


def rule_of(standings: Standings) -> str:
    """One line: whose rule, which scores, whose eyes."""
    return f"{standings.ranking}, {standings.scores} scores, judged by {_judge(standings)}"


def _judge(standings: Standings) -> str:
    return plain_name(str(standings.judged_by.get("segmenter") or "nobody"))


def as_json(standings: Standings) -> str:
    """Everything but the rows per case, as strict JSON."""
    content = {
        "ranking": standings.ranking,
        "scores": standings.scores,
        "note": "; ".join(note for note in standings.notes if note.startswith("partial")),
        "notes": standings.notes,
        "judged_by": standings.judged_by,
        "metrics": [asdict(metric) for metric in standings.metrics],
        "bootstrap": asdict(standings.bootstrap),
        "entries": [_row(standing) for standing in standings.entries],
        "invalid": [{"entry": entry, "reason": reason} for entry, reason in standings.invalid],
        "pairwise": [asdict(pair) for pair in standings.pairwise],
        "by_region": [_stratum(stratum) for stratum in standings.by_region],
        "by_task": [_stratum(stratum) for stratum in standings.by_task],
        "by_region_and_task": [_stratum(stratum) for stratum in standings.by_region_and_task],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_csv(standings: Standings) -> str:
    """One line per entry; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [_flat(_row(standing)) for standing in standings.entries]
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([_harmless(value) for value in row.values()])
    return stream.getvalue()


def as_markdown(standings: Standings) -> str:
    """A table of the entries, what it has to be read with, and a short table per region and task."""
    lines = [f"Ranking: {_escape(rule_of(standings))}", ""]
    lines += _markdown_table([_flat(_row(standing)) for standing in standings.entries])
    notes = [
        *standings.notes,
        f"references registered: {plain_name(str(standings.judged_by.get('registration') or 'unknown'))}",
    ]
    if standings.bootstrap.draws:
        notes.append(
            f"rank_low to rank_high hold {standings.bootstrap.confidence:.0%} of {standings.bootstrap.draws} draws of "
            "the cases; first_probability is the share of draws in which an entry is first"
        )
    lines += ["", *(f"- {_escape(note)}" for note in notes)]
    for stratum in (*standings.by_region, *standings.by_task, *standings.by_region_and_task):
        label = ", ".join(part for part in (stratum.region, stratum.task) if part)
        lines += ["", f"## {_escape(label)} ({stratum.cases} cases)", ""]
        lines += _markdown_table([_flat(_placing(placing)) for placing in stratum.placings])
    return "\n".join(lines) + "\n"


def as_table(standings: Standings) -> Table:
    """A table for the terminal; names stand as they are, without markup."""
    from rich.table import Table
    from rich.text import Text

    metrics = [metric.name for metric in standings.metrics]
    drawn = standings.bootstrap.draws > 0
    table = Table(title=Text(f"Ranking ({rule_of(standings)})"))
    units = [f"{metric.name}\n{metric.unit}" if metric.unit else metric.name for metric in standings.metrics]
    for column in ("rank", *(["rank\n95 %", "first"] if drawn else []), "entry", "score", *units, "cases"):
        left = column == "entry"
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for standing in standings.entries:
        name = f"{standing.entry} ({', '.join(standing.marks)})" if standing.marks else standing.entry
        low, high = standing.rank_interval or (None, None)
        chance = standing.first_probability
        shown = [f"{low}-{high}" if low else "-", "-" if chance is None else f"{chance:.0%}"] if drawn else []
        cells = [_cell(standing.rank), *shown, name, _cell(standing.score)]
        cells += [_cell(standing.per_metric[metric]) for metric in metrics]
        table.add_row(*(Text(cell) for cell in [*cells, str(len(standing.cases))]))
    return table


def _row(standing: Standing) -> dict[str, Any]:
    placing = _placing(standing)
    drawn = {key: placing.pop(key) for key in ("rank_interval", "first_probability")}
    return {
        **placing,
        "cases": len(standing.cases),
        "simulated": bool(standing.about.get("simulated")),
        "starter": standing.starter,
        "random_features": standing.about.get("random_features") is True,
        "demonstration_only": standing.about.get("demonstration_only") is True,
        **drawn,
        "marks": standing.marks,
    }


def _placing(placing: Placing) -> dict[str, Any]:
    return {
        "rank": placing.rank,
        "entry": placing.entry,
        "score": placing.score,
        **placing.per_metric,
        "rank_interval": placing.rank_interval,
        "first_probability": placing.first_probability,
    }


def _stratum(stratum: Stratum) -> dict[str, Any]:
    return {
        "region": stratum.region,
        "task": stratum.task,
        "cases": stratum.cases,
        "entries": [_placing(placing) for placing in stratum.placings],
        "pairwise": [asdict(pair) for pair in stratum.pairwise],
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without lists, for tables of cells."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "rank_interval":
            flat["rank_low"], flat["rank_high"] = value or (None, None)
        else:
            flat[key] = "; ".join(value) if isinstance(value, tuple) else value
    return flat


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def _markdown_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = "| " + " | ".join(rows[0]) + " |"
    body = ["| " + " | ".join(_escape(_cell(value)) for value in row.values()) + " |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]


def _escape(text: str) -> str:
    return text.translate(MARKDOWN_SIGNS)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
