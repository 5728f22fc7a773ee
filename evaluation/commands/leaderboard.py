"""`synthct leaderboard`: metrics.json files in, a ranking out: terminal, JSON, CSV, Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from synthct.cli.console import tell
from synthct.files import prepare_output_folder, write_text

__all__ = ["leaderboard"]

Ranking = Literal["synthrad2023", "synthrad2025", "platform"]


def leaderboard(
    metrics: Annotated[list[Path], typer.Argument(metavar="METRICS...", help="metrics.json files or their folders.")],
    output: Annotated[Path, typer.Option(help="Folder for leaderboard.json, .csv and .md.")],
    ranking: Annotated[Ranking, typer.Option(help="Whose rule.")] = "synthrad2025",
    scores: Annotated[Literal["strict", "official"], typer.Option(help="Which values are ranked.")] = "official",
    name: Annotated[list[str] | None, typer.Option(help="Name of an entry, in the order of METRICS.")] = None,
) -> None:
    """Rank scored entries against each other."""
    from evaluation.leaderboard import rank_entries, read_entries

    entries = read_entries(metrics, name or [], scores=scores)
    rows = rank_entries(entries, ranking)
    prepare_output_folder(output)
    note = "partial: image and geometry at most, no dose (2 of 4 groups)" if ranking == "synthrad2025" else ""
    content = {"ranking": ranking, "scores": scores, "note": note, "judged_by": entries[0].protocol, "entries": rows}
    write_text(output / "leaderboard.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    rule = f"{ranking}, {scores} scores, judged by {entries[0].protocol['segmenter']}"
    _write_tables(rows, output, f"Ranking: {rule}{f'; {note}' if note else ''}")
    _show(rows, rule)
    tell(f"leaderboard in {output}")


def _write_tables(rows: list[dict[str, Any]], output: Path, title: str) -> None:
    import pandas as pd

    table = pd.DataFrame(rows, dtype=object)  # a missing value stays None, a rank an integer
    write_text(output / "leaderboard.csv", table.to_csv(index=False))
    head = "| " + " | ".join(map(str, table.columns)) + " |"
    rule = "|" + "---|" * len(table.columns)
    body = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in table.itertuples(index=False)]
    write_text(output / "leaderboard.md", "\n".join([title, "", head, rule, *body]) + "\n")


def _show(rows: list[dict[str, Any]], rule: str) -> None:
    from rich.console import Console
    from rich.table import Table

    hidden = {"simulated", "starter", "random_features"}
    columns = [key for key in rows[0] if key not in hidden]
    table = Table(title=f"Ranking ({rule})")
    for column in columns:
        table.add_column(column, justify="left" if column == "entry" else "right", no_wrap=True)
    for row in rows:
        marks = [mark.replace("_", " ") for mark in ("starter", "simulated", "random_features") if row.get(mark)]
        if row.get("starter") is None:
            marks.append("weights unknown")
        shown = {**row, "entry": f"{row['entry']} ({', '.join(marks)})" if marks else row["entry"]}
        table.add_row(*(_cell(shown.get(column)) for column in columns))
    Console(width=140).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
