"""Rows on disk as they finish, so that a bad case or a dead worker loses no other, and a rerun goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.submission import ScoringCase
from synthct.errors import InputError
from synthct.files import write_text
from synthct.weights import file_sha256

__all__ = ["ROWS_FOLDER", "SCORING_VERSION", "ScoredCase", "fingerprint", "read_row", "write_row"]

ROWS_FOLDER = "rows"
"""Folder below the output with one JSON file per case that was scored."""

SCORING_VERSION = 2
"""Raised whenever the same files would get other numbers: no row of an older program is then taken over, and no
leaderboard mixes the two."""


@dataclass(frozen=True)
class ScoredCase:
    """A case's row, or why it has none.

    Attributes:
        case: its id.
        fingerprint: of all that the row depends on; empty where the case failed before it was known.
        row: the scores; None where the case failed.
        warnings: what was said while it was scored, one line each.
        failure: why there is no row, one line; None otherwise.
        exit_code: of that failure.
        taken_over: whether the row is an earlier run's.
    """

    case: str
    fingerprint: str = ""
    row: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    failure: str | None = None
    exit_code: int = 0
    taken_over: bool = False


def fingerprint(case: ScoringCase, settings: dict[str, Any], *more: Path) -> str:
    """Hash of the content of a case's files, of the settings and of the program's version.

    Args:
        case: its files are read whole.
        settings: whatever else the row depends on; JSON values.
        *more: further files that it depends on, such as label maps of --segmenter precomputed.

    Raises:
        InputError: a file cannot be read.
    """
    paths = [case.ct, case.mask, case.segmentation, case.prediction, *more]
    parts = {
        "files": [_content_hash(path) if path is not None else None for path in paths],
        "settings": settings,
        "version": [version("synthct"), SCORING_VERSION],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_row(output: Path, scored: ScoredCase) -> None:
    """Keep a row; a failure is not kept, so that a rerun tries the case again."""
    if scored.row is not None:
        content = {"fingerprint": scored.fingerprint, "warnings": scored.warnings, "row": scored.row}
        write_text(_path(output, scored.case), json.dumps(content, allow_nan=False) + "\n")


def read_row(output: Path, case: str) -> ScoredCase | None:
    """Read a row that an earlier run kept; None where there is none that can be read."""
    try:
        content = json.loads(_path(output, case).read_text(encoding="utf-8"))
        return ScoredCase(case, str(content["fingerprint"]), dict(content["row"]), tuple(content["warnings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never written, or cut off by a full disk: the case is scored again


def _content_hash(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a readable file") from error


def _path(output: Path, case: str) -> Path:
    return output / ROWS_FOLDER / f"{case}.json"
