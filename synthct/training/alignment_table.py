"""alignment.csv and summary.json of `synthct align-check`."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from synthct.files import write_text
from synthct.training.alignment_cases import Repaired
from synthct.training.alignment_check import PairScore
from synthct.training.thresholds import Thresholds

__all__ = ["COLUMNS", "AlignmentRow", "write_summary", "write_table"]

COLUMNS = (
    *("case", "body_dice", "mutual_information", "residual_mm", "residual_deg", "flagged", "reasons", "action"),
    *("body_dice_before", "body_dice_after", "bone_edge_mm_before", "bone_edge_mm_after"),
)
"""Columns of alignment.csv. The `before` figures are over the voxels that the moved CT covers, so that they can be
compared with the `after` ones; an empty field is a figure that there is none of."""


@dataclass(frozen=True)
class AlignmentRow:
    """One case: its score, why it is flagged, and what the repair did."""

    case: str
    score: PairScore
    reasons: tuple[str, ...]
    repaired: Repaired | None = None

    def fields(self) -> tuple[str, ...]:
        """The row of the table, in the order of COLUMNS."""
        score, repaired = self.score, self.repaired
        verdicts = [repaired.before, repaired.after] if repaired else [None, None]
        dices = [None if verdict is None else verdict.body_dice for verdict in verdicts]
        edges = [None if verdict is None else verdict.bone_edge_mm for verdict in verdicts]
        return (
            self.case,
            _number(score.body_dice, 4),
            _number(score.mutual_information, 4),
            _number(score.residual_mm, 2),
            _number(score.residual_deg, 2),
            "yes" if self.reasons else "no",
            "; ".join(self.reasons),
            repaired.action if repaired else "",
            *(_number(dice, 4) for dice in dices),
            *(_number(edge, 2) for edge in edges),
        )


def write_table(path: Path, rows: Sequence[AlignmentRow]) -> Path:
    """Write alignment.csv, one row per case, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.fields() for row in rows)
    return write_text(path, text.getvalue())


def write_summary(
    path: Path,
    rows: Sequence[AlignmentRow],
    thresholds: Mapping[str, tuple[str, Thresholds]],
    *,
    seed: int,
    unchecked: Sequence[str] = (),
) -> Path:
    """Write summary.json: limits per kind of case and where they come from, counts, flagged cases, versions, seed.

    `unchecked` names the cases that a failure kept from being scored; they have no row.
    """
    content = {
        "cases": len(rows),
        "unchecked": list(unchecked),
        "flagged": {row.case: list(row.reasons) for row in rows if row.reasons},
        "actions": dict(sorted(Counter(row.repaired.action for row in rows if row.repaired).items())),
        "dropped": [row.case for row in rows if row.repaired and row.repaired.action == "dropped"],
        "thresholds": {kind: {"source": source, **asdict(limits)} for kind, (source, limits) in thresholds.items()},
        "seed": seed,
        "versions": {name: version(name) for name in ("synthct", "SimpleITK", "numpy", "scipy")},
    }
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
