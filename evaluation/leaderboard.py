"""Ranking entries by their metrics.json (CONTRACT 3.9): direction declared per metric, ties share a rank."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError, UsageError

__all__ = ["GROUPS", "HIGHER_IS_BETTER", "Entry", "rank_entries", "read_entries"]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "mae": False,
    "psnr": True,
    "ssim": True,
    "ms_ssim": True,
    "DICE": True,
    "HD95": False,
    "mae_target": False,
    "dvh": False,
    "gamma": True,
}
"""Direction of each metric. The official script knows neither ms_ssim nor DICE and ranks them upside down."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "image similarity": ("mae", "psnr", "ms_ssim", "ssim"),
    "geometric fidelity": ("DICE", "HD95"),
}
"""Groups of synthrad2025 that can be computed here; the two dose groups need a planning system."""

STRICT_SUFFIX = "_strict"
"""Column of a metric's strict value: its official name with this behind it."""

MUST_AGREE = ("protocol", "scoring_version", "segmenter", "segmenter_weights", "registration", "reference")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One metrics.json: its name, the mean per metric (None where undefined), and what it says of itself.

    `counts` has the cases behind each mean; `excused` the mean number of structures that were missed and do not count
    (small, or cut by the volume's edge). `starter` is None where nothing tells which weights were used.
    """

    name: str
    means: Mapping[str, float | None]
    protocol: Mapping[str, Any]
    cases: tuple[str, ...]
    simulated: bool
    starter: bool | None
    random_features: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    excused: float = 0.0


def read_entries(paths: Sequence[Path], names: Sequence[str] = (), *, scores: str = "official") -> list[Entry]:
    """Read metrics.json files (or folders that hold one).

    Args:
        paths: one per entry.
        names: of the entries; else those of their folders.
        scores: `official`, or `strict` for the values in which no missing structure or NaN hides; a metric that has no
            strict value (dose) keeps its own.

    Raises:
        InputError: a file cannot be read as metrics, some of its cases were not scored, or the entries were scored
            differently or on different cases; with strict scores, also where an sCT lay on another grid than its CT.
        UsageError: names were given, but not one per file.
    """
    files = [path / "metrics.json" if path.is_dir() else path for path in paths]
    if names and len(names) != len(files):
        raise UsageError(f"{len(names)} names for {len(files)} entries; expected one each")
    folders = [file.resolve().parent for file in files]
    entries = []
    for index, (file, folder) in enumerate(zip(files, folders, strict=True)):
        short = folder.name
        unique = sum(other.name == short for other in folders) == 1
        name = names[index] if names else (short if unique else f"{folder.parent.name}/{short}")
        entries.append(_read(file, name, scores))
    for entry in entries[1:]:
        for key in MUST_AGREE:
            if entry.protocol[key] != entries[0].protocol[key]:
                raise InputError(
                    f"{entry.name} was scored with {key} {entry.protocol[key]}, {entries[0].name} with "
                    f"{entries[0].protocol[key]}; expected the same"
                )
        if entry.cases != entries[0].cases:
            differing = sorted(set(entry.cases) ^ set(entries[0].cases))
            raise InputError(
                f"{entry.name} was scored on {len(entry.cases)} cases, {entries[0].name} on {len(entries[0].cases)}; "
                f"expected the same cases (not in both: {', '.join(differing[:5]) or 'one stands twice'})"
            )
    return _on_equal_terms(entries, scores)


def rank_entries(entries: Sequence[Entry], ranking: str = "synthrad2025") -> list[dict[str, Any]]:
    """Rank entries, best first; equal scores share the lower rank (1, 1, 3).

    `synthrad2023` sums each metric normalised to 0 (worst entry) ... 1 (best), 0.5 where all are equal.
    `synthrad2025` takes the mean of that per group, then over the groups: partial, for want of dose.
    `platform` takes the mean of the ranks per metric (lower is better); an entry with a missing value is invalid: its
    rank and score are None and it stands last.
    In the first two a missing value counts as the worst, with a warning.

    Raises:
        UsageError: the ranking is unknown.
        InputError: there is nothing to rank by.
    """
    metrics = [name for name in HIGHER_IS_BETTER if any(entry.means.get(name) is not None for entry in entries)]
    if not metrics:
        raise InputError("no entry has a value in any metric that can be ranked")
    if ranking == "platform":
        return _platform(entries, metrics)
    normalised = {name: _normalise(entries, name) for name in metrics}
    if ranking == "synthrad2023":
        score = np.sum([normalised[name] for name in metrics], axis=0)
    elif ranking == "synthrad2025":
        present = [[name for name in group if name in metrics] for group in GROUPS.values()]
        groups = [np.mean([normalised[name] for name in group], axis=0) for group in present if group]
        if not groups:
            raise InputError(f"no entry has a value of {' or '.join(GROUPS)}; expected one to rank by")
        score = np.mean(groups, axis=0)
    else:
        raise UsageError(f"ranking '{ranking}' is unknown; expected synthrad2023, synthrad2025 or platform")
    return _rows(entries, metrics, score, _shared_ranks(-score))


def _on_equal_terms(entries: list[Entry], scores: str) -> list[Entry]:
    """A mean over fewer cases than another entry's is no value: the hard ones may be what is missing."""
    for entry in entries:
        if scores == "strict" and entry.excused > min(other.excused for other in entries):
            warnings.warn(
                f"{entry.name} lacks {entry.excused:g} small or cut structures per case, others fewer; the strict "
                "scores leave them out",
                stacklevel=3,
            )
    most = {name: max(entry.counts.get(name, 0) for entry in entries) for name in HIGHER_IS_BETTER}
    return [
        replace(
            entry,
            means={name: mean if entry.counts[name] == most[name] else None for name, mean in entry.means.items()},
        )
        for entry in entries
    ]


def _platform(entries: Sequence[Entry], metrics: Sequence[str]) -> list[dict[str, Any]]:
    valid, invalid = [], []
    for entry in entries:
        if all(entry.means.get(name) is not None for name in metrics):
            valid.append(entry)
        else:
            invalid.append(entry)
            warnings.warn(f"{entry.name} has a missing value and is invalid on the platform", stacklevel=3)
    if not valid:
        raise InputError("no entry has a value in every metric; the platform would rank none")
    ranks = []
    for name in metrics:
        values = np.array([entry.means[name] for entry in valid], dtype=np.float64)
        ranks.append(_shared_ranks(-values if HIGHER_IS_BETTER[name] else values))
    score = np.mean(ranks, axis=0)
    unranked = [_row(entry, metrics, None, None) for entry in invalid]
    return _rows(valid, metrics, score, _shared_ranks(score)) + sorted(unranked, key=lambda row: str(row["entry"]))


def _normalise(entries: Sequence[Entry], metric: str) -> Floats:
    values = np.array([np.nan if entry.means.get(metric) is None else entry.means[metric] for entry in entries])
    oriented = values if HIGHER_IS_BETTER[metric] else -values
    for entry in np.array(entries, dtype=object)[np.isnan(oriented)]:
        warnings.warn(f"{entry.name} has no value for {metric}; it counts as the worst", stacklevel=4)
    worst, best = np.nanmin(oriented), np.nanmax(oriented)
    if worst == best:
        return np.where(np.isnan(oriented), 0.0, 0.5)
    scaled: Floats = np.nan_to_num((oriented - worst) / (best - worst), nan=0.0)
    return scaled


def _shared_ranks(values: Floats) -> npt.NDArray[np.int64]:
    """Competition ranks, lowest value first: 1 + the number of entries that are strictly better."""
    better = values[None, :] < values[:, None] - 1e-12
    ranks: npt.NDArray[np.int64] = 1 + better.sum(axis=1)
    return ranks


def _rows(
    entries: Sequence[Entry], metrics: Sequence[str], score: Floats, ranks: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    rows = [
        _row(entry, metrics, int(rank), float(value)) for entry, value, rank in zip(entries, score, ranks, strict=True)
    ]
    return sorted(rows, key=lambda row: (row["rank"], row["entry"]))


def _row(entry: Entry, metrics: Sequence[str], rank: int | None, score: float | None) -> dict[str, Any]:
    return {
        "rank": rank,
        "entry": entry.name,
        "score": score,
        **{name: entry.means.get(name) for name in metrics},
        "cases": len(entry.cases),
        "simulated": entry.simulated,
        "starter": entry.starter,
        "random_features": entry.random_features,
    }


def _read(path: Path, name: str, scores: str) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        aggregates = content["aggregates"]
        strict = {key: f"{key}{STRICT_SUFFIX}" for key in aggregates if f"{key}{STRICT_SUFFIX}" in aggregates}
        columns = strict if scores == "strict" else {}
        means = {
            key: _number(aggregates[columns.get(key, key)]["mean"]) for key in HIGHER_IS_BETTER if key in aggregates
        }
        counts = {key: int(aggregates[columns.get(key, key)].get("count", 0)) for key in means}
        excused = _number(aggregates.get("n_missed_small", {}).get("mean")) or 0.0
        cases = tuple(sorted(str(row["case"]) for row in content["results"]))
        failures = [str(failure["case"] or "a file without a case's id") for failure in content.get("failures", [])]
        flagged = sorted(str(row["case"]) for row in content["results"] if row.get("geometry_differs"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a metrics.json") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: is no metrics.json of synthct evaluate ({type(error).__name__}: {error})") from error
    if failures:
        raise InputError(
            f"{path}: has {len(failures)} failures ({', '.join(failures[:5])}); expected all cases to be scored"
        )
    if flagged and scores == "strict":
        raise InputError(
            f"{path}: the sCT of {', '.join(flagged[:5])} lies on another grid than its CT; expected its CT's"
        )
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
    )


def _number(value: object) -> float | None:
    """A mean from JSON; NaN and infinity, which the official program writes, are null on the platform too."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a mean is {value!r}; expected a number or null")
    return float(value) if math.isfinite(value) else None
