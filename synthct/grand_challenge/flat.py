"""The prediction phase: a zip of sCTs, unpacked to one flat folder of <case id>.mha (CONTRACT 2.5, 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from synthct.anatomy import CaseId, find_case_id
from synthct.errors import InputError
from synthct.grand_challenge.submission import Problem

__all__ = ["find_flat_predictions"]

SUFFIXES = (".mha", ".nii.gz")
SKIPPED_FOLDERS = frozenset({"__macosx", "spread"})
"""What a Mac adds to a zip, and the uncertainty maps that `synthct predict --spread` writes; in lower case."""
ID_LENGTHS = (7, 6)
"""Letters of an id of 2025 and of 2023."""
EXPECTED = "expected files named like 1ABA001.mha at its top level, or in one folder there"


def find_flat_predictions(folder: Path) -> tuple[dict[CaseId, Path], tuple[Problem, ...]]:
    """Find <case id>.mha or .nii.gz at the top, or in the only folder there that holds any.

    One common top folder is dropped by the platform when it unpacks the zip; locally it may still be there. Files of
    other kinds (manifest.json, pictures) are ignored. Capitals in an id do not matter. An id stands between separators
    (sct_1ABA001.mha), or at the end of the name's text before its first dot (sct1ABA001.mha), as the official rule has
    it. A link may lead to another file of this folder, never out of it.

    Returns:
        The file of each case, sorted by id, and one problem for each file without an id, each case that stands twice
        (of which neither file counts) and each link out of the folder.

    Raises:
        InputError: the folder is missing, or holds no prediction at its top level or one below.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with <case id>.mha files")
    try:
        place, images = _images_at_top(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); expected a readable folder") from error
    root = folder.resolve()
    by_case: dict[CaseId, list[Path]] = {}
    problems = []
    for path in images:
        case = _case_of(path.name)
        if case is None:
            problems.append(Problem(None, f"{path}: its name holds no case id; expected one like 1ABA001.mha"))
        else:
            by_case.setdefault(case, []).append(path)
    found = {}
    for case, paths in sorted(by_case.items()):
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            problems.append(Problem(str(case), f"{place}: case {case} stands twice, as {names}; expected one file"))
        elif not paths[0].resolve().is_relative_to(root):
            text = f"{paths[0]}: is a link that leads out of the folder; expected the file itself: copy it there"
            problems.append(Problem(str(case), text))
        else:
            found[case] = paths[0]
    return found, tuple(problems)


def _case_of(name: str) -> CaseId | None:
    """An id between separators first; else the official rule, by which the last letters of the name are the id."""
    found = find_case_id(name)
    if found is not None:
        return found
    stem = name.partition(".")[0]
    for length in ID_LENGTHS:
        with suppress(InputError):  # no id of this length
            return CaseId.parse(stem[-length:])
    return None


def _images_at_top(folder: Path) -> tuple[Path, list[Path]]:
    images = _images(folder)
    if images:
        return folder, images
    inner = [(below, found) for below in _folders(folder) if (found := _images(below))]
    if len(inner) == 1:
        return inner[0]
    if inner:
        names = ", ".join(below.name for below, _ in inner[:3])
        raise InputError(f"{folder}: holds predictions in {len(inner)} folders ({names}); {EXPECTED}")
    raise InputError(f"{folder}: holds no prediction ({_what_is_there(folder)}); {EXPECTED}")


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.casefold().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name.casefold() not in SKIPPED_FOLDERS
    )


def _what_is_there(folder: Path) -> str:
    """Say what stands in the way: predictions that lie too deep, else the first few names."""
    deep = next(_images_below(folder), None)
    if deep is not None:
        return f"{deep.relative_to(folder)} lies too deep"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"found {', '.join(names[:3])}" if names else "it is empty"


def _images_below(folder: Path, depth: int = 6) -> Iterator[Path]:
    for below in _folders(folder) if depth else ():
        yield from _images(below)
        if not below.is_symlink():
            yield from _images_below(below, depth - 1)
