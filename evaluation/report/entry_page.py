"""The page of one entry: its means, its cases, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.report.manifest_rows import shown
from evaluation.report.pages import write_page
from evaluation.report.warnings_shown import warnings_about

if TYPE_CHECKING:
    from evaluation.standings import Standing, Standings

__all__ = ["write_entry_page"]


def write_entry_page(
    standings: Standings, standing: Standing, path: Path, *, home: str, addresses: Mapping[str, str]
) -> Path:
    """Write the page of one entry.

    Args:
        standings: the board that it stands on.
        standing: the entry.
        path: page to write.
        home: address of the board from there.
        addresses: of the pages of its cases from there, by case id; a case without one is not linked.
    """
    columns = [(metric, standing.values(metric.column)) for metric in standings.metrics]
    rows = [
        {
            "case": str(row.get("case")),
            "region": str(row.get("region") or ""),
            "task": str(row.get("task") or ""),
            "address": addresses.get(str(row.get("case"))),
            "values": [values[place] for _, values in columns],
        }
        for place, row in enumerate(standing.cases)
    ]
    about = [(key.replace("_", " "), shown(value)) for key, value in standing.about.items() if key != "manifest"]
    return write_page(
        "entry.html.j2",
        path,
        styles=["page.css"],
        scripts=["page.js"],
        standings=standings,
        standing=standing,
        home=home,
        warnings=warnings_about(standing.marks),
        metrics=standings.metrics,
        rows=rows,
        about=about,
        manifest=shown(standing.about.get("manifest") or {}),
    )
