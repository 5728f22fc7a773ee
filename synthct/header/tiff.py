"""TIFF (.tif, .tiff): one page per slice, all alike; tifffile reads the pages' tags and decodes nothing."""

from __future__ import annotations

import logging
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from synthct.errors import HeaderError
from synthct.header.model import LARGEST_AXIS, Header, Parsed, Vector, size_text

__all__ = ["parse"]

# What ITK's reader hands out unchanged; it turns float16 into integers and tiles into 8-bit colours.
_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32")
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
_MIN_IS_BLACK = 1
_TOP_LEFT = 1
_PAGE_KINDS = (0, 2)  # a whole image, a page of several; the rest are previews and masks, which ITK skips
_MM_PER_UNIT = {2: 25.4, 3: 10.0}  # inch, cm; without a unit ITK takes 1 mm
_SPACING_RANGE = (1e-6, 1e6)

# tifffile has one class for a malformed file, a ValueError, but also fails wherever its arithmetic does.
_MALFORMED = (
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

# tifffile also logs what it finds wrong; without a handler Python would print that to stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def parse(path: Path) -> Parsed:
    """Parse the pages of a TIFF file and measure where their strips lie.

    The strips need no counting: libtiff inflates each into a buffer of the size that the page announces.

    Raises:
        HeaderError: naming the file, the value and what was expected.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            return Parsed(_header(path, tiff), None)
    except HeaderError:
        raise
    except _MALFORMED as error:
        raise HeaderError(f"{path}: is malformed ({error or type(error).__name__}); expected a TIFF file") from error


def _header(path: Path, tiff: tifffile.TiffFile) -> Header:
    count = len(tiff.pages)
    if not 2 <= count <= LARGEST_AXIS:
        raise HeaderError(f"{path}: has {count} page(s), 2-D; expected 2 to {LARGEST_AXIS} pages (3-D)")
    file_bytes = path.stat().st_size
    first: tuple[object, ...] | None = None
    for number, page in enumerate(tiff.pages):
        if not isinstance(page, tifffile.TiffPage):
            raise HeaderError(f"{path}: page {number} has no tags of its own; expected a whole TIFF page")
        described = _describe(path, number, page)
        if first is None:
            first = described
        elif described != first:
            raise HeaderError(f"{path}: page {number} is {_words(described)}; expected {_words(first)}, as page 0")
        _require_strips_within(path, number, page, file_bytes)
    page = tiff.pages.first
    height, width = page.shape
    return Header(
        path=path,
        size=(width, height, count),
        dtype=np.dtype(page.dtype).newbyteorder("="),
        spacing=_spacing(path, page),
        origin=None,
        direction=None,
        compressed=int(page.compression) != 1,
    )


def _describe(path: Path, number: int, page: tifffile.TiffPage) -> tuple[object, ...]:
    """Return what all pages must share, after checking that ITK reads such a page as it is."""
    dtype = "nothing" if page.dtype is None else np.dtype(page.dtype).name
    for name, found, accepted in (
        ("components per voxel", page.samplesperpixel, (1,)),
        ("dimensions", len(page.shape), (2,)),
        ("voxel type", dtype, _TYPES),
        ("photometric interpretation", int(page.photometric), (_MIN_IS_BLACK,)),
        ("compression", int(page.compression), tuple(_COMPRESSIONS)),
        ("tiles", page.is_tiled, (False,)),
        ("orientation", _tag(page, "Orientation", _TOP_LEFT), (_TOP_LEFT,)),
        ("kind", _tag(page, "NewSubfileType", 0), _PAGE_KINDS),
    ):
        if found not in accepted:
            expected = " or ".join(str(value) for value in accepted)
            raise HeaderError(f"{path}: page {number} has {name} {found}; expected {expected}")
    height, width = page.shape
    if not (1 <= height <= LARGEST_AXIS and 1 <= width <= LARGEST_AXIS):
        raise HeaderError(f"{path}: page {number} has size {width} x {height}; expected 1 to {LARGEST_AXIS} each")
    return (width, height, dtype, int(page.compression))


def _words(described: tuple[object, ...]) -> str:
    width, height, dtype, compression = described
    return f"{width} x {height} {dtype}, compression {compression}"


def _require_strips_within(path: Path, number: int, page: tifffile.TiffPage, file_bytes: int) -> None:
    offsets, lengths = page.dataoffsets, page.databytecounts
    if not offsets or len(offsets) != len(lengths):
        raise HeaderError(f"{path}: page {number} has {len(offsets)} strips of {len(lengths)} lengths; expected equal")
    for offset, length in zip(offsets, lengths, strict=True):
        if offset < 0 or length < 0 or offset + length > file_bytes:
            raise HeaderError(
                f"{path}: page {number} has voxels up to byte {offset + length} (truncated); "
                f"expected at most the file's {file_bytes} bytes"
            )
    announced = math.prod(page.shape) * np.dtype(page.dtype).itemsize
    if int(page.compression) == 1 and sum(lengths) != announced:
        raise HeaderError(
            f"{path}: page {number} holds {sum(lengths)} bytes of voxels; "
            f"expected {announced} for {size_text(page.shape[::-1])} {page.dtype}"
        )


def _spacing(path: Path, page: tifffile.TiffPage) -> Vector:
    """Return the spacing in mm as ITK does: from both resolutions where their unit is known, else 1."""
    scale = _MM_PER_UNIT.get(_tag(page, "ResolutionUnit", 2))
    ratios = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    if scale is None or None in ratios:
        return (1.0, 1.0, 1.0)
    x, y = (scale * ratio[1] / ratio[0] if ratio[0] else math.inf for ratio in ratios)
    low, high = _SPACING_RANGE
    if not (low <= x <= high and low <= y <= high):
        raise HeaderError(f"{path}: resolution means a spacing of {x:g} x {y:g} mm; expected {low:g} to {high:g}")
    return (float(x), float(y), 1.0)


def _tag(page: tifffile.TiffPage, name: str, default: int) -> int:
    value: Any = page.tags.valueof(name)
    return default if value is None else int(value)
