"""MetaIO (.mha, .mhd): lines of `Key = Value`, then the voxels.

Key by key this follows what MetaIO's own reader does with a line (Kitware/MetaIO, metaUtils.cxx and metaImage.cxx), so
that both see the same header: ITK#6853 lists ten ways in which that reader corrupts memory or allocates without bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthct.errors import HeaderError
from synthct.header.model import LARGEST_AXIS, Header, Parsed, Payload, Vector, spans_space
from synthct.header.text import finite_numbers, quoted, size_from, spacing_from, vector_from, whole_number

__all__ = ["parse"]

_LONGEST_HEADER = 64 * 1024
_LONGEST_VALUE = 1023  # bytes; metadata that SimpleITK copies along from other formats
_LONGEST_NAME = 200  # bytes; MetaIO copies Comment, Name and their like into 255 without looking

_KEY = re.compile(r"[A-Za-z0-9_.|\[\]-]([A-Za-z0-9_.|\[\] -]{0,62}[A-Za-z0-9_.|\[\]-])?")
_ORIENTATION = re.compile(r"[RLAPSI]{3}|\?\?\?")

# MET_LONG is four bytes in the format, whatever `long` is on the machine.
_TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG": "int32",
    "MET_ULONG": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}


class _Rule(NamedTuple):
    """What a key's value must be: read() returns None for anything else."""

    read: Callable[[str], object | None]
    expected: str


def _one_of(*words: str) -> _Rule:
    return _Rule(lambda text: text if text in words else None, " or ".join(words))


def _numbers(count: int) -> _Rule:
    return _Rule(lambda text: finite_numbers(text, count), f"{count} finite number{'s' if count > 1 else ''}")


def _count_of_bytes(text: str) -> int | None:
    number = whole_number(text)
    return number if number is not None and number >= 0 else None


def _matrix(text: str) -> tuple[float, ...] | None:
    values = finite_numbers(text, 9)
    return values if values is not None and spans_space(values) else None


_TRUTH = _Rule(lambda text: text.lower() if text.lower() in ("true", "false") else None, "True or False")
_WHOLE = _Rule(whole_number, "a whole number")
_NAME = _Rule(lambda text: text if len(text.encode()) <= _LONGEST_NAME else None, f"at most {_LONGEST_NAME} bytes")
_POSITION = _Rule(vector_from, "3 finite numbers")
_DIRECTION = _Rule(_matrix, "9 finite numbers, a matrix that is not singular")
_SPACING = _Rule(spacing_from, "3 spacings in mm between 1e-06 and 1e+06")

_RULES = {
    "ObjectType": _one_of("Image"),
    "ObjectSubType": _NAME,
    "FileFormatVersion": _one_of("0"),
    "Comment": _NAME,
    "AcquisitionDate": _NAME,
    "NDims": _one_of("3"),
    "Name": _NAME,
    "ID": _WHOLE,
    "ParentID": _WHOLE,
    "BinaryData": _Rule(lambda text: text if text.lower() == "true" else None, "True"),
    "BinaryDataByteOrderMSB": _TRUTH,
    "ElementByteOrderMSB": _TRUTH,
    "CompressedData": _TRUTH,
    "CompressedDataSize": _Rule(_count_of_bytes, "a number of bytes"),
    "CompressionLevel": _WHOLE,
    "Color": _numbers(4),
    "TransformMatrix": _DIRECTION,
    "Rotation": _DIRECTION,
    "Orientation": _DIRECTION,
    "Offset": _POSITION,
    "Position": _POSITION,
    "Origin": _POSITION,
    "CenterOfRotation": _POSITION,
    "DistanceUnits": _one_of("mm", "?"),
    "AnatomicalOrientation": _Rule(_ORIENTATION.fullmatch, "three letters of RLAPSI, or ???"),
    "ElementSpacing": _SPACING,
    "ElementSize": _SPACING,
    "DimSize": _Rule(size_from, f"3 whole numbers from 1 to {LARGEST_AXIS}"),
    "HeaderSize": _one_of("0"),
    "Modality": _NAME,
    "ElementMin": _numbers(1),
    "ElementMax": _numbers(1),
    "ElementNBits": _WHOLE,
    "ElementNumberOfChannels": _one_of("1"),
    "ElementToIntensityFunctionSlope": _one_of("1"),
    "ElementToIntensityFunctionOffset": _one_of("0"),
    "ElementType": _Rule(_TYPES.get, f"one of {' '.join(_TYPES)}"),
    "ElementDataFile": _NAME,
}
_SPELLING = {key.lower(): key for key in _RULES}
_REQUIRED = ("NDims", "BinaryData", "DimSize", "ElementType")

# MetaIO gives these a meaning that depends on a file version nobody writes.
_REFUSED = ("ElementDirection", "ElementOrigin", "ImagePosition", "SequenceID")

# Names for one thing, as MetaIO reads them; a later one would silently win.
_ALIASES = (
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
    ("TransformMatrix", "Rotation", "Orientation"),
    ("Offset", "Position", "Origin"),
)

# MetaIO sizes these by NDims, so NDims has to come first.
_SIZED_BY_NDIMS = ("DimSize", "ElementSize", "ElementSpacing", "CenterOfRotation", *_ALIASES[1], *_ALIASES[2])


def parse(path: Path) -> Parsed:
    """Parse a MetaIO header.

    Raises:
        HeaderError: naming the file, the value and what was expected.
    """
    fields, start = _fields(path)
    values = {key: _value(path, key, text) for key, text in fields.items() if key in _RULES}
    for key in _REQUIRED:
        if key not in values:
            raise HeaderError(f"{path}: has no {key}; expected '{key} = ...' in its header")
    for aliases in _ALIASES:
        given = [key for key in aliases if key in values]
        if len({values[key] for key in given}) > 1:
            found = ", ".join(f"{key} = {quoted(fields[key])}" for key in given)
            raise HeaderError(f"{path}: has {found}; expected one value, or equal ones")
    file, start = _data_file(path, fields["ElementDataFile"], start)
    compressed = fields.get("CompressedData", "False").lower() == "true"
    stored = whole_number(fields["CompressedDataSize"]) if compressed and "CompressedDataSize" in fields else None
    if compressed and stored is None:
        # ITK 5.4 then inflates the header's own text and returns noise without an error (Kitware/MetaIO#142).
        raise HeaderError(f"{path}: is compressed without CompressedDataSize; expected 'CompressedDataSize = <bytes>'")
    header = _header(path, fields, compressed=compressed)
    return Parsed(header, Payload(file, start, header.voxel_bytes, "zlib" if compressed else "raw", stored))


def _header(path: Path, fields: dict[str, str], *, compressed: bool) -> Header:
    size = size_from(fields["DimSize"])
    if size is None:
        raise _refusal(path, "DimSize", fields["DimSize"], _RULES["DimSize"].expected)
    spacing = spacing_from(fields.get("ElementSpacing", fields.get("ElementSize", "1 1 1")))
    origin = vector_from(_first(fields, "Offset", "Position", "Origin", default="0 0 0"))
    matrix = finite_numbers(
        _first(fields, "TransformMatrix", "Rotation", "Orientation", default="1 0 0 0 1 0 0 0 1"), 9
    )
    # The file lists the direction of x, then of y, then of z; ITK's matrix has them as columns.
    direction = None if matrix is None else tuple(matrix[3 * column + row] for row in range(3) for column in range(3))
    unit: Vector = (1.0, 1.0, 1.0)
    dtype = np.dtype(_TYPES[fields["ElementType"]])
    return Header(path, size, dtype, spacing or unit, origin, direction, compressed)


def _first(fields: dict[str, str], *keys: str, default: str) -> str:
    return next((fields[key] for key in keys if key in fields), default)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's texts by key, and where the byte after its last line stands."""
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", start)
        if end < 0 and (start == len(head) or len(head) == _LONGEST_HEADER):
            raise HeaderError(
                f"{path}: no ElementDataFile in its first {len(head)} bytes; expected it to end the header"
            )
        line = head[start : end if end >= 0 else len(head)]
        start += len(line) + 1
        key, text = _split(path, line)
        if key in fields:
            raise HeaderError(f"{path}: has {key} twice, the second is {quoted(text)}; expected it once")
        if key in _SIZED_BY_NDIMS and "NDims" not in fields:
            raise HeaderError(f"{path}: has {key} = {quoted(text)} before NDims; expected NDims first")
        fields[key] = text
    return fields, min(start, path.stat().st_size)


def _split(path: Path, line: bytes) -> tuple[str, str]:
    line = line.removesuffix(b"\r")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")  # DICOM's default beside ASCII, in tags that were copied as they are
    key, separator, value = text.partition("=")
    key, value = key.rstrip(" \t"), value.strip(" \t")
    if not separator or not _KEY.fullmatch(key):
        raise HeaderError(f"{path}: header line {quoted(text)}; expected 'Key = Value'")
    if not value or not value.isprintable() or len(value.encode()) > _LONGEST_VALUE:
        raise _refusal(path, key, value, f"1 to {_LONGEST_VALUE} printable bytes")
    if key in _REFUSED:
        raise _refusal(path, key, value, "a header without this key")
    spelling = _SPELLING.get(key.lower(), key)
    if spelling != key:
        raise _refusal(path, key, value, f"the spelling {spelling}")
    return key, value


def _value(path: Path, key: str, text: str) -> object:
    rule = _RULES[key]
    value = rule.read(text)
    if value is None:
        raise _refusal(path, key, text, rule.expected)
    return value


def _data_file(path: Path, name: str, start: int) -> tuple[Path, int]:
    """Return the file that holds the voxels, and where they begin in it."""
    if path.name.lower().endswith(".mha"):
        if name != "LOCAL":
            raise _refusal(path, "ElementDataFile", name, "LOCAL in a .mha file")
        return path, start
    # MetaIO takes LIST... as a list of files, % as a pattern, and skips leading separators.
    plain = not set(name) & set("/\\%:=") and not name.startswith((".", "LIST")) and name.lower() != "local"
    if not plain:
        raise _refusal(path, "ElementDataFile", name, "the plain name of a file in the same folder")
    file = path.parent / name
    if not file.is_file() or file.resolve().parent != path.parent.resolve() or file.resolve() == path.resolve():
        raise _refusal(path, "ElementDataFile", name, "an existing file in the same folder")
    if start < path.stat().st_size:
        raise HeaderError(f"{path}: has bytes behind ElementDataFile = {quoted(name)}; expected it to end the file")
    return file, 0


def _refusal(path: Path, key: str, text: str, expected: str) -> HeaderError:
    return HeaderError(f"{path}: {key} = {quoted(text)}; expected {expected}")
