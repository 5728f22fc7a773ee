"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): a binary header of 348 or 540 bytes, then the voxels."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthct.errors import HeaderError
from synthct.header.model import LARGEST_AXIS, Header, Parsed, Payload, size_text
from synthct.header.payload import inflated_start
from synthct.header.text import quoted

__all__ = ["parse"]

_TYPES = {
    2: "uint8",
    4: "int16",
    8: "int32",
    16: "float32",
    64: "float64",
    256: "int8",
    512: "uint16",
    768: "uint32",
    1024: "int64",
    1280: "uint64",
}
_OTHER_TYPES = {
    1: "bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "float128",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}
_UNIT_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; everything else is read as mm
_LARGEST_OFFSET = 2**24  # room for 16 MiB of extensions, and the last whole number that a float32 keeps exactly
_EPSILON = sys.float_info.epsilon  # ITK leaves voxels alone where the scaling is this close to none
_SPACING_RANGE = (1e-6, 1e6)


class _Layout(NamedTuple):
    """Where the fields lie: (offset, struct format without byte order)."""

    name: str
    header_bytes: int
    first_voxel: int
    magic: tuple[int, bytes]
    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scaling: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    qform: tuple[int, str]
    sform: tuple[int, str]


_NIFTI_1 = _Layout(
    name="NIfTI-1",
    header_bytes=348,
    first_voxel=352,
    magic=(344, b"n+1\0"),
    dim=(40, "8h"),
    datatype=(70, "2h"),
    pixdim=(76, "8f"),
    vox_offset=(108, "f"),
    scaling=(112, "2f"),
    units=(123, "B"),
    codes=(252, "2h"),
    qform=(256, "6f"),
    sform=(280, "12f"),
)
_NIFTI_2 = _Layout(
    name="NIfTI-2",
    header_bytes=540,
    first_voxel=544,
    magic=(4, b"n+2\0\r\n\x1a\n"),
    dim=(16, "8q"),
    datatype=(12, "2h"),
    pixdim=(104, "8d"),
    vox_offset=(168, "q"),
    scaling=(176, "2d"),
    units=(500, "i"),
    codes=(344, "2i"),
    qform=(352, "6d"),
    sform=(400, "12d"),
)


class _Fields:
    """A header's bytes with the names of their fields."""

    def __init__(self, path: Path, raw: bytes, layout: _Layout, order: str) -> None:
        self.path = path
        self.raw = raw
        self.layout = layout
        self.order = order

    def whole(self, field: tuple[int, str]) -> tuple[int, ...]:
        offset, form = field
        return struct.unpack_from(self.order + form, self.raw, offset)

    def real(self, field: tuple[int, str]) -> tuple[float, ...]:
        offset, form = field
        return struct.unpack_from(self.order + form, self.raw, offset)

    def refusal(self, name: str, value: object, expected: str) -> HeaderError:
        return HeaderError(f"{self.path}: {name} is {value}; expected {expected}")


def parse(path: Path) -> Parsed:
    """Parse a NIfTI header; of a .nii.gz no more is inflated than the header.

    Raises:
        HeaderError: naming the file, the value and what was expected.
    """
    compressed = path.name.lower().endswith(".gz")
    if compressed:
        _require_no_twin(path)
    fields = _read(path, compressed=compressed)
    size = _size(fields)
    stored = _stored_type(fields)
    start = _voxel_start(fields)
    scaled = _is_scaled(fields)
    _require_finite_forms(fields)
    # ITK applies the scaling and hands out floats.
    decoded = np.dtype("float32") if scaled and stored != np.dtype("float64") else stored
    header = Header(path, size, decoded, _spacing(fields), None, None, compressed)
    length = math.prod(size) * stored.itemsize
    if compressed:
        return Parsed(header, Payload(path, 0, start + length, "gzip"))
    return Parsed(header, Payload(path, start, length, "raw"))


def _require_no_twin(path: Path) -> None:
    """Refuse t.nii.gz beside t.nii: ITK 5.4 takes the header of the first and, silently, the voxels of the second."""
    for suffix in (".nii", ".NII"):
        twin = path.with_name(path.name[: -len(".nii.gz")] + suffix)
        if twin.exists():
            raise HeaderError(f"{path}: {twin.name} lies beside it; expected only one of the two (ITK mixes them up)")


def _read(path: Path, *, compressed: bool) -> _Fields:
    if compressed:
        raw = inflated_start(path, _NIFTI_2.header_bytes)
    else:
        with path.open("rb") as stream:
            raw = stream.read(_NIFTI_2.header_bytes)
    for layout in (_NIFTI_1, _NIFTI_2):
        for order in ("<", ">"):
            if len(raw) >= 4 and struct.unpack_from(order + "i", raw)[0] == layout.header_bytes:
                return _checked(_Fields(path, raw, layout, order))
    raise HeaderError(f"{path}: begins with {quoted(raw[:4])}; expected sizeof_hdr 348 (NIfTI-1) or 540 (NIfTI-2)")


def _checked(fields: _Fields) -> _Fields:
    layout = fields.layout
    if len(fields.raw) < layout.header_bytes:
        raise HeaderError(f"{fields.path}: header ends after {len(fields.raw)} bytes; expected {layout.header_bytes}")
    offset, magic = layout.magic
    found = fields.raw[offset : offset + len(magic)]
    if found != magic:
        raise fields.refusal("magic", quoted(found), f"{quoted(magic)} ({layout.name} in one file)")
    return fields


def _size(fields: _Fields) -> tuple[int, int, int]:
    dim = fields.whole(fields.layout.dim)
    if dim[0] != 3:
        listed = size_text(dim[1 : dim[0] + 1]) if 0 < dim[0] <= 7 else "nonsense"
        raise fields.refusal("dim[0]", f"{dim[0]} ({dim[0]}-D, {listed})", "3 (3-D)")
    size = (dim[1], dim[2], dim[3])
    if not all(1 <= length <= LARGEST_AXIS for length in size):
        raise fields.refusal("dim", size_text(size), f"3 axis lengths from 1 to {LARGEST_AXIS}")
    return size


def _stored_type(fields: _Fields) -> np.dtype[np.generic]:
    code, bits = fields.whole(fields.layout.datatype)
    if code not in _TYPES:
        words = _OTHER_TYPES.get(code, "unknown")
        known = ", ".join(f"{number} {name}" for number, name in _TYPES.items())
        raise fields.refusal("datatype", f"{code} ({words})", f"one number per voxel ({known})")
    dtype: np.dtype[np.generic] = np.dtype(_TYPES[code])
    if bits != dtype.itemsize * 8:
        raise fields.refusal("bitpix", bits, f"{dtype.itemsize * 8} for datatype {code} ({dtype})")
    return dtype


def _voxel_start(fields: _Fields) -> int:
    (offset,) = fields.real(fields.layout.vox_offset)
    first = fields.layout.first_voxel
    if not (math.isfinite(offset) and first <= offset <= _LARGEST_OFFSET and offset == int(offset)):
        raise fields.refusal("vox_offset", offset, f"a whole number from {first} to {_LARGEST_OFFSET}")
    return int(offset)


def _spacing(fields: _Fields) -> tuple[float, float, float]:
    pixdim = fields.real(fields.layout.pixdim)[1:4]
    low, high = _SPACING_RANGE
    if not all(low <= value <= high for value in pixdim):
        found = " ".join(f"{value:g}" for value in pixdim)
        raise fields.refusal("pixdim", found, f"3 spacings between {low:g} and {high:g}")
    # The lowest three bits are the unit of space, the next three that of time.
    (units,) = fields.whole(fields.layout.units)
    scale = _UNIT_MM.get(units & 7, 1.0)
    return (pixdim[0] * scale, pixdim[1] * scale, pixdim[2] * scale)


def _is_scaled(fields: _Fields) -> bool:
    slope, intercept = fields.real(fields.layout.scaling)
    for name, value in (("scl_slope", slope), ("scl_inter", intercept)):
        if not math.isfinite(value):
            raise fields.refusal(name, value, "a finite number")
    sloped = abs(slope) > _EPSILON and abs(slope - 1.0) > _EPSILON
    return sloped or abs(intercept) > _EPSILON


def _require_finite_forms(fields: _Fields) -> None:
    codes = fields.whole(fields.layout.codes)
    forms = (("quatern and qoffset", fields.layout.qform), ("srow", fields.layout.sform))
    for code, (name, field) in zip(codes, forms, strict=True):
        values = fields.real(field)
        if code > 0 and not all(math.isfinite(value) for value in values):
            found = " ".join(f"{value:g}" for value in values)
            raise fields.refusal(name, found, "finite numbers")
