"""JSON, CSV, Markdown and terminal of a board whose names are hostile."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from board_files import entry_file, result_rows
from rich.console import Console

from evaluation.leaderboard.tables import as_csv, as_json, as_markdown, as_table
from evaluation.standings import Standings, build_standings

SCRIPT = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://x","y")'
MARKUP = "[red]a|b*`_[/red]"


def reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


@pytest.fixture(scope="module")
def standings(tmp_path_factory: pytest.TempPathFactory) -> Standings:
    """Three entries on two regions, best first: a script, a formula, markup."""
    root = tmp_path_factory.mktemp("board")
    rows = [
        [
            *result_rows({"mae": [base, base + 1]}, ["1ABA001", "1ABA002"]),
            *result_rows({"mae": [base + 2, base + 3]}, ["1HNA001", "1HNA002"], region="HN"),
        ]
        for base in (10.0, 20.0, 30.0)
    ]
    more: list[dict[str, Any]] = [{}, {"simulated": True, "starter": True}, {"demonstration_only": True}]
    paths = [entry_file(root / str(number), rows[number], **more[number]) for number in range(3)]
    return build_standings(paths, [SCRIPT, FORMULA, MARKUP], draws=100)


def test_json_is_strict_and_whole(standings: Standings) -> None:
    content = json.loads(as_json(standings), parse_constant=reject_constant)
    assert [row["entry"] for row in content["entries"]] == [SCRIPT, FORMULA, MARKUP]
    assert content["entries"][1] == {
        "rank": 2, "entry": FORMULA, "score": 0.5, "mae": 21.5, "cases": 4,
        "simulated": True, "starter": True, "random_features": False, "demonstration_only": False,
        "rank_interval": [2, 2], "first_probability": 0.0, "marks": ["starter", "simulated data"],
    }  # fmt: skip
    assert content["entries"][2]["demonstration_only"] is True
    assert [(row["region"], row["cases"], row["entries"][0]["entry"]) for row in content["by_region"]] == [
        ("AB", 2, SCRIPT),
        ("HN", 2, SCRIPT),
    ]
    assert len(content["pairwise"]) == len(content["by_region"][0]["pairwise"]) == 3
    assert content["metrics"][0]["higher_is_better"] is False
    assert content["bootstrap"] == {"draws": 100, "seed": 0, "confidence": 0.95}
    assert (content["note"], content["by_task"]) == (content["notes"][0], [])


@pytest.mark.parametrize("name", [FORMULA, "+1", "-1+2", "@SUM(A1)"])
def test_no_cell_of_the_csv_is_a_formula(standings: Standings, name: str) -> None:
    entries = (replace(standings.entries[0], entry=name), standings.entries[1])
    rows = list(csv.DictReader(io.StringIO(as_csv(replace(standings, entries=entries)))))
    assert rows[0]["entry"] == f"'{name}"
    assert (rows[0]["mae"], rows[0]["rank_low"], rows[0]["rank_high"]) == ("11.5", "1", "1")
    assert (rows[1]["marks"], rows[1]["starter"], rows[0]["marks"]) == ("starter; simulated data", "True", "")


def test_csv_leaves_names_and_numbers_as_they_are(standings: Standings) -> None:
    first = replace(standings.entries[0], entry='a,"b"', score=-0.5, rank=None, rank_interval=None)
    (row,) = csv.DictReader(io.StringIO(as_csv(replace(standings, entries=(first,)))))
    assert (row["entry"], row["score"], row["rank"], row["rank_low"]) == ('a,"b"', "-0.5", "", "")


def test_markdown_shows_names_as_text(standings: Standings) -> None:
    text = as_markdown(standings)
    lines = text.splitlines()
    assert "<img" not in text
    assert "| 1 | &lt;img src=x onerror=alert(1)&gt; | 1 | 11.5 |" in lines[4]
    assert "| 3 | \\[red\\]a\\|b\\*\\`\\_\\[/red\\] | 0 | 31.5 |" in lines[6]
    assert lines[4].count(" | ") == lines[2].count(" | ")
    assert lines[6].replace("\\|", "").count("|") == lines[2].count("|")
    assert "- references registered: none" in lines
    assert ("## AB (2 cases)" in lines, "## HN (2 cases)" in lines) == (True, True)


def test_texts_of_a_metrics_file_are_text_too(standings: Standings) -> None:
    judged = {**standings.judged_by, "segmenter": "<b>\n# x", "registration": "[a](http://x)"}
    text = as_markdown(replace(standings, judged_by=judged))
    assert "judged by &lt;b&gt;?\\# x" in text
    assert "references registered: \\[a\\](http://x)" in text


def test_terminal_shows_names_without_markup(standings: Standings) -> None:
    stream = io.StringIO()
    Console(file=stream, width=160, no_color=True).print(as_table(standings))
    shown = stream.getvalue()
    for text in (f"{SCRIPT}", f"{FORMULA} (starter, simulated data)", f"{MARKUP} (demonstration only)", "1-1", "100%"):
        assert text in shown
    bare = replace(standings, bootstrap=replace(standings.bootstrap, draws=0))
    assert "first" not in [column.header for column in as_table(bare).columns]


def test_names_longer_than_the_terminal_are_folded(standings: Standings, tmp_path: Path) -> None:
    stream = io.StringIO()
    entries = (replace(standings.entries[0], entry="x" * 300),)
    Console(file=stream, width=100, no_color=True).print(as_table(replace(standings, entries=entries)))
    assert stream.getvalue().count("x") >= 300
