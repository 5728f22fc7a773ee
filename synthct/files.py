"""Writing so that nothing half-written is ever seen: `.partial/` on the same file system, then a rename."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synthct.errors import OutputError

__all__ = ["PARTIAL_FOLDER", "prepare_output_folder", "staged_file", "write_text"]

PARTIAL_FOLDER = ".partial"

_TRIES = 100


def prepare_output_folder(folder: Path) -> Path:
    """Make an output folder, prove that it can be written to, and clear what a killed run left in it.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    partial = folder / PARTIAL_FOLDER
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        partial.rmdir()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror}); expected a writable folder") from error
    return folder


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path below `.partial/` to write to; on success it is renamed to `path`, on failure removed.

    Raises:
        OutputError: the folder cannot be written to.
    """
    partial = path.parent / PARTIAL_FOLDER
    own = partial / uuid.uuid4().hex
    staged = own / path.name
    try:
        _make(own)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); expected a writable folder") from error
    try:
        yield staged
        staged.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(own, ignore_errors=True)
        _remove_if_empty(partial)


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with staged_file(path) as staged:
        staged.write_text(text, encoding="utf-8")
    return path


def _make(own: Path) -> None:
    """Make a writer's own folder; while it exists, no other writer can remove `.partial/` around it."""
    for _ in range(_TRIES):
        # Another writer removed `.partial/` between the two steps, or between failing to make it and looking at it.
        with suppress(FileNotFoundError, FileExistsError):
            own.mkdir(parents=True)
            return
    own.mkdir(parents=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # another writer's file may lie in it, or the other one removed it first
        folder.rmdir()
