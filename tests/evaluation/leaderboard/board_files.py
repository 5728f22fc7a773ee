"""Small metrics.json files whose means are those of their cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["entry_file", "result_rows"]

PROTOCOL = {
    "protocol": "synthrad2025",
    "scoring_version": 2,
    "segmenter": "tissue",
    "segmenter_weights": None,
    "registration": "none",
    "reference": "ct",
}


def result_rows(
    values: Mapping[str, Sequence[float | None]], cases: Sequence[str] = (), *, region: str = "AB", task: str = "mri"
) -> list[dict[str, Any]]:
    """One row per case: {metric: [value of each case]} turned over."""
    count = len(next(iter(values.values())))
    names = cases or [f"1ABA{number:03d}" for number in range(1, count + 1)]
    return [
        {"case": name, "region": region, "task": task, **{metric: values[metric][index] for metric in values}}
        for index, name in enumerate(names)
    ]


def entry_file(folder: Path, rows: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    """Write a metrics.json for these rows, no official mean where a case has no value; returns its folder."""
    from evaluation.aggregates import aggregate

    content = {
        "results": list(rows),
        "aggregates": aggregate([dict(row) for row in rows]),
        "starter": False,
        **PROTOCOL,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder
