"""A NIfTI-1 file in memory, for the viewer inside a page."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from synthct.volume import Geometry

__all__ = ["nifti_bytes"]

_INT16 = 4
_SCANNER = 1
_MILLIMETRES = 2


def nifti_bytes(voxels: npt.NDArray[np.int16], geometry: Geometry) -> bytes:
    """Bytes of a .nii file.

    Args:
        voxels: (z, y, x).
        geometry: their grid in LPS; the file holds RAS, as NIfTI asks for (x and y with the other sign).
    """
    x, y, z = geometry.size
    matrix = np.array(geometry.direction, dtype=np.float64).reshape(3, 3) * np.array(geometry.spacing)
    affine = np.column_stack([matrix, geometry.origin])
    affine[:2] *= -1
    header = bytearray(352)  # 348 of the header, 4 that say that nothing follows it
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, _INT16, 16)
    struct.pack_into("<8f", header, 76, 1.0, *geometry.spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<fff", header, 108, 352.0, 1.0, 0.0)  # where the voxels start, slope, intercept
    header[123] = _MILLIMETRES
    struct.pack_into("<hh", header, 252, 0, _SCANNER)  # qform, sform
    struct.pack_into("<12f", header, 280, *affine.ravel().tolist())
    header[344:348] = b"n+1\0"
    return bytes(header) + np.ascontiguousarray(voxels, dtype="<i2").tobytes()
