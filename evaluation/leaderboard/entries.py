"""Entries of a leaderboard, read from their metrics.json, and whether they may be compared at all."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from evaluation.leaderboard.metrics import HIGHER_IS_BETTER
from synthct.errors import InputError, UsageError

__all__ = ["LARGEST", "MUST_AGREE", "Entry", "finite", "metrics_file", "name_entries", "plain_name", "read_entries"]

STRICT_SUFFIX = "_strict"
"""Column of a metric's strict value: its official name with this behind it."""

MUST_AGREE = ("protocol", "scoring_version", "segmenter", "segmenter_weights", "registration", "reference")
LARGE = ("results", "aggregates", "aggregates_by_region")
LARGEST = 1e9
"""No HU, mm, dB or share is larger; what is would overflow in sums."""
TOLERANCE = 1e-6
"""Relative difference that a mean may have from its cases; rounding stays far below it."""


@dataclass(frozen=True)
class Entry:
    """One metrics.json: its name, the mean per metric (None where undefined), and what it says of itself.

    `counts` has the cases behind each mean; `excused` the mean number of structures that were missed and do not count
    (small, or cut by the volume's edge). `starter` is None where nothing tells which weights were used. `columns` maps
    a metric to the key of its value in `rows`, which are the results, sorted by case; `folder` holds the file; `about`
    is the rest of its content; `from_dose` names the metrics that came from a CSV.
    """

    name: str
    means: Mapping[str, float | None]
    protocol: Mapping[str, Any]
    cases: tuple[str, ...]
    simulated: bool
    starter: bool | None
    random_features: bool = False
    demonstration_only: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    excused: float = 0.0
    columns: Mapping[str, str] = field(default_factory=dict, compare=False)
    rows: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, repr=False)
    folder: Path = field(default=Path(), compare=False)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    from_dose: tuple[str, ...] = field(default=(), compare=False)

    @property
    def marks(self) -> tuple[str, ...]:
        """What the entry has to be read with, in words."""
        said = {
            "starter": self.starter is True,
            "weights unknown": self.starter is None,
            "simulated data": self.simulated,
            "random features": self.random_features,
            "demonstration only": self.demonstration_only,
        }
        return tuple(mark for mark, holds in said.items() if holds)


def read_entries(paths: Sequence[Path], names: Sequence[str] = (), *, scores: str = "official") -> list[Entry]:
    """Read metrics.json files (or folders that hold one).

    Args:
        paths: one per entry.
        names: of the entries; else those of their folders.
        scores: `official`, or `strict` for the values in which no missing structure or NaN hides; a metric that has no
            strict value (dose) keeps its own.

    Raises:
        InputError: a file cannot be read as metrics, its means are not those of its cases, some of its cases were not
            scored, or the entries were scored differently or on different cases; with strict scores, also where an sCT
            lay on another grid than its CT.
        UsageError: names were given, but not one per file; or two entries have the same name.
    """
    called = name_entries(paths, names)
    entries = [_read(metrics_file(path), name, scores) for path, name in zip(paths, called, strict=True)]
    for entry in entries[1:]:
        _compare(entry, entries[0])
    return _on_equal_terms(entries, scores)


def metrics_file(path: Path) -> Path:
    """The metrics.json that a path means: itself, or the one in the folder that it is."""
    return path / "metrics.json" if path.is_dir() else path


def name_entries(paths: Sequence[Path], names: Sequence[str] = ()) -> list[str]:
    """Names of entries: those given, else those of their folders, parent/folder where two are equal.

    Raises:
        UsageError: names were given, but not one per path; or two are the same.
    """
    if names and len(names) != len(paths):
        raise UsageError(f"{len(names)} names for {len(paths)} entries; expected one each")
    folders = [metrics_file(path).resolve().parent for path in paths]
    shared = Counter(folder.name for folder in folders)
    own = [folder.name if shared[folder.name] == 1 else f"{folder.parent.name}/{folder.name}" for folder in folders]
    called = [plain_name(name) for name in (names or own)]
    twice = [name for name, count in Counter(called).items() if count > 1]
    if twice:
        raise UsageError(f"two entries are called {twice[0]}; expected different names (--name)")
    return called


def plain_name(name: str) -> str:
    """A name as it may stand in a terminal and in any file: one line, without characters that do not print."""
    return "".join(letter if letter.isprintable() else "?" for letter in name).strip() or "?"


def finite(value: object) -> float | None:
    """A number that counts; NaN and infinity, which the official program writes, are null on the platform too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of 400 digits
        return None


def _compare(entry: Entry, first: Entry) -> None:
    for key in MUST_AGREE:
        if entry.protocol[key] != first.protocol[key]:
            raise InputError(
                f"{entry.name} was scored with {key} {entry.protocol[key]}, {first.name} with "
                f"{first.protocol[key]}; expected the same"
            )
    if entry.cases != first.cases:
        differing = sorted(set(entry.cases) ^ set(first.cases))
        raise InputError(
            f"{entry.name} was scored on {len(entry.cases)} cases, {first.name} on {len(first.cases)}; "
            f"expected the same cases (not in both: {', '.join(differing[:5])})"
        )
    for key in set(entry.columns) & set(first.columns):
        if entry.columns[key] != first.columns[key]:
            raise InputError(
                f"{entry.name} has its {key} in {entry.columns[key]}, {first.name} in {first.columns[key]}; "
                "expected strict values of both or of none"
            )


def _on_equal_terms(entries: list[Entry], scores: str) -> list[Entry]:
    """A mean that lacks a case of which another entry has a value is no value: the hard ones may be what is missing."""
    for entry in entries:
        if scores == "strict" and entry.excused > min(other.excused for other in entries):
            warnings.warn(
                f"{entry.name} lacks {entry.excused:g} small or cut structures per case, others fewer; the strict "
                "scores leave them out",
                stacklevel=3,
            )
    most = {name: max(entry.counts.get(name, 0) for entry in entries) for name in HIGHER_IS_BETTER}
    held = [{name: _cases_with(entry, column) for name, column in entry.columns.items()} for entry in entries]
    anyones = {name: frozenset[str]().union(*(own.get(name, ()) for own in held)) for name in most}
    fair = [
        {
            name: mean if entry.counts[name] == most[name] and own[name] in (frozenset(), anyones[name]) else None
            for name, mean in entry.means.items()
        }
        for entry, own in zip(entries, held, strict=True)
    ]
    for name in HIGHER_IS_BETTER:
        before = any(entry.means.get(name) is not None for entry in entries)
        if before and all(means.get(name) is None for means in fair):
            warnings.warn(f"{name} is not ranked: each entry lacks a case of which another has a value", stacklevel=3)
    return [replace(entry, means=means) for entry, means in zip(entries, fair, strict=True)]


def _cases_with(entry: Entry, column: str) -> frozenset[str]:
    return frozenset(
        case for case, row in zip(entry.cases, entry.rows, strict=True) if finite(row.get(column)) is not None
    )


def _read(path: Path, name: str, scores: str) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite_float, parse_constant=_no_number)
        aggregates = content["aggregates"]
        strict = {key: f"{key}{STRICT_SUFFIX}" for key in aggregates if f"{key}{STRICT_SUFFIX}" in aggregates}
        chosen = strict if scores == "strict" else {}
        columns = {key: chosen.get(key, key) for key in HIGHER_IS_BETTER if key in aggregates}
        means = {key: _mean(aggregates[column]["mean"]) for key, column in columns.items()}
        counts = {key: int(aggregates[column].get("count", 0)) for key, column in columns.items()}
        excused = _mean(aggregates.get("n_missed_small", {}).get("mean")) or 0.0
        rows = tuple(sorted((dict(row) for row in content["results"]), key=lambda row: str(row["case"])))
        cases = tuple(str(row["case"]) for row in rows)
        failures = [str(failure["case"] or "a file without a case's id") for failure in content.get("failures", [])]
        flagged = [case for case, row in zip(cases, rows, strict=True) if row.get("geometry_differs")]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a metrics.json") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: is no metrics.json of synthct evaluate ({type(error).__name__}: {error})") from error
    twice = sorted({case for case, following in pairwise(cases) if case == following})
    if twice:
        raise InputError(f"{path}: has case {twice[0]} more than once; expected each case once")
    if failures:
        raise InputError(
            f"{path}: has {len(failures)} failures ({', '.join(failures[:5])}); expected all cases to be scored"
        )
    if flagged and scores == "strict":
        raise InputError(
            f"{path}: the sCT of {', '.join(flagged[:5])} lies on another grid than its CT; expected its CT's"
        )
    for key, column in columns.items():
        _refuse_other_mean(path, column, means[key], rows)
    return Entry(
        name=name,
        means=means,
        counts=counts,
        excused=excused,
        protocol={key: content.get(key) for key in MUST_AGREE},
        cases=cases,
        simulated=bool(content.get("simulated")),
        starter=content.get("starter") if isinstance(content.get("starter"), bool) else None,
        random_features=content.get("random_features") is True,
        demonstration_only=content.get("demonstration_only") is True,
        columns=columns,
        rows=rows,
        folder=path.parent,
        about={key: value for key, value in content.items() if key not in LARGE},
    )


def _refuse_other_mean(path: Path, column: str, mean: float | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """A mean that was edited, or left behind when rows were, would rank what the cases do not show."""
    found = [value for row in rows if (value := finite(row.get(column))) is not None]
    largest = max(map(abs, [*found, mean or 0.0]))
    if largest > LARGEST:
        raise InputError(f"{path}: {column} is {largest:g}; expected a measurement of at most {LARGEST:g}")
    if mean is None or not found:
        return
    expected = math.fsum(found) / len(found)
    if abs(mean - expected) > TOLERANCE * max(1.0, abs(expected)):
        raise InputError(f"{path}: its mean {column} is {mean:g}, that of its cases {expected:g}; expected the same")


def _finite_float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None  # 1e999


def _no_number(_: str) -> None:
    """NaN and infinity, which the official program writes, are null on the platform."""


def _mean(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a mean is {value!r}; expected a number or null")
    return float(value) if math.isfinite(value) else None
