"""What is known of a set of predictions beside their images: manifest, scores, marks, the model's card."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.notes import read_notes
from evaluation.references import ScoringCase
from evaluation.report.case_images import ReportCase
from evaluation.report.case_page import CaseRun
from evaluation.report.reference_free import training_range
from synthct.dataset import find_note, read_note
from synthct.errors import InputError

__all__ = ["ReportRun", "read_run"]

METRICS_NAME = "metrics.json"
CARD_NAME = "model.json"


@dataclass(frozen=True)
class ReportRun:
    """All pages of one report have this in common; `rows` are those of metrics.json by case."""

    common: CaseRun
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, case: str) -> CaseRun:
        """What one case's page is told."""
        known = vars(self.common)
        return CaseRun(**{**known, "row": self.rows.get(case, {})})


def read_run(
    predictions: Path,
    data: Path,
    cases: Sequence[ReportCase],
    *,
    metrics: Path | None = None,
    model: Path | None = None,
    name: str,
) -> ReportRun:
    """Read what the files around the predictions say.

    Args:
        predictions: folder that was handed in, with its manifest.json.
        data: where the cases come from; its note may say simulated.
        cases: the ones to be shown.
        metrics: folder of metrics.json, or the file.
        model: model folder whose card is read.
        name: of the entry.

    Raises:
        InputError: metrics.json or the card cannot be read.
    """
    scored = [
        ScoringCase(case.id, case.ct or case.image or case.sct, case.mask or case.sct, prediction=case.sct)
        for case in cases
    ]
    notes = read_notes(predictions, scored, ground_truth=data)
    content = _read_metrics(metrics) if metrics is not None else {}
    results = content.get("results")
    rows = [row for row in results if isinstance(row, dict)] if isinstance(results, list) else []
    other = bool(content) and _hashes(_prediction(content)) != _hashes(notes["prediction"])
    if other:
        warnings.warn(f"{metrics}: was made of other predictions than those in {predictions}", stacklevel=2)
    simulated = notes["simulated"] or content.get("simulated") is True or _is_simulated(data)
    said = {
        "starter": notes["starter"] is True or content.get("starter") is True,
        "weights unknown": notes["starter"] is None,
        "simulated data": simulated,
        "random features": notes["random_features"] or content.get("random_features") is True,
        "demonstration only": notes.get("demonstration_only") is True or content.get("demonstration_only") is True,
    }
    common = CaseRun(
        entry=name,
        marks=tuple(mark for mark, holds in said.items() if holds),
        judge=str(content.get("segmenter", "")),
        manifest=notes["prediction"],
        registration=str(notes["registration"]),
        other_scores=other,
        trained_on=training_range(_read_json(model / CARD_NAME)) if model is not None else None,
    )
    return ReportRun(common, {str(row.get("case")): row for row in rows})


def _read_metrics(path: Path) -> dict[str, Any]:
    return _read_json(path / METRICS_NAME if path.is_dir() else path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; expected an object")
    return content


def _prediction(content: Mapping[str, Any]) -> object:
    manifest = content.get("manifest")
    return manifest.get("prediction") if isinstance(manifest, dict) else None


def _hashes(manifest: object) -> set[str]:
    """Hashes of the sCTs that a manifest lists."""
    cases = manifest.get("cases") if isinstance(manifest, dict) else None
    rows = [row for row in cases if isinstance(row, dict)] if isinstance(cases, list) else []
    return {str(row.get("sct_sha256")) for row in rows}


def _is_simulated(data: Path) -> bool:
    note = find_note(data / "ct")
    return bool(read_note(note).get("simulated")) if note is not None else False
