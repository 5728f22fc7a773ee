"""NRRD (.nrrd): a magic line, lines of `field: value` and `key:=value`, a blank line, then the voxels."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from synthct.errors import HeaderError
from synthct.header.model import LARGEST_AXIS, Header, Parsed, Payload, Vector, spans_space
from synthct.header.text import quoted, size_from, spacing_from, vector_from, whole_number

__all__ = ["parse"]

_LONGEST_HEADER = 64 * 1024
_LONGEST_FIELD = 1023

_MAGIC = re.compile(r"NRRD000[1-5]")
_VECTOR = re.compile(r"\(([^()]*)\)")

_TYPES = {
    "int8": "int8 int8_t|signed char",
    "uint8": "uint8 uint8_t uchar|unsigned char",
    "int16": "int16 int16_t short|short int|signed short|signed short int",
    "uint16": "uint16 uint16_t ushort|unsigned short|unsigned short int",
    "int32": "int32 int32_t int|signed int",
    "uint32": "uint32 uint32_t uint|unsigned int",
    "int64": "int64 int64_t longlong|long long|long long int|signed long long|signed long long int",
    "uint64": "uint64 uint64_t ulonglong|unsigned long long|unsigned long long int",
    "float32": "float",
    "float64": "double",
}
_SPACES = {
    "right-anterior-superior": "RAS",
    "ras": "RAS",
    "left-anterior-superior": "LAS",
    "las": "LAS",
    "left-posterior-superior": "LPS",
    "lps": "LPS",
}
_KINDS = ("domain", "space", "???")

# Fields that change how the voxels are found or laid out, or that only say something about them.
_READ = (
    "type",
    "dimension",
    "space",
    "sizes",
    "space directions",
    "spacings",
    "space origin",
    "kinds",
    "endian",
    "encoding",
    "byte skip",
    "line skip",
)
_CARRIED = (
    "content",
    "number",
    "thicknesses",
    "centers",
    "labels",
    "units",
    "space units",
    "sample units",
    "axis mins",
    "axis maxs",
    "old min",
    "old max",
    "min",
    "max",
    "measurement frame",
)
_REFUSED = {
    "data file": "the voxels in the .nrrd itself",
    "block size": "a scalar type",
    "space dimension": "an anatomical space (left-posterior-superior)",
}
# teem also takes most names without their blank, and one under another name.
_FIELDS = {name.replace(" ", ""): name for name in (*_READ, *_CARRIED, *_REFUSED)} | {"centerings": "centers"}
_REQUIRED = ("type", "dimension", "sizes", "encoding")


def parse(path: Path) -> Parsed:
    """Parse a NRRD header.

    Raises:
        HeaderError: naming the file, the value and what was expected.
    """
    fields, start = _fields(path)
    for name in _REQUIRED:
        if name not in fields:
            raise HeaderError(f"{path}: has no field '{name}'; expected it in its header")
    if fields["dimension"] != "3":
        raise _refusal(path, "dimension", fields["dimension"], "3 (3-D, one number per voxel)")
    dtype = _dtype(path, fields)
    size = size_from(fields["sizes"])
    if size is None:
        raise _refusal(path, "sizes", fields["sizes"], f"3 whole numbers from 1 to {LARGEST_AXIS}")
    kinds = fields.get("kinds", "domain domain domain").split()
    if len(kinds) != 3 or not all(kind.lower() in _KINDS for kind in kinds):
        raise _refusal(path, "kinds", fields["kinds"], "domain domain domain (one number per voxel)")
    for name in ("byte skip", "line skip"):
        if whole_number(fields.get(name, "0")) != 0:
            raise _refusal(path, name, fields[name], "0")
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise _refusal(path, "encoding", fields["encoding"], "raw or gzip")
    compressed = encoding != "raw"
    spacing, origin, direction = _grid(path, fields)
    header = Header(path, size, dtype, spacing, origin, direction, compressed)
    return Parsed(header, Payload(path, start, header.voxel_bytes, "gzip" if compressed else "raw"))


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[np.generic]:
    words = " ".join(fields["type"].lower().split())
    for name, spellings in _TYPES.items():
        one_word, *more = spellings.split("|")
        if words in (*one_word.split(), *more):
            dtype: np.dtype[np.generic] = np.dtype(name)
            break
    else:
        raise _refusal(path, "type", fields["type"], f"one number per voxel ({', '.join(_TYPES)})")
    endian = fields.get("endian", "missing" if dtype.itemsize > 1 else "little")
    if endian.lower() not in ("little", "big"):
        raise _refusal(path, "endian", endian, f"little or big for {dtype}")
    return dtype


def _grid(path: Path, fields: dict[str, str]) -> tuple[Vector, Vector | None, tuple[float, ...] | None]:
    """Return spacing, and origin and direction where the space is ITK's own."""
    if "space" not in fields:
        for name in ("space directions", "space origin", "measurement frame"):
            if name in fields:
                raise _refusal(path, name, fields[name], "a field 'space' with it")
        spacing = spacing_from(fields.get("spacings", "1 1 1"))
        if spacing is None:
            raise _refusal(path, "spacings", fields["spacings"], "3 spacings in mm between 1e-06 and 1e+06")
        return spacing, None, None
    space = _SPACES.get(fields["space"].lower())
    if space is None:
        expected = "left-posterior-superior, left-anterior-superior or right-anterior-superior"
        raise _refusal(path, "space", fields["space"], expected)
    if "spacings" in fields:
        raise _refusal(path, "spacings", fields["spacings"], "space directions alone, as there is a space")
    found = fields.get("space directions", "missing")
    axes = _vectors(found, 3)
    lengths = [math.hypot(*axis) for axis in axes or ()]
    spacing = spacing_from(" ".join(map(repr, lengths)))
    if axes is None or spacing is None:
        raise _refusal(path, "space directions", found, "3 vectors of 3 finite numbers, 1e-06 to 1e+06 mm long")
    direction = tuple(axes[column][row] / spacing[column] for row in range(3) for column in range(3))
    if not spans_space(direction):
        raise _refusal(path, "space directions", found, "3 vectors that span space")
    found = fields.get("space origin", "(0,0,0)")
    origins = _vectors(found, 1)
    if origins is None:
        raise _refusal(path, "space origin", found, "1 vector of 3 finite numbers")
    return (spacing, origins[0], direction) if space == "LPS" else (spacing, None, None)


def _vectors(text: str, count: int) -> list[Vector] | None:
    """Return `count` vectors written as (x,y,z)."""
    if _VECTOR.sub("", text).strip():
        return None
    found = [vector_from(inner.replace(",", " ")) if inner.count(",") == 2 else None for inner in _VECTOR.findall(text)]
    vectors = [vector for vector in found if vector is not None]
    return vectors if len(found) == len(vectors) == count else None


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's texts by field, and where the byte after its blank line stands."""
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    keys: set[str] = set()
    start = 0
    while True:
        end = head.find(b"\n", start)
        if end < 0:
            raise HeaderError(f"{path}: no blank line in its first {len(head)} bytes; expected it to end the header")
        first = start == 0
        line = _text(path, head[start:end])
        start = end + 1
        if first:
            if not _MAGIC.fullmatch(line):
                raise HeaderError(f"{path}: begins with {quoted(line)}; expected NRRD0001 to NRRD0005")
        elif not line:
            return fields, start
        elif not line.startswith("#"):
            _store(path, line, fields, keys)


def _text(path: Path, line: bytes) -> str:
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError(f"{path}: header line {quoted(line)}; expected text, 'field: value'") from error
    if not text.replace("\t", " ").isprintable():
        raise HeaderError(f"{path}: header line {quoted(text)}; expected printable text")
    return text


def _store(path: Path, line: str, fields: dict[str, str], keys: set[str]) -> None:
    name, colon, value = line.partition(":")
    field = _FIELDS.get(name.lower().replace(" ", ""))
    if value.startswith("=") and field is None:
        if name in keys:
            raise HeaderError(f"{path}: has key {quoted(name)} twice; expected it once")
        keys.add(name)
        return
    value = value.strip(" \t")
    if not colon or field is None or not name.strip() or value.startswith("="):
        raise HeaderError(f"{path}: header line {quoted(line)}; expected 'field: value' with a field of the format")
    if field in _REFUSED:
        raise _refusal(path, field, value, _REFUSED[field])
    if field in fields:
        raise HeaderError(f"{path}: has field '{field}' twice, the second is {quoted(value)}; expected it once")
    if not value or len(value.encode()) > _LONGEST_FIELD:
        raise _refusal(path, field, value, f"1 to {_LONGEST_FIELD} bytes")
    fields[field] = value


def _refusal(path: Path, field: str, value: str, expected: str) -> HeaderError:
    return HeaderError(f"{path}: {field}: {quoted(value)}; expected {expected}")
