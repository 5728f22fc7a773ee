"""The references to score against: a ground-truth folder or a data set root, complete and each case once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthct.anatomy import CaseId, find_case_id
from synthct.dataset import NOTE_NAME, case_folders, find_file, read_note
from synthct.errors import InputError, UsageError

__all__ = ["ScoringCase", "find_references"]

SUFFIXES = (".mha", ".nii.gz")


@dataclass(frozen=True)
class ScoringCase:
    """The files of one case to be scored; `prediction` is None in a list of references."""

    id: CaseId
    ct: Path
    mask: Path
    segmentation: Path | None = None
    prediction: Path | None = None


def find_references(root: Path, *, reference: str = "ct") -> list[ScoringCase]:
    """Find the references in a ground-truth folder (ct/, mask/, segmentation/) or in a data set root.

    Args:
        root: either of them.
        reference: stem of the reference in a data set, `ct` or `ct_def`; a ground-truth folder holds one kind only.

    Returns:
        Cases sorted by id.

    Raises:
        InputError: the folder is missing, a case lacks its CT or mask, or stands twice.
        UsageError: ct_def is asked for, and the note of the ground-truth folder says that it holds another.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a data set root, or one with ct/ and mask/")
    if not (root / "ct").is_dir():
        return _references_in_tree(root, reference)
    if not (root / "mask").is_dir():
        raise InputError(f"{root / 'mask'}: no such folder; expected the body masks beside {root / 'ct'}")
    note = root / NOTE_NAME
    told = read_note(note).get("reference") if note.is_file() else None
    if reference != "ct" and told is not None and told != reference:
        raise UsageError(f"{note}: says that the reference is {told}; expected {reference}, as asked for")
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


def _references_in_tree(root: Path, reference: str) -> list[ScoringCase]:
    """The references of a data set root; a case counts by its folder's name, with or without its MR or CBCT."""
    found: dict[CaseId, ScoringCase] = {}
    for folder in case_folders(root):
        case_id = CaseId.parse(folder.name)
        ct, mask = find_file(folder, reference), find_file(folder, "mask")
        if ct is None or mask is None:
            missing = f"{reference}.mha" if ct is None else "mask.mha"
            raise InputError(f"{folder}: case {case_id} has no {missing} to score against")
        if case_id in found and not found[case_id].ct.samefile(ct):
            raise InputError(f"{folder}: case {case_id} stands twice; also in {found[case_id].ct.parent}")
        found[case_id] = ScoringCase(case_id, ct, mask, find_file(folder, "segmentation"))
    if not found:
        raise InputError(f"{root}: holds no case; expected folders named like 1ABA001 with ct.mha and mask.mha")
    return [found[case_id] for case_id in sorted(found)]


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
