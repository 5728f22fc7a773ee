"""Which prediction belongs to which reference: by case id, complete, each once (CONTRACT 3.6, items 6 and 7)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.anatomy import CaseId, find_case_id
from synthct.dataset import find_cases, find_note
from synthct.errors import InputError, UsageError

__all__ = ["ScoringCase", "find_predictions", "find_references", "match", "read_notes"]

SUFFIXES = (".mha", ".nii.gz")


@dataclass(frozen=True)
class ScoringCase:
    """The files of one case to be scored; `prediction` is None in a list of references."""

    id: CaseId
    ct: Path
    mask: Path
    segmentation: Path | None = None
    prediction: Path | None = None


def find_references(root: Path) -> list[ScoringCase]:
    """Find the references in a ground-truth folder (ct/, mask/, segmentation/) or in a data set root.

    Raises:
        InputError: the folder is missing or a case lacks its CT or mask.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a data set root, or one with ct/ and mask/")
    if not (root / "ct").is_dir():
        cases = []
        for files in find_cases(root):
            if files.reference is None or files.mask is None:
                missing = "ct.mha" if files.reference is None else "mask.mha"
                raise InputError(f"{files.image.parent}: case {files.id} has no {missing} to score against")
            cases.append(ScoringCase(CaseId.parse(files.id), files.reference, files.mask, files.segmentation))
        return cases
    if not (root / "mask").is_dir():
        raise InputError(f"{root / 'mask'}: no such folder; expected the body masks beside {root / 'ct'}")
    masks = _by_id(root / "mask")
    segmentations = _by_id(root / "segmentation") if (root / "segmentation").is_dir() else {}
    references = []
    for case_id, ct in sorted(_by_id(root / "ct").items()):
        if case_id not in masks:
            raise InputError(f"{root / 'mask'}: holds no mask for case {case_id}; expected {case_id}.mha")
        references.append(ScoringCase(case_id, ct, masks[case_id], segmentations.get(case_id)))
    if not references:
        raise InputError(f"{root / 'ct'}: holds no CT; expected files named like 1ABA001.mha")
    return references


def find_predictions(folder: Path) -> dict[CaseId, Path]:
    """Find predictions in a flat folder of <id>.mha, as `synthct predict` writes it.

    Raises:
        InputError: the folder is missing, holds no prediction, or one id twice.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with <case id>.mha files")
    if (folder / "predictions.json").is_file():
        raise UsageError(f"{folder / 'predictions.json'}: algorithm phases are not scored yet; expected a flat folder")
    found = _by_id(folder)
    if not found:
        raise InputError(f"{folder}: holds no prediction; expected files named like 1ABA001.mha at its top level")
    return found


def match(references: list[ScoringCase], predictions: dict[CaseId, Path]) -> list[ScoringCase]:
    """Give each reference its prediction.

    Raises:
        InputError: a reference has no prediction. A prediction without a reference only gives a warning.
    """
    missing = [str(reference.id) for reference in references if reference.id not in predictions]
    if missing:
        named = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise InputError(f"{len(missing)} of {len(references)} cases have no prediction: {named}")
    known = {reference.id for reference in references}
    extra = sorted(str(case_id) for case_id in predictions if case_id not in known)
    if extra:
        warnings.warn(
            f"{len(extra)} predictions have no reference and are not scored: {', '.join(extra[:5])}", stacklevel=2
        )
    return [ScoringCase(case.id, case.ct, case.mask, case.segmentation, predictions[case.id]) for case in references]


def read_notes(predictions: Path, cases: Sequence[ScoringCase]) -> dict[str, Any]:
    """What both sides say of themselves: the manifest of the predictions, and whether any of the data are simulated.

    Returns:
        `simulated`; `starter`, None where no manifest tells it; `dataset`, the note that says simulated, else the first
        one; `prediction`, the manifest.
    """
    found = dict.fromkeys(note for case in cases if (note := find_note(case.ct)) is not None)
    datasets = [_read_object(note) for note in found]
    dataset = next((note for note in datasets if note.get("simulated")), datasets[0] if datasets else {})
    manifest = _read_object(predictions / "manifest.json") if (predictions / "manifest.json").is_file() else {}
    models = manifest.get("models")
    cards = [card for card in models.values() if isinstance(card, dict)] if isinstance(models, dict) else []
    starter = any(card.get("starter") for card in cards) if cards else None
    return {"simulated": bool(dataset.get("simulated")), "starter": starter, "dataset": dataset, "prediction": manifest}


def _by_id(folder: Path) -> dict[CaseId, Path]:
    found: dict[CaseId, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(SUFFIXES) or path.name.startswith("."):
            continue
        case_id = find_case_id(path.name)
        if case_id is None:
            raise InputError(f"{path}: its name holds no case id; expected one like 1ABA001.mha")
        if case_id in found:
            raise InputError(f"{path}: case {case_id} stands twice; also as {found[case_id].name}")
        found[case_id] = path
    return found


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    return content if isinstance(content, dict) else {}
