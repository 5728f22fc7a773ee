"""Files on their way into and out of a container, as tar streams: no folder of this machine is ever mounted.

So what a container writes belongs to nobody here, needs no right to be removed, and a model stays as it is.
"""

from __future__ import annotations

import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from synthct.errors import ContractError, InputError

__all__ = ["Entry", "Output", "Parcel", "read_output"]

OUTPUT_LIMIT = 16 << 30
"""Largest /output that is taken over, in bytes."""
SPOOLED = 8 << 20
_Owner = tuple[int, int]
ROOT: _Owner = (0, 0)


class Parcel:
    """A tar stream being packed; every entry may be read by all, and run by all where its owner may run it.

    Args:
        stream: is written to.
        owner: number of the user and the group that the entries belong to.
    """

    def __init__(self, stream: IO[bytes], owner: _Owner = ROOT) -> None:
        self._owner = owner
        self._archive = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @classmethod
    @contextmanager
    def pack(cls, owner: _Owner = ROOT) -> Iterator[tuple[Parcel, IO[bytes]]]:
        """Yield a parcel and its stream; `close` the parcel, then read the stream."""
        with tempfile.SpooledTemporaryFile(max_size=SPOOLED) as stream:
            yield cls(stream, owner), stream

    def folder(self, place: str, mode: int = 0o755) -> None:
        """Add a folder."""
        self._archive.addfile(self._entry(place, tarfile.DIRTYPE, mode))

    def link(self, place: str, target: str) -> None:
        """Add a symbolic link."""
        member = self._entry(place, tarfile.SYMTYPE, 0o777)
        member.linkname = target
        self._archive.addfile(member)

    def tree(self, source: Path, place: str) -> None:
        """Add what lies in a folder, links to files and to folders followed.

        Raises:
            InputError: something in it cannot be read, or a link leads back to a folder that holds it.
        """
        try:
            self._tree(source, place, ())
        except OSError as error:
            raise InputError(f"{error.filename or source}: cannot be read ({error.strerror})") from error

    def tarball(self, source: Path, place: str) -> None:
        """Add what a .tar.gz holds, as the platform unpacks it (CONTRACT 2.4).

        Raises:
            ContractError: the tarball holds a device, an absolute path or a link that leads out.
            InputError: it cannot be read.
        """
        self.folder(place)
        try:
            with tarfile.open(source, "r:*") as archive:
                for original in archive:
                    member = tarfile.data_filter(original, f"/{place}")
                    inner = f"{place}/{PurePosixPath(member.name).as_posix()}"
                    if member.isdir():
                        self.folder(inner)
                    elif member.issym():
                        self.link(inner, member.linkname)
                    elif (content := archive.extractfile(original)) is not None:
                        entry = self._entry(inner, tarfile.REGTYPE, _file_mode(member.mode))
                        entry.size = original.size if original.isreg() else _end(content)
                        self._archive.addfile(entry, content)
        except tarfile.FilterError as error:
            raise ContractError(f"{source}: the platform would not unpack it ({error})") from error
        except (OSError, EOFError, tarfile.TarError, KeyError) as error:
            raise InputError(f"{source}: cannot be read as a tarball ({error})") from error

    def close(self) -> None:
        """End the stream and go back to its start."""
        self._archive.close()
        if self._archive.fileobj is not None:
            self._archive.fileobj.seek(0)

    def _tree(self, source: Path, place: str, above: tuple[Path, ...]) -> None:
        own = source.resolve()
        if own in above:
            raise InputError(f"{source}: leads back to {own}, which holds it; expected no loop of links")
        self.folder(place)
        for path in sorted(source.iterdir()):
            inner = f"{place}/{path.name}"
            if path.is_dir():
                self._tree(path, inner, (*above, own))
            else:
                self._file(path, inner)

    def _file(self, path: Path, place: str) -> None:
        with path.open("rb") as content:
            about = path.stat()
            member = self._entry(place, tarfile.REGTYPE, _file_mode(about.st_mode))
            member.size = about.st_size
            self._archive.addfile(member, content)

    def _entry(self, place: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(place.lstrip("/"))
        member.type, member.mode = kind, mode
        member.uid, member.gid = self._owner
        return member


@dataclass(frozen=True)
class Entry:
    """One thing that a run left below /output.

    Attributes:
        path: relative to /output.
        kind: folder, file, link or other.
        mode: its rights.
        target: where a link leads.
    """

    path: PurePosixPath
    kind: str
    mode: int
    target: str = ""

    @property
    def is_readable(self) -> bool:
        """Tell whether others than its owner may read it."""
        needed = stat.S_IROTH | (stat.S_IXOTH if self.kind == "folder" else 0)
        return self.kind == "link" or self.mode & needed == needed


@dataclass(frozen=True)
class Output:
    """What a run left: the list of it, and the regular files, taken over into a folder."""

    folder: Path
    entries: tuple[Entry, ...] = ()

    def below(self, place: str) -> list[Entry]:
        """Return the files and links below a folder of /output."""
        return [entry for entry in self.entries if entry.kind != "folder" and entry.path.is_relative_to(place)]


def read_output(chunks: Iterable[bytes], folder: Path) -> Output:
    """Take an /output over from the engine's tar stream; symbolic links and other things are only listed.

    Raises:
        ContractError: it holds more than 16 GiB.
    """
    entries: dict[PurePosixPath, Entry] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as stream:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > OUTPUT_LIMIT:
                raise ContractError(f"/output holds more than {OUTPUT_LIMIT >> 30} GiB; expected one image")
            stream.write(chunk)
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                path = _below(member.name)
                if member.islnk():  # a second name of what came before
                    member.linkname = _below(member.linkname).as_posix()
                    first = entries.get(PurePosixPath(member.linkname))
                    entries[path] = replace(first, path=path) if first is not None else Entry(path, "other", 0)
                else:
                    entries[path] = Entry(path, _kind(member), member.mode, member.linkname)
                if path.parts and entries[path].kind in ("file", "folder"):
                    member.name, member.mode = path.as_posix(), 0o755 if member.isdir() else 0o644
                    archive.extract(member, folder, filter="data")
    return Output(folder, tuple(entries.values()))


def _below(name: str) -> PurePosixPath:
    """A name of the engine's stream, which starts with "output/", relative to /output."""
    return PurePosixPath(*PurePosixPath(name).parts[1:])


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {"folder": member.isdir(), "file": member.isreg(), "link": member.issym()}
    return next((name for name, holds in kinds.items() if holds), "other")


def _file_mode(mode: int | None) -> int:
    """What its owner may run all may run: in the strict phase the container's user is not the owner."""
    return 0o755 if mode is not None and mode & stat.S_IXUSR else 0o644


def _end(content: IO[bytes]) -> int:
    size = content.seek(0, 2)
    content.seek(0)
    return size
