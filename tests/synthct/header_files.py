"""Small image files made by hand, byte by byte, for the tests of synthct.header."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthct.errors import HeaderError, SynthCTError
from synthct.header import Header, check_file

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
"""(z, y, x): announced as 4 x 3 x 2."""


def require_refused(
    path: Path,
    *words: str,
    error: type[SynthCTError] = HeaderError,
    check: Callable[[Path], Header] = check_file,
) -> None:
    """Check the class of a refusal, and that its one line names the file, the found values and what was expected."""
    with pytest.raises(error) as caught:
        check(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for word in (str(path), "expected", *words):
        assert word in message


def saved(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def meta_image(
    *,
    payload: bytes | None = None,
    compressed: bool = False,
    drop: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    end: str = "\n",
    **changed: str,
) -> bytes:
    """Return a .mha file; `changed` replaces values, `drop` leaves out keys, `extra` adds lines before the last."""
    voxels = VOXELS.tobytes()
    if payload is None:
        payload = zlib.compress(voxels) if compressed else voxels
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True" if compressed else "False",
        **({"CompressedDataSize": str(len(payload))} if compressed else {}),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-10.5 20 30",
        "ElementSpacing": "1.5 2 3",
        "DimSize": "4 3 2",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    } | changed
    lines = [f"{key} = {value}" for key, value in fields.items() if key not in drop]
    if "ElementDataFile" not in drop:
        lines[-1:-1] = extra
    else:
        lines += extra
    return "".join(line + end for line in lines).encode() + payload


def nifti(
    *,
    order: str = "<",
    dim: tuple[int, ...] = (3, 4, 3, 2, 1, 1, 1, 1),
    datatype: tuple[int, int] = (4, 16),
    pixdim: tuple[float, ...] = (1, 1.5, 2, 3),
    vox_offset: float = 352,
    scaling: tuple[float, float] = (1, 0),
    units: int = 2,
    codes: tuple[int, int] = (0, 0),
    srow: tuple[float, ...] = (1.5, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0),
    magic: bytes = b"n+1\0",
    extension: bytes = b"\0\0\0\0",
    payload: bytes = VOXELS.tobytes(),
) -> bytes:
    """Return a NIfTI-1 file."""
    header = bytearray(348)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, *dim)
    struct.pack_into(f"{order}2h", header, 70, *datatype)
    struct.pack_into(f"{order}{len(pixdim)}f", header, 76, *pixdim)
    struct.pack_into(f"{order}3f", header, 108, vox_offset, *scaling)
    struct.pack_into("B", header, 123, units)
    struct.pack_into(f"{order}2h", header, 252, *codes)
    struct.pack_into(f"{order}12f", header, 280, *srow)
    header[344:348] = magic
    return bytes(header) + extension + payload


def nifti_2(*, order: str = "<", magic: bytes = b"n+2\0\r\n\x1a\n", vox_offset: int = 544) -> bytes:
    """Return a NIfTI-2 file."""
    header = bytearray(540)
    struct.pack_into(f"{order}i8s2h8q", header, 0, 540, magic, 4, 16, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(f"{order}4d", header, 104, 1, 1.5, 2, 3)
    struct.pack_into(f"{order}q2d", header, 168, vox_offset, 1, 0)
    return bytes(header) + bytes(4) + VOXELS.astype(f"{order}i2").tobytes()


def nrrd(
    *,
    magic: str = "NRRD0004",
    drop: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    payload: bytes = VOXELS.tobytes(),
    **changed: str,
) -> bytes:
    """Return a .nrrd file; a blank in a field's name is written as an underscore in `changed` and `drop`."""
    fields = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "4 3 2",
        "space_directions": "(1.5,0,0) (0,2,0) (0,0,3)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space_origin": "(1,2,3)",
    } | changed
    lines = [magic, *(f"{key.replace('_', ' ')}: {value}" for key, value in fields.items() if key not in drop), *extra]
    return "".join(line + "\n" for line in lines).encode() + b"\n" + payload
