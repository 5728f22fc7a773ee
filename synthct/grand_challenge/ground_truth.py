"""The evaluation's ground truth: ct/ mask/ segmentation/, a note of what they are, and the tarball to upload."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from synthct.anatomy import Region
from synthct.dataset import NOTE_NAME, Case, CaseFiles, find_note, read_note
from synthct.errors import InputError, OutputError
from synthct.files import staged_file, write_text
from synthct.volume import read_volume, write_volume

__all__ = [
    "NO_REGISTRATION",
    "PHASE_NAME",
    "SEGMENTED_BY",
    "TARBALL_NAME",
    "UNKNOWN_REGISTRATION",
    "default_registration",
    "ground_truth_files",
    "pack_ground_truth",
    "require_no_others",
    "write_ground_truth",
    "write_note",
]

PHASE_NAME = "evaluation.json"
"""Settings of the phase: whose protocol, which judges. Optional, and written by the organiser."""
TARBALL_NAME = "ground_truth.tar.gz"
FOLDERS = ("ct", "mask", "segmentation")
COMPRESSION = 1
"""The volumes are compressed already; a higher level costs time and saves nothing."""

DEFORMABLE = "deformable (elastix, as released)"
RIGID = "rigid (as released)"
NO_REGISTRATION = "none"
UNKNOWN_REGISTRATION = "unknown"

SEGMENTED_BY = "segmented_by"
"""Key of a ground truth's note: the hashes of the weights that its segmentation/ was made with."""


def ground_truth_files(cases: Sequence[CaseFiles]) -> tuple[Path, ...]:
    """List the files that the ground truth of these cases consists of, sorted, relative to its folder."""
    names = [Path(NOTE_NAME)]
    for case in cases:
        names += [Path(name, f"{case.id}.mha") for name in FOLDERS[:2]]
        if case.segmentation is not None:
            names.append(Path(FOLDERS[2], f"{case.id}.mha"))
    return tuple(sorted(names))


def require_no_others(cases: Sequence[CaseFiles], folder: Path) -> None:
    """Refuse a target with files of other cases: they would be scored under this ground truth's note.

    Label maps of these cases may lie there although the data set has none: `synthct segmenter fill` wrote them.

    Raises:
        InputError: naming the first of them.
    """
    known = {folder / name for name in ground_truth_files(cases)}
    known |= {folder / FOLDERS[2] / f"{case.id}.mha" for case in cases}
    found = [path for name in FOLDERS if (folder / name).is_dir() for path in sorted((folder / name).iterdir())]
    others = [path for path in found if path not in known and not path.name.startswith(".")]
    if others:
        raise InputError(f"{others[0]}: is of another ground truth; expected an empty folder, or one of the same cases")


def write_ground_truth(case: Case, files: CaseFiles, folder: Path) -> None:
    """Write ct/, mask/ and, where the data set has one, segmentation/, each <id>.mha (CONTRACT 3.1).

    Raises:
        InputError: the segmentation cannot be read.
        OutputError: the folder cannot be written to.
    """
    volumes = {"ct": case.reference, "mask": case.mask}
    if files.segmentation is not None:
        volumes["segmentation"] = read_volume(files.segmentation)
    for name, volume in volumes.items():
        if volume is not None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_volume(volume, folder / name / f"{case.id}.mha")


def default_registration(cases: Iterable[CaseFiles], reference: str, *, simulated: bool) -> str:
    """Say what is known of how the reference CTs were brought onto their images.

    ct_def is the CT that SynthRAD2025 deformed with elastix; SynthRAD's ct is rigidly registered (CONTRACT 4.1, 4.2);
    simulated pairs need no registration. Of other data (region EX) nothing is known.
    """
    if reference == "ct_def":
        return DEFORMABLE
    if simulated:
        return NO_REGISTRATION
    released = {case.region not in (None, Region.EXTREMITY) for case in cases}
    if released == {True}:
        return RIGID
    return UNKNOWN_REGISTRATION if released == {False} else f"{RIGID}, some {UNKNOWN_REGISTRATION}"


def write_note(cases: Sequence[CaseFiles], folder: Path, *, reference: str, registration: str | None) -> Path:
    """Write dataset.json: the data set's own note, so that simulated cases stay marked, and what the reference is.

    Args:
        cases: whose data sets' notes are looked for; a note that says simulated goes before others.
        folder: the ground truth's.
        reference: `ct` or `ct_def`.
        registration: in words; None for what the data set's note says of its ct, else `default_registration`.

    Raises:
        InputError: the folder holds label maps that were made of another reference.
    """
    found = dict.fromkeys(path for case in cases if (path := find_note(case.image)) is not None)
    notes: list[dict[str, Any]] = [read_note(path) for path in found]
    note = next((note for note in notes if note.get("simulated")), notes[0] if notes else {})
    told = note.get("registration") if note.get("reference", "ct") == reference else None
    if registration is None and isinstance(told, str):
        registration = told
    if registration is None:
        registration = default_registration(cases, reference, simulated=bool(note.get("simulated")))
    content = {**note, **_segmented_by(cases, folder, reference), "reference": reference, "registration": registration}
    return write_text(folder / NOTE_NAME, json.dumps(content, indent=2) + "\n")


def _segmented_by(cases: Sequence[CaseFiles], folder: Path, reference: str) -> dict[str, Any]:
    """What the folder's own earlier note says of label maps that lie there and are not the data set's."""
    lacking = (folder / FOLDERS[2] / f"{case.id}.mha" for case in cases if case.segmentation is None)
    filled = [path for path in lacking if path.is_file()]
    if not filled or not (folder / NOTE_NAME).is_file():
        return {}
    before = read_note(folder / NOTE_NAME)
    told = before.get("reference", reference)
    if told != reference:
        raise InputError(f"{filled[0]}: was made of {told}; expected a folder without label maps for {reference}")
    return {SEGMENTED_BY: before[SEGMENTED_BY]} if SEGMENTED_BY in before else {}


def pack_ground_truth(folder: Path, names: Sequence[Path], *, advance: Callable[[], None] = lambda: None) -> Path:
    """Pack files into ground_truth.tar.gz, without a top folder; the same files give the same bytes.

    The label map of each CT is packed where there is one, listed or not: `synthct segmenter fill` may have made it.
    So are the settings of the phase, which an organiser puts there by hand.

    Args:
        folder: the ground truth's.
        names: relative to it, as `ground_truth_files` lists them.
        advance: called after each file.

    Raises:
        OutputError: a file is missing, or the tarball cannot be written.
    """
    target = folder / TARBALL_NAME
    label_maps = (Path(FOLDERS[2], name.name) for name in names if name.parent == Path(FOLDERS[0]))
    packed = {*names, *(name for name in (*label_maps, Path(PHASE_NAME)) if (folder / name).is_file())}
    with (
        staged_file(target) as staged,
        staged.open("wb") as raw,
        # No name and a time of 0 in gzip's own header: both would differ from run to run.
        gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(packed):
            _add(archive, folder / name, name.as_posix())
            advance()
    return target


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    if not path.is_file():
        raise OutputError(f"{path}: is missing; expected it to be packed")
    member = tarfile.TarInfo(name)  # time, owner and group 0
    member.size = path.stat().st_size
    member.mode = 0o644
    with path.open("rb") as content:
        archive.addfile(member, content)
