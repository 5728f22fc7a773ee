"""The folder of a leaderboard: what is kept, under which name, and what takes whose place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from board_files import entry_file, result_rows

from evaluation.leaderboard.dose import add_dose
from evaluation.leaderboard.entries import Entry, name_entries, plain_name, read_entries
from evaluation.leaderboard.folder import entry_folder, keep_entry, list_kept, merge_kept, remove_kept
from synthct.errors import InputError, UsageError

HOSTILE = ("../up", "a/scores", "..", "=1+1", "<img src=x onerror=alert(1)>", "CON:", "é", "-rf", ".hidden", "x" * 300)


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    (found,) = read_entries([entry_file(tmp_path / "ours", result_rows({"mae": [1.0, 2.0]}))])
    return found


def test_an_entry_is_kept_whole(entry: Entry, tmp_path: Path) -> None:
    board, file = tmp_path / "board", tmp_path / "ours" / "metrics.json"
    folder = keep_entry(entry_folder(board, entry.name), entry, file)
    assert folder == board / "entries" / "ours"
    assert (folder / "metrics.json").read_bytes() == file.read_bytes()
    assert list_kept(board) == {"ours": folder}
    assert sorted(path.name for path in folder.iterdir()) == ["entry.json", "metrics.json"]
    remove_kept(folder)
    assert list_kept(board) == {}


def test_nothing_is_kept_where_there_is_no_folder(tmp_path: Path) -> None:
    assert list_kept(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_in_the_folder_and_come_back(entry: Entry, tmp_path: Path, name: str) -> None:
    board = tmp_path / "board"
    folder = entry_folder(board, name)
    assert folder.parent == board / "entries"
    assert len(folder.name) < 100
    assert folder.name[0] not in ".-"
    keep_entry(folder, Entry(name, {}, {}, (), simulated=False, starter=None), tmp_path / "ours" / "metrics.json")
    assert list_kept(board) == {name: folder}


def test_no_two_names_share_a_folder() -> None:
    hashed = entry_folder(Path(), "a b").name
    names = {"a/b", "a-b", "a b", "a_b", "è", "../..", hashed, *HOSTILE}
    assert len({entry_folder(Path(), name) for name in names}) == len(names)


def test_names_are_one_line_that_prints() -> None:
    assert plain_name(" a\nb\x1b[31m\u202e ") == "a?b?[31m?"
    assert plain_name("") == plain_name("  ") == "?"
    assert plain_name("\udcff") == "?"
    with pytest.raises(UsageError, match="two entries are called x; expected different names"):
        name_entries([Path("a"), Path("b")], ["x", " x"])


def test_a_folder_put_there_by_hand_is_named_after_itself(entry: Entry, tmp_path: Path) -> None:
    by_hand = tmp_path / "board" / "entries" / "by hand"
    shutil.copytree(tmp_path / "ours", by_hand)
    (by_hand.parent / "no metrics").mkdir()
    assert list_kept(tmp_path / "board") == {"by hand": by_hand}
    for text in ("{", "[]", '{"title": 1}', "[" * 100_000):
        (by_hand / "entry.json").write_text(text)
        with pytest.raises(InputError, match=r"by hand/entry\.json: cannot be read"):
            list_kept(tmp_path / "board")


def test_the_same_name_is_replaced_only_where_that_is_wanted(entry: Entry, tmp_path: Path) -> None:
    board, file = tmp_path / "board", tmp_path / "ours" / "metrics.json"
    folder = keep_entry(entry_folder(board, "ours"), entry, file)
    kept = list_kept(board)
    assert merge_kept(kept, ["ours", "new"], [file, file], replace=False) == [folder / "metrics.json", file]
    other = entry_file(tmp_path / "other", result_rows({"mae": [1.0, 3.0]})) / "metrics.json"
    with pytest.raises(UsageError, match=r"entries/ours: holds other results of an entry called ours; .*--replace"):
        merge_kept(kept, ["ours"], [other], replace=False)
    assert merge_kept(kept, ["ours"], [other], replace=True) == [other]
    pages = folder / "report"
    pages.mkdir()
    keep_entry(folder, entry, folder / "metrics.json")
    assert pages.exists()
    keep_entry(folder, read_entries([other.parent])[0], other)
    assert not pages.exists()
    assert (folder / "metrics.json").read_bytes() == other.read_bytes()
    assert list_kept(board) == {"other": folder}


def test_dose_columns_are_kept_with_the_entry(entry: Entry, tmp_path: Path) -> None:
    table = tmp_path / "dose.csv"
    table.write_text("case,gamma,dvh\n1ABA002,98.25,0.1\n1ABA001,97.5,\n")
    (dosed,) = add_dose([entry], [f"ours={table}"])
    board, file = tmp_path / "board", tmp_path / "ours" / "metrics.json"
    folder = keep_entry(entry_folder(board, "ours"), dosed, file)
    assert (folder / "dose.csv").read_text() == "case,gamma,dvh\n1ABA001,97.5,\n1ABA002,98.25,0.1\n"
    again = add_dose(read_entries([folder]))[0]
    assert (again.means, again.rows) == (dosed.means, dosed.rows)
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(file.read_text())
    keep_entry(folder, again, folder / "metrics.json")
    assert add_dose(read_entries([folder]))[0].means == dosed.means
    keep_entry(folder, entry, file)  # other results without dose columns: those of the old ones are not theirs
    assert not (folder / "dose.csv").exists()


def test_two_folders_of_one_name_are_refused(entry: Entry, tmp_path: Path) -> None:
    board = tmp_path / "board"
    folder = keep_entry(entry_folder(board, "ours"), entry, tmp_path / "ours" / "metrics.json")
    shutil.copytree(folder, folder.parent / "ours-copy")
    with pytest.raises(InputError, match=r"ours-copy: holds an entry called ours, as .*entries/ours does"):
        list_kept(board)


def test_a_link_in_the_board_is_removed_and_what_it_leads_to_is_not(entry: Entry, tmp_path: Path) -> None:
    outside = entry_file(tmp_path / "outside", result_rows({"mae": [5.0]}))
    (outside / "precious").touch()
    board = tmp_path / "board"
    link = entry_folder(board, "ours")
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    keep_entry(link, entry, tmp_path / "ours" / "metrics.json")
    assert (link.is_symlink(), (outside / "precious").exists()) == (False, True)
    again = board / "entries" / "again"
    again.symlink_to(outside)
    remove_kept(again)
    assert (again.exists(), (outside / "precious").exists()) == (False, True)


def test_a_kept_entry_is_replaced_without_a_gap(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = keep_entry(entry_folder(tmp_path / "board", "ours"), entry, tmp_path / "ours" / "metrics.json")
    (folder / "report").mkdir()
    (folder / "dose.csv").touch()
    other = entry_file(tmp_path / "other", result_rows({"mae": [1.0, 3.0]})) / "metrics.json"
    kept = (folder / "metrics.json").read_bytes()

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.leaderboard.folder.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        keep_entry(folder, entry, other)
    assert (folder / "metrics.json").read_bytes() == kept
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]  # what lay beside is not that of the new one
