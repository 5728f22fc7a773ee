"""Writing so that nothing half-written is ever seen: `.partial/` on the same file system, then a rename."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synthct.errors import DiskFullError, OutputError, SynthCTError

__all__ = ["PARTIAL_FOLDER", "prepare_output_folder", "staged_file", "staged_folder", "write_error", "write_text"]

PARTIAL_FOLDER = ".partial"

_TRIES = 100
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROBE_BYTES = 1 << 14


def prepare_output_folder(folder: Path) -> Path:
    """Make an output folder, prove that it can be written to, and clear what a killed run left in it.

    Raises:
        OutputError: the folder cannot be made or written to.
        DiskFullError: there is no room for it.
    """
    partial = folder / PARTIAL_FOLDER
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        partial.rmdir()
    except OSError as error:
        if error.errno in _FULL:
            raise write_error(folder, error) from error
        raise OutputError(f"{folder}: cannot be written to ({error.strerror}); expected a writable folder") from error
    return folder


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder below `folder/.partial/`, for one writer alone; it is removed at the end, whatever happened.

    Raises:
        OSError: the folder cannot be written to; write_error makes it a user's.
        DiskFullError: in place of an OutputError, where the disk is full and a library said so only in its own words.
    """
    partial = folder / PARTIAL_FOLDER
    own = partial / uuid.uuid4().hex
    _make(own)
    try:
        yield own
    except OutputError as error:
        if not _is_full(own):
            raise
        raise DiskFullError(str(error)) from error
    finally:
        shutil.rmtree(own, ignore_errors=True)
        _remove_if_empty(partial)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path below `.partial/` to write to; on success it is renamed to `path`, on failure removed.

    Raises:
        OutputError: the folder cannot be written to.
        DiskFullError: the disk is full.
    """
    try:
        with staged_folder(path.parent) as own:
            staged = own / path.name
            yield staged
            staged.replace(path)
    except OSError as error:
        raise write_error(path, error) from error


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with staged_file(path) as staged:
        staged.write_text(text, encoding="utf-8")
    return path


def write_error(path: Path, error: OSError) -> SynthCTError:
    """Make the error that a user sees of a file which cannot be written: DiskFullError or OutputError."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFullError(f"{path}: cannot be written ({reason}); expected room for it on the disk")
    return OutputError(f"{path}: cannot be written ({reason}); expected a writable folder")


def _is_full(folder: Path) -> bool:
    """Tell whether the disk takes no more, by trying: ITK reports a full disk like any other trouble, or not at all."""
    probe = folder / "probe"
    try:
        with probe.open("wb") as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno in _FULL
    return False


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
