"""The two entry points: pick the parser by suffix, then check the limit and the payload."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from synthct.errors import HeaderError, InputError
from synthct.header.metaio import parse as parse_metaio
from synthct.header.model import DEFAULT_VOXEL_LIMIT, Header, Parsed, require_below_limit
from synthct.header.nifti import parse as parse_nifti
from synthct.header.nrrd import parse as parse_nrrd
from synthct.header.payload import check_payload
from synthct.header.tiff import parse as parse_tiff

__all__ = ["SUFFIXES", "check_file", "decoder_name", "read_header"]


class _Format(NamedTuple):
    parse: Callable[[Path], Parsed]
    decoder: str


_FORMATS = {
    ".mha": _Format(parse_metaio, "MetaImageIO"),
    ".mhd": _Format(parse_metaio, "MetaImageIO"),
    ".nii": _Format(parse_nifti, "NiftiImageIO"),
    ".nii.gz": _Format(parse_nifti, "NiftiImageIO"),
    ".nrrd": _Format(parse_nrrd, "NrrdImageIO"),
    ".tif": _Format(parse_tiff, "TIFFImageIO"),
    ".tiff": _Format(parse_tiff, "TIFFImageIO"),
}

SUFFIXES = tuple(_FORMATS)
"""The file name endings that can be read, in lower case."""

_LFS_POINTER = b"version https://git-lfs"


def read_header(path: str | os.PathLike[str], *, voxel_limit: int = DEFAULT_VOXEL_LIMIT) -> Header:
    """Read and check the header of an image file; its voxels are not touched.

    Args:
        path: .mha, .mhd, .nii, .nii.gz, .nrrd, .tif or .tiff, in capitals or not.
        voxel_limit: largest announced size in bytes of decoded voxels that is accepted.

    Returns:
        Header with size, spacing, origin and direction in x, y, z; lengths in mm.

    Raises:
        HeaderError: the header is malformed, ambiguous, not 3-D, not scalar, or announces too much.
        InputError: the file is missing, cannot be read, or has another suffix.
    """
    return _parse(Path(path), voxel_limit).header


def check_file(path: str | os.PathLike[str], *, voxel_limit: int = DEFAULT_VOXEL_LIMIT) -> Header:
    """Check the header, and that the payload holds exactly what the header announces.

    A compressed payload is inflated in pieces of at most 1 MiB, counted and thrown away.

    Args:
        path: as for read_header.
        voxel_limit: as for read_header.

    Returns:
        Header, as read_header returns it.

    Raises:
        HeaderError: as read_header, or the payload is too short, too long or damaged.
        InputError: as read_header.
    """
    path = Path(path)
    header, payload = _parse(path, voxel_limit)
    if payload is not None:
        try:
            check_payload(payload)
        except OSError as error:
            raise _unreadable(payload.file, error) from error
    return header


def decoder_name(path: str | os.PathLike[str]) -> str:
    """Return the ITK ImageIO that belongs to the suffix.

    ITK would otherwise ask each of its twenty readers whether the content suits it, and a file that was checked as
    one format could be decoded as another.

    Raises:
        InputError: the suffix is not one of SUFFIXES.
    """
    return _format(Path(path)).decoder


def _parse(path: Path, voxel_limit: int) -> Parsed:
    chosen = _format(path)
    try:
        _require_content(path)
        parsed = chosen.parse(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    require_below_limit(parsed.header, voxel_limit)
    return parsed


def _format(path: Path) -> _Format:
    name = path.name.lower()
    for suffix, entry in _FORMATS.items():
        if name.endswith(suffix):
            return entry
    raise InputError(f"{path}: suffix {''.join(path.suffixes) or '(none)'}; expected one of {', '.join(SUFFIXES)}")


def _require_content(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file; expected an image ({', '.join(SUFFIXES)})")
    # A FIFO or a device would block or never end.
    if not path.is_file():
        raise InputError(f"{path}: is not a regular file; expected an image ({', '.join(SUFFIXES)})")
    with path.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
    if not start:
        raise HeaderError(f"{path}: is empty (0 bytes); expected an image")
    if start == _LFS_POINTER:
        raise HeaderError(
            f"{path}: is a Git LFS pointer, not the image itself; expected its content (run 'git lfs pull')"
        )


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror or error}); expected a readable file")
