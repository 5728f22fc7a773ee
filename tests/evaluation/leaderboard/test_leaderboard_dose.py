"""Dose columns from CSV: read by case, refused where they do not belong to an entry."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from board_files import entry_file, result_rows

from evaluation.leaderboard.dose import add_dose, read_dose
from evaluation.leaderboard.entries import Entry, read_entries
from evaluation.standings import build_standings
from synthct.errors import InputError, UsageError


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        entry_file(tmp_path / "a", result_rows({"mae": [40.0, 60.0]})),
        entry_file(tmp_path / "b", result_rows({"mae": [50.0, 70.0]})),
    ]


def dosed(folders: list[Path], *sources: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in add_dose(read_entries(folders), sources)}


def test_columns_by_hand(folders: list[Path], tmp_path: Path) -> None:
    own = table(tmp_path / "a.csv", "case,gamma,dvh\n1ABA002,98,0.25\n1ABA001,97,0.75\n")
    entries = dosed(folders, f"a={own}")
    assert entries["a"].means == {"mae": 50.0, "gamma": 97.5, "dvh": 0.5}
    assert entries["a"].counts == {"mae": 2, "gamma": 2, "dvh": 2}
    assert [row["gamma"] for row in entries["a"].rows] == [97.0, 98.0]
    assert entries["a"].from_dose == ("gamma", "dvh")
    assert (entries["b"].means, entries["b"].from_dose) == ({"mae": 60.0}, ())


def test_one_file_for_several_entries(folders: list[Path], tmp_path: Path) -> None:
    text = "entry,case,mae_target_photon\na,1ABA001,0.1\na,1ABA002,0.3\nb,1ABA001,0.5\nb,1ABA002,0.5\n"
    entries = dosed(folders, str(table(tmp_path / "dose.txt", text)))
    assert [entries[name].means["mae_target_photon"] for name in "ab"] == [pytest.approx(0.2), 0.5]


def test_a_file_beside_the_metrics_is_read_and_a_named_one_is_preferred(folders: list[Path], tmp_path: Path) -> None:
    table(folders[0] / "dose.csv", "case,gamma\n1ABA001,90\n1ABA002,92\n")
    assert dosed(folders)["a"].means["gamma"] == 91.0
    other = table(tmp_path / "other.csv", "case,gamma\n1ABA001,80\n1ABA002,82\n")
    assert dosed(folders, f"a={other}")["a"].means["gamma"] == 81.0


@pytest.mark.parametrize("cell", ["", "NaN", "inf"])
def test_a_case_without_a_value_leaves_no_mean(folders: list[Path], tmp_path: Path, cell: str) -> None:
    path = table(tmp_path / "a.csv", f"case,gamma,dvh\n1ABA001,97,0.5\n1ABA002,{cell},0.5\n")
    entry = dosed(folders, f"a={path}")["a"]
    assert (entry.means["gamma"], entry.means["dvh"], entry.counts["gamma"]) == (None, 0.5, 1)
    short = dosed(folders, f"a={table(tmp_path / 'short.csv', 'case,gamma' + chr(10) + '1ABA001,97' + chr(10))}")["a"]
    assert (short.means["gamma"], short.rows[1]["gamma"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,gama\n1ABA001,1\n", "column 'gama' is unknown; expected case, entry, mae_target"),
        ("gamma\n1\n", "has the columns gamma; expected case and dose columns"),
        ("", "has the columns none; expected case"),
        ("case,gamma,gamma\n1ABA001,1,2\n", "each once"),
        ("case,gamma\n1ABA001,high\n", "line 2 has 'high'; expected a number or nothing"),
        ("case,gamma\n1ABA001,1e300\n", "line 2 has '1e300'; expected a measurement of at most 1e+09"),
        ("case,gamma\n1ABA001,1\n1ABA001,1\n", "line 3 has case 1ABA001 again"),
        ("case,gamma\n1ABA001\n", "line 2 has not as many cells"),
        ("case,gamma\n1ABA001,1,2\n", "line 2 has not as many cells"),
        ("case,gamma\n1ABA009,1\n", "case 1ABA009 is none of a; expected its 2 cases"),
        ("case,entry,gamma\n1ABA001,a,1\n", "has a column entry, and a is named beside it"),
    ],
)
def test_tables_that_cannot_be_used(folders: list[Path], tmp_path: Path, text: str, reason: str) -> None:
    path = table(tmp_path / "dose.csv", text)
    with pytest.raises(InputError) as caught:
        dosed(folders, f"a={path}")
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_entries_that_are_not_there(folders: list[Path], tmp_path: Path) -> None:
    path = table(tmp_path / "dose.csv", "case,gamma\n1ABA001,1\n1ABA002,1\n")
    with pytest.raises(InputError, match=r"no entry is called 'c'; expected rows of a, b"):
        dosed(folders, f"c={path}")
    with pytest.raises(InputError, match=r"a column entry is missing"):
        dosed(folders, str(path))
    with pytest.raises(UsageError, match=r"a has two files with dose columns"):
        dosed(folders, f"a={path}", f"a={path}")
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read \(No such file"):
        dosed(folders, f"a={tmp_path / 'nowhere.csv'}")


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    folder = entry_file(tmp_path / "a", result_rows({"mae": [1.0], "gamma": [99.0]}))
    table(folder / "dose.csv", "case,gamma\n1ABA001,1\n")
    with pytest.raises(InputError, match=r"a has gamma in its metrics\.json already"):
        dosed([folder])


def test_spreadsheets_byte_order_mark_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "dose.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([["case", " gamma "], [" 1ABA001", "1.5"]])
    assert read_dose(path) == {"": {"1ABA001": {"gamma": 1.5}}}


@pytest.mark.parametrize(
    ("columns", "note"),
    [
        (
            "gamma_photon,gamma_proton",
            "3 of 4 groups (image similarity, photon dose, proton dose; no geometric fidelity)",
        ),
        (
            "gamma_photon,dvh_photon",
            "2 of 4 groups (image similarity, photon dose; no geometric fidelity, proton dose)",
        ),
        ("gamma,dvh", "2 of 4 groups (image similarity, dose, which does not tell its beam)"),
    ],
)
def test_groups_that_are_there(folders: list[Path], tmp_path: Path, columns: str, note: str) -> None:
    rows = [f"{entry},1ABA00{case},1,1" for entry in "ab" for case in (1, 2)]
    path = table(tmp_path / "dose.csv", "\n".join([f"entry,case,{columns}", *rows]))
    assert build_standings(folders, dose=[str(path)], draws=0).notes[0] == f"partial: {note}"


def test_all_four_groups_are_not_partial(tmp_path: Path) -> None:
    folder = entry_file(tmp_path / "a", result_rows({"mae": [1.0], "DICE": [0.5]}))
    path = table(tmp_path / "dose.csv", "case,gamma_photon,gamma_proton\n1ABA001,99,98\n")
    standings = build_standings([folder], dose=[f"a={path}"], draws=0)
    assert not any("partial" in note for note in standings.notes)
    assert [metric.group for metric in standings.metrics][-2:] == ["photon dose", "proton dose"]
