"""Which prediction belongs to which reference: by case id, complete, each once (CONTRACT 3.6, items 6 and 7)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.anatomy import CaseId, find_case_id
from synthct.dataset import case_folders, find_file, find_note, read_note
from synthct.errors import InputError, UsageError
from synthct.weights import file_sha256

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
        return _references_in_tree(root)
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


def _references_in_tree(root: Path) -> list[ScoringCase]:
    """The references of a data set root; a case counts by its folder's name, with or without its MR or CBCT."""
    found: dict[CaseId, ScoringCase] = {}
    for folder in case_folders(root):
        case_id = CaseId.parse(folder.name)
        ct, mask = find_file(folder, "ct"), find_file(folder, "mask")
        if ct is None or mask is None:
            missing = "ct.mha" if ct is None else "mask.mha"
            raise InputError(f"{folder}: case {case_id} has no {missing} to score against")
        if case_id in found and not found[case_id].ct.samefile(ct):
            raise InputError(f"{folder}: case {case_id} stands twice; also in {found[case_id].ct.parent}")
        found[case_id] = ScoringCase(case_id, ct, mask, find_file(folder, "segmentation"))
    if not found:
        raise InputError(f"{root}: holds no case; expected folders named like 1ABA001 with ct.mha and mask.mha")
    return [found[case_id] for case_id in sorted(found)]


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
        `simulated`; `starter`, None where no manifest tells it of these very files; `dataset`, the note that says
        simulated, else the first one; `prediction`, the manifest.
    """
    found = dict.fromkeys(note for case in cases if (note := find_note(case.ct)) is not None)
    datasets = [read_note(note) for note in found]
    dataset = next((note for note in datasets if note.get("simulated")), datasets[0] if datasets else {})
    manifest = _read_object(predictions / "manifest.json") if (predictions / "manifest.json").is_file() else {}
    models = manifest.get("models")
    cards = [card for card in models.values() if isinstance(card, dict)] if isinstance(models, dict) else []
    starter = any(card.get("starter") for card in cards) if cards else None
    if starter is False and not _describes(manifest, cases):
        warnings.warn(f"{predictions / 'manifest.json'}: does not describe these predictions", stacklevel=2)
        starter = None
    return {"simulated": bool(dataset.get("simulated")), "starter": starter, "dataset": dataset, "prediction": manifest}


def _describes(manifest: dict[str, Any], cases: Sequence[ScoringCase]) -> bool:
    """Tell whether a manifest lists every prediction with the hash that it has."""
    rows = manifest.get("cases")
    listed = {row.get("case"): row.get("sct_sha256") for row in rows if isinstance(row, dict)} if rows else {}
    return all(
        case.prediction is not None and listed.get(str(case.id)) == file_sha256(case.prediction) for case in cases
    )


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
