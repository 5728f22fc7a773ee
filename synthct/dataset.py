"""SynthRAD data sets of 2023 and 2025 on disk: finding cases at any level of the tree and reading them (CONTRACT 4)."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthct.anatomy import CaseId, Region, Task
from synthct.errors import InputError
from synthct.header import DEFAULT_VOXEL_LIMIT, read_header, require_size
from synthct.volume import Volume, read_volume, require_same_grid

__all__ = [
    "NOTE_NAME",
    "Case",
    "CaseFiles",
    "case_folders",
    "find_cases",
    "find_file",
    "find_note",
    "finite_number",
    "load_case",
    "mask_file",
    "read_image",
    "read_mask",
    "read_note",
]

SUFFIXES = (".mha", ".nii.gz", ".nii", ".nrrd", ".mhd")
"""Suffixes of a data set's files, the likeliest first; one case may mix them."""

SKIPPED_FOLDERS = frozenset({"overview", "overviews"})
"""Folders of a release that hold pictures and tables, no patients (CONTRACT 4.1)."""

NOTE_NAME = "dataset.json"
"""A data set's note about itself; `synthct sample` writes one that says simulated."""
NOTE_LEVELS = 4
"""How far above an image the note may lie: DIR/Task1/EX/1EXA001/mr.mha, DIR/dataset.json."""

MAX_DEPTH = 5
"""How deep below the given folder a case may lie; the deepest known tree is Train/Task1/AB/<id>."""


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of one case lie. `mask`, `reference` and `segmentation` are None where the data set has none."""

    id: str
    task: Task
    region: Region | None
    image: Path
    mask: Path | None = None
    reference: Path | None = None
    segmentation: Path | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One case in memory.

    Attributes:
        id: name of the case, and of the sCT that is written for it.
        task: MR or CBCT.
        region: body region, None where it cannot be told.
        image: MR (scanner units) or CBCT (HU), voxels (z, y, x).
        mask: body outline, uint8 0/1 on the image's grid.
        reference: CT in HU on the image's grid, where there is one.
    """

    id: str
    task: Task
    region: Region | None
    image: Volume
    mask: Volume
    reference: Volume | None = None


def find_cases(root: Path, *, task: Task | None = None, reference: str = "ct") -> list[CaseFiles]:
    """Find the cases below a data set root, a task folder, a region folder or a case folder.

    Args:
        root: any level of the tree.
        task: keep only this task.
        reference: stem of the reference file, `ct` or `ct_def` (the deformed CT of 2025).

    Returns:
        Cases sorted by id.

    Raises:
        InputError: the folder does not exist, holds no case, or holds one id twice.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a data set root, or a folder of one case")
    found: dict[str, CaseFiles] = {}
    for folder in case_folders(root):
        case_id = CaseId.parse(folder.name)
        if task is not None and case_id.task is not task:
            continue
        image = find_file(folder, case_id.task.stem)
        if image is None:
            warnings.warn(f"{folder}: holds no {case_id.task.stem}.mha; the case is left out", stacklevel=2)
            continue
        if case_id.text in found:
            if found[case_id.text].image.parent.samefile(folder):
                continue  # one folder, reached by a link too
            raise InputError(f"{folder}: case {case_id} stands twice; also in {found[case_id.text].image.parent}")
        found[case_id.text] = CaseFiles(
            id=case_id.text,
            task=case_id.task,
            region=case_id.region,
            image=image,
            mask=find_file(folder, "mask"),
            reference=find_file(folder, reference),
            segmentation=find_file(folder, "segmentation"),
        )
    if not found:
        wanted = f"{task.stem}.mha" if task is not None else "mr.mha or cbct.mha"
        raise InputError(f"{root}: holds no case; expected folders named like 1ABA001 with {wanted} (or .nii.gz)")
    return [found[key] for key in sorted(found)]


def load_case(
    files: CaseFiles, *, mask: Volume | None = None, voxel_limit: int = DEFAULT_VOXEL_LIMIT, with_reference: bool = True
) -> Case:
    """Read a case's volumes and check that they belong together before anything large is decoded.

    Args:
        files: where they lie.
        mask: body outline to use instead of the file's (on the image's grid).
        voxel_limit: largest announced size in bytes of one volume.
        with_reference: read the CT too, where there is one.

    Raises:
        HeaderError, GeometryError, InputError: a file is refused; the message names it.
    """
    header = read_header(files.image, voxel_limit=voxel_limit)
    reference_path = files.reference if with_reference else None
    for path in (mask_file(files) if mask is None else None, reference_path):
        if path is not None:
            require_size(read_header(path, voxel_limit=voxel_limit), header.size, of=files.image)
    image = read_image(files.image, voxel_limit=voxel_limit)
    if mask is None:
        mask = read_mask(mask_file(files), image, voxel_limit=voxel_limit)
    else:
        require_same_grid(image, mask)
    reference = None
    if reference_path is not None:
        reference = read_image(reference_path, voxel_limit=voxel_limit)
        require_same_grid(image, reference)
    return Case(files.id, files.task, files.region, image, mask, reference)


def read_image(path: Path, *, voxel_limit: int = DEFAULT_VOXEL_LIMIT) -> Volume:
    """Read an image and refuse one with voxels that are no numbers.

    Raises:
        InputError: a voxel is NaN or infinite; the message counts them.
    """
    volume = read_volume(path, voxel_limit=voxel_limit)
    if np.issubdtype(volume.voxels.dtype, np.floating):
        broken = int(volume.voxels.size - np.count_nonzero(np.isfinite(volume.voxels)))
        if broken:
            raise InputError(f"{path}: {broken} voxels are NaN or infinite; expected finite numbers")
    return volume


def read_mask(path: Path, image: Volume, *, voxel_limit: int = DEFAULT_VOXEL_LIMIT) -> Volume:
    """Read a mask on an image's grid as uint8 0/1: whatever is above 0 is inside (CONTRACT 4.3).

    Raises:
        GeometryError: the mask lies on another grid than the image.
        InputError: the mask is empty.
    """
    mask = read_image(path, voxel_limit=voxel_limit)
    require_same_grid(image, mask)
    inside = mask.voxels > 0
    if not inside.any():
        raise InputError(f"{path}: all voxels are zero; expected a body outline with voxels above 0")
    return replace(mask, voxels=inside.astype(np.uint8))


def mask_file(files: CaseFiles) -> Path:
    """Return where a case's mask lies.

    Raises:
        InputError: it has none.
    """
    if files.mask is None:
        expected = files.image.parent / "mask.mha"
        raise InputError(f"{files.image.parent}: case {files.id} has no mask; expected {expected} (or --mask auto)")
    return files.mask


def case_folders(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Walk the folders below a root (or the root itself) that are named like a case, sorted level by level."""
    if _is_case_name(folder.name):
        yield folder
    elif depth == 0 and _is_case_name(folder.resolve().name):  # a link to a case folder, or "."
        yield folder.resolve()
    elif depth < MAX_DEPTH:
        try:
            below = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError as error:
            raise InputError(f"{folder}: cannot be listed ({error.strerror}); expected a readable folder") from error
        for path in below:
            if path.name not in SKIPPED_FOLDERS and not path.name.startswith((".", "__")):
                yield from case_folders(path, depth + 1)


def _is_case_name(name: str) -> bool:
    try:
        CaseId.parse(name)
    except InputError:
        return False
    return True


def find_file(folder: Path, stem: str) -> Path | None:
    """Find a case's file by its stem, whatever its capitals; None where there is none."""
    files = {path.name.casefold(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    return next((files[name] for suffix in SUFFIXES if (name := f"{stem}{suffix}") in files), None)


def find_note(image: Path) -> Path | None:
    """Find the data set's note above one of its images; None where it has none."""
    folders = image.resolve().parents[:NOTE_LEVELS]
    return next((folder / NOTE_NAME for folder in folders if (folder / NOTE_NAME).is_file()), None)


def read_note(path: Path | None) -> dict[str, Any]:
    """Read a data set's note; empty where there is none or it is not ours (nnU-Net's dataset.json bears that name).

    A note with a number that is not finite is not read, with a warning: it could not be written as JSON again.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_float=finite_number, parse_constant=finite_number)
    except (OSError, ValueError, RecursionError):
        warnings.warn(f"{path}: is no data set note of ours and is not read", stacklevel=2)
        return {}
    return content if isinstance(content, dict) else {}


def finite_number(text: str) -> float:
    """Read a number of a JSON file (parse_float and parse_constant of `json.loads`).

    Raises:
        ValueError: it is NaN or infinite, or too large for a float (1e999).
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value
