"""Normalised volumes on disk, mapped into memory: built once, shared by every process, larger than memory if need be.

A folder holds one entry per case: image.npy, reference.npy, weight.npy, foreground.npy and entry.json. An entry is
renamed into its place whole, so that half of one is never seen. The folder may be deleted whenever nothing trains.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.dataset import Case, CaseFiles, load_case
from synthct.errors import InputError, OutputError, SynthCTError
from synthct.files import PARTIAL_FOLDER, staged_folder, write_error

__all__ = ["FOREGROUND_LIMIT", "CachedCase", "PreparedCase", "VolumeCache", "hold_case"]

FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]

FOREGROUND_LIMIT = 100_000
"""Most voxel places that are kept of a mask; a patch's centre is drawn from them."""

_FORMAT = 2
_ENTRY_NAME = "entry.json"
_TRIES = 3
_STALE_SECONDS = 3600.0
"""Age at which a half-written entry belongs to a process that was killed; writing one takes seconds."""
_OPEN_FILES = 16384
"""Each map holds a file open: four a case, where most systems allow 1024 unless a process asks for more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """What a recipe makes of a case, arrays (z, y, x) of one shape.

    Attributes:
        image: MR or CBCT in network units.
        reference: CT in network units, None where the case has none.
        weight: above 0 where the loss may count: inside the mask, CT known.
    """

    image: AnyArray
    reference: AnyArray | None
    weight: AnyArray


@dataclass(frozen=True, eq=False)
class CachedCase:
    """A prepared case; arrays may be maps of files and must not be written to.

    Attributes:
        id: case id.
        region: code of the body region, None where it cannot be told.
        image: float32 (z, y, x) in network units.
        reference: float32 (z, y, x) in network units, None where the case has none.
        weight: uint8 (z, y, x), 1 where the loss may count.
        foreground: int32 (n, 3), places (z, y, x) where weight is 1: all of them, or FOREGROUND_LIMIT drawn with a
            fixed seed; (0, 3) where there is none.
        inside: number of voxels where weight is 1.
        digest: sha256 of image, reference and weight, in hexadecimal.
    """

    id: str
    region: str | None
    image: FloatArray
    reference: FloatArray | None
    weight: npt.NDArray[np.uint8]
    foreground: npt.NDArray[np.int32]
    inside: int
    digest: str


class VolumeCache:
    """Prepared cases in a folder.

    Args:
        folder: is made where it is missing.
        key: says in text what normalisation and preparation are; another key finds other entries.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key
        _allow_open_files()
        _remove_stale(folder / PARTIAL_FOLDER)

    def case(self, files: CaseFiles, prepare: Callable[[Case], PreparedCase]) -> CachedCase:
        """Map a case's entry; where there is none, read the case, prepare it and write the entry.

        The entry's name holds the case id and a hash of the key and of names, sizes and modification times of the
        case's files: a changed file is prepared anew. A damaged entry is replaced. Of two processes that build one
        entry at once, the first to finish wins and both go on with it.

        Raises:
            InputError: a file of the case cannot be used, or the prepared arrays differ in shape or are not finite.
            OutputError: the folder cannot be written to.
            DiskFullError: there is no room.
        """
        entry = self._folder / f"{files.id}-{self._fingerprint(files)}"
        found = _map(entry, files)
        if found is not None:
            return found
        made = hold_case(files.id, files.region, prepare(load_case(files)))
        for _ in range(_TRIES):
            self._store(entry, files, made)
            found = _map(entry, files)
            if found is not None:
                return found
        raise OutputError(f"{entry}: is damaged again as soon as it is written; expected a folder that keeps its files")

    def _fingerprint(self, files: CaseFiles) -> str:
        noted = []
        for path in _sources(files):
            try:
                about = path.stat()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror}); expected a file of {files.id}") from error
            noted.append([path.name, about.st_size, about.st_mtime_ns])
        text = json.dumps([_FORMAT, self._key, noted])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _store(self, entry: Path, files: CaseFiles, case: CachedCase) -> None:
        try:
            with staged_folder(self._folder) as own, _named(entry):
                fresh = own / entry.name
                fresh.mkdir()
                sizes = {name: _write(fresh / f"{name}.npy", array) for name, array in _arrays(case).items()}
                text = json.dumps({"sizes": sizes, "inside": case.inside, "digest": case.digest})
                (fresh / _ENTRY_NAME).write_text(text, encoding="utf-8")
                if entry.exists() and _map(entry, files) is None:
                    log.warning("%s: is damaged and is written anew", entry)
                    with suppress(FileNotFoundError):  # another process moved it away first
                        entry.rename(own / "damaged")
                _move(fresh, entry)
        except OSError as error:
            raise write_error(entry, error) from error


def hold_case(case_id: str, region: str | None, prepared: PreparedCase) -> CachedCase:
    """Make a case of prepared arrays in memory, as the cache would of files.

    Raises:
        InputError: shapes differ, there are not three axes, or a value is NaN or infinite.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below, as infinity
        image = np.ascontiguousarray(prepared.image, dtype=np.float32)
        reference = None
        if prepared.reference is not None:
            reference = np.ascontiguousarray(prepared.reference, dtype=np.float32)
    weight = np.ascontiguousarray(prepared.weight > 0, dtype=np.uint8)
    for name, array in (("image", image), ("reference", reference), ("weight", weight)):
        if array is None:
            continue
        if array.ndim != 3 or array.shape != image.shape:
            raise InputError(f"{case_id}: prepared {name} has shape {array.shape}; expected {image.shape} (z, y, x)")
        if not np.isfinite(array).all():
            raise InputError(f"{case_id}: prepared {name} holds NaN or infinity; expected finite numbers")
    places = np.flatnonzero(weight)
    inside = len(places)
    if inside > FOREGROUND_LIMIT:
        drawn = np.random.default_rng(0).choice(inside, FOREGROUND_LIMIT, replace=False, shuffle=False)
        places = places[np.sort(drawn)]
    foreground = np.stack(np.unravel_index(places, weight.shape), axis=1).astype(np.int32)
    place = None if region is None else str(region)
    return CachedCase(case_id, place, image, reference, weight, foreground, inside, _digest(image, reference, weight))


def _digest(*arrays: AnyArray | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(array.data)
    return digest.hexdigest()


def _sources(files: CaseFiles) -> Iterator[Path]:
    """Files that a case's voxels come from; an .mhd header's voxels lie in a second file beside it."""
    for path in (files.image, files.mask, files.reference):
        if path is None:
            continue
        yield path
        if path.suffix.casefold() == ".mhd":
            yield from sorted(other for other in path.parent.glob(f"{path.stem}.*") if other != path)


def _arrays(case: CachedCase) -> dict[str, AnyArray]:
    arrays: dict[str, AnyArray] = {"image": case.image, "weight": case.weight, "foreground": case.foreground}
    return arrays if case.reference is None else arrays | {"reference": case.reference}


def _write(path: Path, array: AnyArray) -> int:
    """Write an array and wait until the disk has it: after a power cut a renamed entry must not hold zeros."""
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    return path.stat().st_size


def _map(entry: Path, files: CaseFiles) -> CachedCase | None:
    """Map an entry; None where it is missing or not what was written (a file is gone, cut or another's)."""
    try:
        note = json.loads((entry / _ENTRY_NAME).read_text(encoding="utf-8"))
        arrays = {}
        for name, size in note["sizes"].items():
            path = entry / f"{name}.npy"
            if path.stat().st_size != size:
                return None
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        return CachedCase(
            id=files.id,
            region=None if files.region is None else files.region.value,
            image=arrays["image"],
            reference=arrays.get("reference"),
            weight=arrays["weight"],
            foreground=arrays["foreground"],
            inside=int(note["inside"]),
            digest=str(note["digest"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise SynthCTError(
                f"{entry}: too many files are open; expected room for four a case (ulimit -n tells how many there is)"
            ) from error
        return None


@contextmanager
def _named(entry: Path) -> Iterator[None]:
    """Name the entry in an error; inside staged_folder, which tells a full disk where numpy has no word for it."""
    try:
        yield
    except OSError as error:
        raise write_error(entry, error) from error


def _move(fresh: Path, entry: Path) -> None:
    try:
        fresh.rename(entry)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another process was first; its entry stays
            raise


def _remove_stale(partial: Path) -> None:
    """Remove what killed processes left; others may be writing right now, so only what is old."""
    try:
        for path in partial.iterdir():
            with suppress(FileNotFoundError):  # its writer has just finished
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing is left there, or the last writer has just removed it
    except OSError as error:
        raise write_error(partial, error) from error


def _allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may be raised, up to what a large data set needs."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
