"""The folder of a leaderboard: every entry's metrics.json kept below entries/, so that more can be added later."""

from __future__ import annotations

import csv
import filecmp
import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.leaderboard.dose import DOSE_NAME
from evaluation.leaderboard.entries import Entry, plain_name
from synthct.errors import InputError, UsageError
from synthct.files import write_error, write_text

__all__ = [
    "ENTRIES_FOLDER",
    "entry_folder",
    "keep_entry",
    "list_kept",
    "merge_kept",
    "remove_kept",
]

ENTRIES_FOLDER = "entries"
METRICS_NAME = "metrics.json"
NAME_FILE = "entry.json"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
HASHED = re.compile(r"-[0-9a-f]{8}$")


def list_kept(board: Path) -> dict[str, Path]:
    """Entries that a leaderboard's folder holds, by name: {name: its folder}; empty where there is no such folder.

    Raises:
        InputError: the note with an entry's name cannot be read, or two entries have the same name.
    """
    kept: dict[str, Path] = {}
    for path in sorted((board / ENTRIES_FOLDER).glob(f"*/{METRICS_NAME}")):
        note = path.parent / NAME_FILE
        try:
            name = json.loads(note.read_text(encoding="utf-8"))["name"] if note.is_file() else path.parent.name
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{note}: cannot be read ({error}); expected the name of an entry") from error
        called = plain_name(str(name))
        if called in kept:
            raise InputError(f"{path.parent}: holds an entry called {called}, as {kept[called]} does; expected one")
        kept[called] = path.parent
    return dict(sorted(kept.items()))


def entry_folder(board: Path, name: str) -> Path:
    """Folder of an entry: its name, or what is harmless of it with a hash behind, so that no two share a folder."""
    if PLAIN.fullmatch(name) and not HASHED.search(name):
        return board / ENTRIES_FOLDER / name
    harmless = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return board / ENTRIES_FOLDER / f"{harmless or 'entry'}-{digest}"


def merge_kept(kept: Mapping[str, Path], names: Sequence[str], files: Sequence[Path], *, replace: bool) -> list[Path]:
    """Say which files to read for entries that are to be added.

    Args:
        kept: what the folder holds.
        names: of the entries to be added.
        files: their metrics.json.
        replace: they take the places of kept ones of the same name.

    Returns:
        One file per name: the kept one where it is the same, with the dose columns that lie beside it.

    Raises:
        UsageError: a name is taken by other results, and `replace` is not set.
    """
    taken = {name: folder / METRICS_NAME for name, folder in kept.items()}
    chosen = []
    for name, file in zip(names, files, strict=True):
        same = name in taken and file.is_file() and filecmp.cmp(taken[name], file, shallow=False)
        if name in taken and not same and not replace:
            raise UsageError(
                f"{taken[name].parent}: holds other results of an entry called {name}; expected another name (--name) "
                "or --replace"
            )
        chosen.append(taken[name] if same else file)
    return chosen


def keep_entry(folder: Path, entry: Entry, file: Path) -> Path:
    """Copy an entry's metrics.json, name and dose columns into a folder.

    Args:
        folder: from `entry_folder`, or where it is kept already. Other results in it are removed, with all that lies
            beside them: their dose columns and case pages are not those of the new ones.
        entry: as it was ranked.
        file: its metrics.json.

    Raises:
        OutputError: it cannot be written.
    """
    if file.resolve().parent != folder.resolve():
        try:
            text = file.read_text(encoding="utf-8")
            if folder.is_symlink():
                folder.unlink()  # what it leads to is not the board's
            elif (folder / METRICS_NAME).exists():
                _empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error
        write_text(folder / METRICS_NAME, text)
    write_text(folder / NAME_FILE, json.dumps({"name": entry.name}) + "\n")
    if entry.from_dose:
        write_text(folder / DOSE_NAME, _dose_table(entry))
    return folder


def _empty(folder: Path) -> None:
    """Remove all but metrics.json, which its successor replaces at one stroke: a killed run loses no entry."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != METRICS_NAME:
            path.unlink()


def remove_kept(folder: Path) -> None:
    """Remove an entry from the folder of a leaderboard.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        if folder.is_symlink():
            folder.unlink()  # what it leads to is not the board's
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _dose_table(entry: Entry) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", *entry.from_dose])
    for case, row in zip(entry.cases, entry.rows, strict=True):
        writer.writerow([case, *("" if row.get(name) is None else repr(row[name]) for name in entry.from_dose)])
    return stream.getvalue()
