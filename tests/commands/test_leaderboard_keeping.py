"""`synthct leaderboard` keeps entries in its folder: added, replaced only on request, ranked again without files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands.command_line import synthct

from evaluation.commands.leaderboard import leaderboard
from synthct.errors import InputError, UsageError


def save_metrics(folder: Path, mae: list[float], **more: Any) -> Path:
    rows = [
        {"case": f"1ABA00{number}", "region": "AB", "task": "mri", "mae": value} for number, value in enumerate(mae)
    ]
    content = {
        "results": rows,
        "aggregates": {"mae": {"mean": sum(mae) / len(mae), "count": len(mae)}},
        "protocol": "synthrad2025",
        "segmenter": "tissue",
        "starter": False,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board that holds a and b; the folders they came from are gone."""
    folder = tmp_path / "board"
    sources = [save_metrics(tmp_path / "a", [10.0, 12.0]), save_metrics(tmp_path / "b", [20.0, 24.0])]
    leaderboard(folder, sources, draws=20, site=False)
    for source in sources:
        (source / "metrics.json").unlink()
    return folder


def ranks(board: Path) -> list[tuple[int, str, float]]:
    content = json.loads((board / "leaderboard.json").read_text())
    return [(row["rank"], row["entry"], row["mae"]) for row in content["entries"]]


def test_entries_are_added_to_those_that_are_kept(board: Path, tmp_path: Path) -> None:
    leaderboard(board, [save_metrics(tmp_path / "c", [15.0, 15.0])], draws=20, site=False)
    assert ranks(board) == [(1, "a", 11.0), (2, "c", 15.0), (3, "b", 22.0)]
    assert sorted(path.name for path in (board / "entries").iterdir()) == ["a", "b", "c"]


def test_what_is_kept_is_ranked_again_without_files(board: Path) -> None:
    (board / "leaderboard.json").unlink()
    leaderboard(board, ranking="platform", draws=0, site=False)
    assert ranks(board) == [(1, "a", 11.0), (2, "b", 22.0)]
    content = json.loads((board / "leaderboard.json").read_text())
    assert (content["ranking"], content["entries"][0]["rank_interval"]) == ("platform", None)


def test_the_same_results_again_change_nothing(board: Path, tmp_path: Path) -> None:
    before = (board / "leaderboard.json").read_bytes()
    again = save_metrics(tmp_path / "a", [10.0, 12.0])
    leaderboard(board, [again, board / "entries" / "b"], draws=20, site=False)
    assert (board / "leaderboard.json").read_bytes() == before


def test_other_results_of_the_same_name(board: Path, tmp_path: Path) -> None:
    before = (board / "leaderboard.json").read_bytes()
    other = save_metrics(tmp_path / "again" / "a", [30.0, 30.0])
    with pytest.raises(UsageError, match="holds other results of an entry called a; expected another name"):
        leaderboard(board, [other], site=False)
    assert (board / "leaderboard.json").read_bytes() == before
    leaderboard(board, [other], replace_same=True, draws=20, site=False)
    assert ranks(board) == [(1, "b", 22.0), (2, "a", 30.0)]
    leaderboard(board, [save_metrics(tmp_path / "a", [10.0, 12.0])], name=["a/first"], draws=20, site=False)
    assert ranks(board)[0] == (1, "a/first", 11.0)


def test_only_these_remain(board: Path, tmp_path: Path) -> None:
    leaderboard(board, [save_metrics(tmp_path / "c", [15.0, 15.0])], add=False, draws=20, site=False)
    assert ranks(board) == [(1, "c", 15.0)]
    assert [path.name for path in (board / "entries").iterdir()] == ["c"]


def test_what_may_not_be_compared_leaves_the_board_as_it_was(board: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    other = save_metrics(tmp_path / "c", [1.0, 1.0], registration="elastix")
    with pytest.raises(InputError, match="c was scored with registration elastix, a with None; expected the same"):
        leaderboard(board, [other], add=True, site=False)
    fewer = save_metrics(tmp_path / "d", [1.0])
    with pytest.raises(InputError, match="expected the same cases"):
        leaderboard(board, [fewer], replace_same=True, site=False)
    assert {path: path.read_bytes() for path in board.rglob("*") if path.is_file()} == before


def test_nothing_to_rank(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no entries; expected metrics\.json files to rank"):
        leaderboard(tmp_path / "board", site=False)
    assert not (tmp_path / "board").exists()


def test_dose_is_kept_where_an_entry_is_given_again(board: Path, tmp_path: Path) -> None:
    table = tmp_path / "dose.csv"
    table.write_text("entry,case,gamma\na,1ABA000,90\na,1ABA001,92\nb,1ABA000,95\nb,1ABA001,97\n")
    leaderboard(board, dose=[str(table)], draws=20, site=False)
    leaderboard(board, [save_metrics(tmp_path / "a", [10.0, 12.0])], draws=20, site=False)
    content = json.loads((board / "leaderboard.json").read_text())
    assert {row["entry"]: row["gamma"] for row in content["entries"]} == {"a": 91.0, "b": 96.0}


def test_the_command_line_and_the_site(board: Path, tmp_path: Path) -> None:
    hostile = save_metrics(tmp_path / "=<b>x[red]", [5.0, 6.0], demonstration_only=True)
    options = ("--draws", "20", "--metric", "mae", "--add")
    outcome = synthct("leaderboard", hostile, "--output", board, *options)
    assert (outcome.code, outcome.err) == (0, "")
    assert "=<b>x[red] (demonstration only)" in outcome.out
    assert (board / "leaderboard.csv").read_text().splitlines()[1].startswith("1,'=<b>x[red],")
    page = (board / "index.html").read_text()
    assert ("<b>x[red]" in page, "&lt;b&gt;x[red]" in page) == (False, True)
    assert ranks(board)[0] == (1, "=<b>x[red]", 5.5)
    unknown = synthct("leaderboard", "--output", board, "--metric", "nsd")
    assert (unknown.code, "metric 'nsd' is unknown" in unknown.reason) == (2, True)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    # Two of one folder: their names would clash, which is not what is wrong.
    with pytest.raises(InputError, match=r"nowhere/a: no such file; expected a metrics\.json of synthct evaluate"):
        leaderboard(tmp_path / "board", [tmp_path / "nowhere" / "a", tmp_path / "nowhere" / "b"], site=False)
    assert not (tmp_path / "board").exists()
