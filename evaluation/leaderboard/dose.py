"""Dose columns of a planning system, from CSV: synthct computes none (CONTRACT 3.8)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.leaderboard.entries import LARGEST, Entry
from evaluation.leaderboard.metrics import DOSE_COLUMNS
from synthct.errors import InputError, UsageError

__all__ = ["DOSE_NAME", "Doses", "add_dose", "read_dose"]

DOSE_NAME = "dose.csv"
"""A file of this name beside a metrics.json is read; the folder of a leaderboard keeps it so."""

Doses = Mapping[str, Mapping[str, float | None]]
"""{case: {column: value}}."""


def add_dose(entries: Sequence[Entry], sources: Sequence[str] = ()) -> list[Entry]:
    """Add dose columns to the entries that have any.

    Args:
        entries: from `read_entries`.
        sources: `ENTRY=FILE`, or `FILE` with a column `entry`; an entry without either takes the dose.csv beside its
            metrics.json, where there is one. A column that lacks the value of one case has no mean.

    Raises:
        InputError: a file cannot be used, names a case or an entry that was not scored, or repeats a column of
            metrics.json.
        UsageError: an entry is given two files.
    """
    given: dict[str, tuple[Path, Doses]] = {}
    for source in sources:
        path, name = Path(source), ""
        if not path.is_file() and "=" in source:
            name, _, file = source.partition("=")
            path = Path(file)
        tables = read_dose(path)
        if name and set(tables) != {""}:
            raise InputError(f"{path}: has a column entry, and {name} is named beside it; expected either")
        for entry, table in tables.items():
            if (name or entry) in given:
                raise UsageError(f"{name or entry} has two files with dose columns; expected one")
            given[name or entry] = (path, table)
    unknown = sorted(set(given) - {entry.name for entry in entries})
    if unknown:
        path = given[unknown[0]][0]
        asked = f"no entry is called '{unknown[0]}'" if unknown[0] else "a column entry is missing"
        raise InputError(f"{path}: {asked}; expected rows of {', '.join(entry.name for entry in entries[:5])}")
    return [_with_dose(entry, given.get(entry.name)) for entry in entries]


def read_dose(path: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """Read a CSV with `case`, `entry` if there are several, and any of the dose columns.

    Returns:
        {entry: {case: {column: value}}}; the entry is "" where there is no such column; an empty cell or NaN is None.

    Raises:
        InputError: it cannot be read, has an unknown column, a case twice, or something else than a number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            lines = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read ({reason}); expected a CSV with dose columns") from error
    if "case" not in header or len(set(header)) != len(header):
        raise InputError(
            f"{path}: has the columns {', '.join(header) or 'none'}; expected case and dose columns, each once"
        )
    for name in header:
        if name not in ("case", "entry", *DOSE_COLUMNS):
            raise InputError(f"{path}: column '{name}' is unknown; expected case, entry, {', '.join(DOSE_COLUMNS)}")
    columns = [name for name in header if name in DOSE_COLUMNS]
    tables: dict[str, dict[str, dict[str, float | None]]] = {}
    for number, row in lines:
        if None in row or None in row.values():
            raise InputError(f"{path}: line {number} has not as many cells as the header; expected {len(header)}")
        table, case = tables.setdefault(row.get("entry", "").strip(), {}), row["case"].strip()
        if case in table:
            raise InputError(f"{path}: line {number} has case {case} again; expected each case once")
        table[case] = {name: _number(row[name], f"{path}: line {number}") for name in columns}
    return tables


def _with_dose(entry: Entry, given: tuple[Path, Doses] | None) -> Entry:
    beside = entry.folder / DOSE_NAME
    if given is None:
        if not entry.rows or not beside.is_file():
            return entry
        tables = read_dose(beside)
        if set(tables) != {""}:
            raise InputError(f"{beside}: has a column entry; expected the rows of {entry.name} alone")
        given = (beside, tables[""])
    path, table = given
    strangers = sorted(set(table) - set(entry.cases))
    if strangers:
        raise InputError(f"{path}: case {strangers[0]} is none of {entry.name}; expected its {len(entry.cases)} cases")
    columns = list(next(iter(table.values()), {}))
    repeated = [name for name in columns if name in entry.means]
    if repeated:
        raise InputError(f"{path}: {entry.name} has {repeated[0]} in its metrics.json already; expected it once")
    rows = tuple(
        {**row, **{name: table.get(case, {}).get(name) for name in columns}}
        for case, row in zip(entry.cases, entry.rows, strict=True)
    )
    found = {name: [value for row in rows if (value := row[name]) is not None] for name in columns}
    whole = {
        name: math.fsum(values) / len(rows) if len(values) == len(rows) else None for name, values in found.items()
    }
    return replace(
        entry,
        rows=rows,
        from_dose=tuple(columns),
        means={**entry.means, **whole},
        counts={**entry.counts, **{name: len(values) for name, values in found.items()}},
        columns={**entry.columns, **{name: name for name in columns}},
    )


def _number(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{where} has '{text}'; expected a number or nothing") from error
    if LARGEST < abs(value) < math.inf:
        raise InputError(f"{where} has '{text}'; expected a measurement of at most {LARGEST:g}")
    return value if math.isfinite(value) else None
