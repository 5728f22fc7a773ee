"""What a header announces, and where the file keeps the voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from synthct.errors import GeometryError, HeaderError

__all__ = [
    "DEFAULT_VOXEL_LIMIT",
    "LARGEST_AXIS",
    "Header",
    "Parsed",
    "Payload",
    "Vector",
    "require_below_limit",
    "require_size",
    "size_text",
    "spans_space",
]

DEFAULT_VOXEL_LIMIT = 2 * 2**30
"""Largest announced size in bytes of decoded voxels that is accepted without being asked for (2 GiB)."""

LARGEST_AXIS = 65_536
"""Most voxels along one axis: far beyond any scanner, and far below where 32-bit index arithmetic ends."""

_SMALLEST_DETERMINANT = 1e-9

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Header:
    """What an image file announces about itself; everything in the order x, y, z.

    Attributes:
        path: the file.
        size: voxels along x, y, z.
        dtype: element type after decoding, in native byte order.
        spacing: distance of voxel centres in mm; 1 where the file says nothing (as ITK reads it).
        origin: centre of the first voxel in mm (LPS); None where only the decoder can tell.
        direction: 3 x 3 direction matrix (LPS), row by row; None where only the decoder can tell.
        compressed: whether the voxels are stored compressed.
    """

    path: Path
    size: tuple[int, int, int]
    dtype: np.dtype[Any]
    spacing: Vector
    origin: Vector | None
    direction: tuple[float, ...] | None
    compressed: bool

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the decoded voxels."""
        return math.prod(self.size) * self.dtype.itemsize


@dataclass(frozen=True)
class Payload:
    """Where the voxels lie.

    Attributes:
        file: the file that holds them (for .mhd not the header's).
        start: first byte of the voxels, or of the compressed stream.
        length: bytes that must come out, no more and no fewer.
        codec: raw, zlib (one zlib or gzip stream) or gzip (one or more members).
        stored: bytes that the header says the compressed stream has; None where the format has no such field.
    """

    file: Path
    start: int
    length: int
    codec: Literal["raw", "zlib", "gzip"]
    stored: int | None = None


class Parsed(NamedTuple):
    """A header and its payload; no payload where the format's own parser has measured it (TIFF)."""

    header: Header
    payload: Payload | None


def require_below_limit(header: Header, voxel_limit: int) -> None:
    """Refuse a header that announces more voxels than are wanted in memory.

    Raises:
        HeaderError: naming the announced bytes, the limit and the option that raises it.
    """
    if header.voxel_bytes > voxel_limit:
        raise HeaderError(
            f"{header.path}: announces {size_text(header.size)} voxels of {header.dtype} ({header.voxel_bytes} bytes); "
            f"expected at most {voxel_limit} bytes (predict --voxel-limit raises it)"
        )


def require_size(header: Header, expected_xyz: tuple[int, int, int], *, of: Path) -> None:
    """Refuse a mask or CT whose announced grid differs from its image's, before anything is decoded.

    Args:
        header: the header of the mask or CT.
        expected_xyz: the image's voxels along x, y, z.
        of: the image, for the message.

    Raises:
        GeometryError: naming both files and both sizes.
    """
    if header.size != tuple(expected_xyz):
        raise GeometryError(
            f"{header.path}: has size {size_text(header.size)}; "
            f"expected {size_text(expected_xyz)} (x, y, z), the size of {of}"
        )


def size_text(size: tuple[int, ...]) -> str:
    """Return a size as it stands in messages: 512 x 512 x 150."""
    return " x ".join(str(length) for length in size)


def spans_space(matrix: tuple[float, ...]) -> bool:
    """Say whether the three rows of a 3 x 3 matrix (row by row) span space: ITK refuses a singular direction."""
    a, b, c, d, e, f, g, h, i = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return math.isfinite(determinant) and abs(determinant) > _SMALLEST_DETERMINANT
