"""The leaderboard as static pages: a board that can be sorted and compared, and a page per entry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from evaluation.report.entry_page import write_entry_page
from evaluation.report.pages import file_stem, write_page
from evaluation.report.site_figures import draw_boxes, draw_heat_map, draw_interval
from evaluation.report.warnings_shown import MEANINGS

if TYPE_CHECKING:
    from evaluation.standings import Standing, Standings, Stratum

__all__ = ["CASES_FOLDER", "INDEX_NAME", "write_site"]

INDEX_NAME = "index.html"
CASES_FOLDER = "report"
"""Folder beside an entry's metrics.json whose <case id>.html are linked (`synthct report`)."""
PAIRS_SHOWN = 300
"""Pairs in the board's table of tests; leaderboard.json has all."""
HEAT_BESIDE = 8
"""Entries up to which the heat map stands beside the comparison of two; more need the whole width."""
FILES = ("leaderboard.json", "leaderboard.csv", "leaderboard.md")

RULES: Mapping[str, str] = {
    "synthrad2023": "each metric scaled from 0 (worst entry) to 1 (best), then summed; higher is better",
    "synthrad2025": "each metric scaled from 0 (worst entry) to 1 (best), averaged by group, then over the groups; "
    "higher is better",
    "platform": "the mean of the ranks per metric; lower is better",
    "platform-median": "the median of the ranks per metric; lower is better",
}


@dataclass(frozen=True)
class EntryPlace:
    """Where an entry's pages lie: folder, address of its page from the board, addresses of its cases from there."""

    folder: Path
    address: str
    cases: Mapping[str, str]


def write_site(standings: Standings, output: Path) -> Path:
    """Write the board's index.html and a page per entry.

    Case pages are linked where they lie beside an entry's metrics.json, as report/<case id>.html, within `output`.

    Args:
        standings: all that is shown.
        output: folder that exists; entries whose folder is not in it get one below `output/entries/`.

    Returns:
        The board's page.
    """
    places = _places(standings, output)
    path = output / INDEX_NAME
    for standing in standings.entries:
        place = places[standing.entry]
        home = quote(os.path.relpath(output.resolve() / INDEX_NAME, place.folder))  # both without links: zip and mail
        write_entry_page(standings, standing, place.folder / INDEX_NAME, home=home, addresses=place.cases)
    everywhere = [mark for mark in MEANINGS if all(mark in standing.marks for standing in standings.entries)]
    return write_page(
        "board.html.j2",
        path,
        styles=["page.css", "board.css"],
        scripts=["page.js", "board.js"],
        standings=standings,
        rule=RULES.get(standings.ranking, ""),
        judged=[
            (key.replace("_", " "), "none" if value is None else str(value))
            for key, value in standings.judged_by.items()
        ],
        warnings=[{"title": MEANINGS[mark][0], "text": MEANINGS[mark][1]} for mark in everywhere],
        rows=[_row(standings, standing, places[standing.entry]) for standing in standings.entries],
        boxes=[(metric, draw_boxes(standings.entries, metric)) for metric in standings.metrics],
        heat=draw_heat_map(standings),
        heat_beside=len(standings.entries) <= HEAT_BESIDE,
        strata=[
            _strata(name, found)
            for name, found in (
                ("By region", standings.by_region),
                ("By task", standings.by_task),
                ("By region and task", standings.by_region_and_task),
            )
            if found
        ],
        pairs=standings.pairwise[:PAIRS_SHOWN],
        pairs_left=max(0, len(standings.pairwise) - PAIRS_SHOWN),
        labels={metric.name: metric for metric in standings.metrics},
        comparison=_comparison(standings),
        files=[name for name in FILES if (output / name).is_file()],
    )


def _places(standings: Standings, output: Path) -> dict[str, EntryPlace]:
    root = output.resolve()
    taken: set[str] = set()
    places = {}
    for standing in standings.entries:
        own = standing.folder.resolve()
        inside = own != root and own.is_relative_to(root)
        folder = own if inside else root / "entries" / file_stem(standing.entry, taken)
        folder.mkdir(parents=True, exist_ok=True)
        pages = folder / CASES_FOLDER
        found = {path.stem for path in pages.glob("*.html")} if pages.is_dir() else set()
        names = {str(row.get("case")) for row in standing.cases} & found
        cases = {name: f"{CASES_FOLDER}/{quote(name)}.html" for name in names}
        address = quote((folder / INDEX_NAME).relative_to(root).as_posix())
        places[standing.entry] = EntryPlace(folder, address, cases)
    return places


def _row(standings: Standings, standing: Standing, place: EntryPlace) -> dict[str, Any]:
    return {
        "standing": standing,
        "address": place.address,
        "interval": draw_interval(standing, len(standings.entries)),
        "pages": len(place.cases),
    }


def _strata(title: str, strata: tuple[Stratum, ...]) -> dict[str, Any]:
    """One column per stratum, one row per entry: its rank there and how sure it is."""
    columns = [
        {"name": " ".join(part for part in (stratum.region, stratum.task) if part), "cases": stratum.cases}
        for stratum in strata
    ]
    placed = [{placing.entry: placing for placing in stratum.placings} for stratum in strata]
    names = dict.fromkeys(placing.entry for stratum in strata for placing in stratum.placings)
    return {"title": title, "columns": columns, "rows": [(name, [each.get(name) for each in placed]) for name in names]}


def _comparison(standings: Standings) -> dict[str, Any]:
    """Values per case for the page's script: by metric, then by entry, in the order of `cases`."""
    cases = dict.fromkeys(str(row.get("case")) for standing in standings.entries for row in standing.cases)
    return {
        "cases": list(cases),
        "entries": [standing.entry for standing in standings.entries],
        "metrics": [
            {
                "label": f"{metric.label} ({metric.unit})" if metric.unit else metric.label,
                "higher": metric.higher_is_better,
                "values": [_by_case(standing, metric.column, list(cases)) for standing in standings.entries],
            }
            for metric in standings.metrics
        ],
    }


def _by_case(standing: Standing, column: str, cases: list[str]) -> list[float | None]:
    names = [str(row.get("case")) for row in standing.cases]
    known = dict(zip(names, standing.values(column), strict=True))
    return [None if (value := known.get(case)) is None else float(f"{value:.5g}") for case in cases]
