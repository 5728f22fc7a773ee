"""The files below a model's folder, or inside its tarball: read in place, nothing is ever unpacked to disk."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, TypeVar

from synthct.errors import WeightsError

__all__ = ["ArchiveTree", "FolderTree", "ModelTree", "open_tree"]

Result = TypeVar("Result")

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
MEMBER_LIMIT = 4 << 30
"""Largest file inside an archive in bytes; the 3 mm checkpoint has 165 MB."""

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What Python's readers raise on archives that are damaged, cut off, encrypted or none at all."""


class ModelTree(Protocol):
    """Files by their name relative to the tree, parts joined with '/'."""

    def find(self, patterns: tuple[str, ...]) -> list[PurePosixPath]:
        """Files that match one of the patterns (`*` within a part), sorted."""

    def open(self, name: PurePosixPath) -> BinaryIO:
        """One file, for reading."""

    def describe(self, name: PurePosixPath) -> str:
        """Where a file lies, for messages."""

    def stamp(self, name: PurePosixPath) -> tuple[str, int, int]:
        """Where a file lies, its size and time: while they stay the same, its content does."""


def open_tree(path: Path) -> ModelTree:
    """Open a folder, or an archive by its suffix.

    Raises:
        WeightsError: neither, or an archive that cannot be read.
    """
    if path.is_dir():
        return FolderTree(path)
    if path.is_file() and path.name.endswith(ARCHIVE_SUFFIXES):
        return ArchiveTree(path)
    raise WeightsError(f"{path}: no such model; expected a folder, or a file ending in {', '.join(ARCHIVE_SUFFIXES)}")


class FolderTree:
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, patterns: tuple[str, ...]) -> list[PurePosixPath]:
        """Files below the folder; see `ModelTree.find`."""
        found = {file for pattern in patterns for file in self._path.glob(pattern) if file.is_file()}
        return sorted(PurePosixPath(file.relative_to(self._path).as_posix()) for file in found)

    def open(self, name: PurePosixPath) -> BinaryIO:
        """Open a file.

        Raises:
            WeightsError: it cannot be read.
        """
        try:
            return (self._path / name).open("rb")
        except OSError as error:
            raise WeightsError(f"{self.describe(name)}: cannot be read ({error.strerror})") from error

    def describe(self, name: PurePosixPath) -> str:
        """Path of a file."""
        return str(self._path / name)

    def stamp(self, name: PurePosixPath) -> tuple[str, int, int]:
        """Path, size and time of a file."""
        return _stamp(self._path / name, self.describe(name))


class ArchiveTree:
    """A tarball or zip file; members are read into memory, so that a hostile name or link leads nowhere.

    Args:
        path: .tar, .tar.gz, .tgz or .zip.

    Raises:
        WeightsError: the file is no such archive.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_zip = path.name.endswith(".zip")
        sizes = self._attempt(self._list_zip if self._is_zip else self._list_tar)
        self._members = {PurePosixPath(name): (name, size) for name, size in sizes.items()}

    def find(self, patterns: tuple[str, ...]) -> list[PurePosixPath]:
        """Files in the archive, at whatever depth they lie in it: `*/plans.json` also finds a/b/plans.json."""
        return sorted(name for name in self._members if any(name.match(pattern) for pattern in patterns))

    def open(self, name: PurePosixPath) -> BinaryIO:
        """Read a member into memory.

        Raises:
            WeightsError: it is damaged, or larger than `MEMBER_LIMIT`.
        """
        member, size = self._members[name]
        if size > MEMBER_LIMIT:
            raise WeightsError(f"{self.describe(name)}: announces {size} bytes; expected at most {MEMBER_LIMIT}")
        content = self._attempt(lambda: self._read(member))
        if len(content) != size:
            raise WeightsError(f"{self.describe(name)}: holds {len(content)} bytes, its archive announces {size}")
        return io.BytesIO(content)

    def describe(self, name: PurePosixPath) -> str:
        """Archive and member."""
        return f"{self._path}: {name}"

    def stamp(self, name: PurePosixPath) -> tuple[str, int, int]:
        """Archive and member, size and time of the archive."""
        return _stamp(self._path, self.describe(name))

    def _read(self, member: str) -> bytes:
        if self._is_zip:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(member)
        with tarfile.open(self._path) as archive:
            stream = archive.extractfile(member)
            return b"" if stream is None else stream.read()

    def _list_tar(self) -> dict[str, int]:
        with tarfile.open(self._path) as archive:
            return {member.name: member.size for member in archive if member.isreg() and not member.issparse()}

    def _list_zip(self) -> dict[str, int]:
        with zipfile.ZipFile(self._path) as archive:
            return {member.filename: member.file_size for member in archive.infolist() if not member.is_dir()}

    def _attempt(self, read: Callable[[], Result]) -> Result:
        try:
            return read()
        except _DAMAGE as error:
            raise WeightsError(f"{self._path}: cannot be read as an archive ({error})") from error


def _stamp(path: Path, text: str) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise WeightsError(f"{text}: cannot be read ({error.strerror})") from error
    return (str(path.absolute()) + text, state.st_size, state.st_mtime_ns)
