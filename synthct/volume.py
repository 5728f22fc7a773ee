"""A volume is voxels plus geometry; reading and writing keep the geometry bit for bit."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthct.errors import GeometryError, InputError, OutputError
from synthct.files import staged_file
from synthct.header import DEFAULT_VOXEL_LIMIT, check_file, decoder_name

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["GEOMETRY_TOLERANCE", "Geometry", "Volume", "read_volume", "require_same_grid", "write_volume"]

GEOMETRY_TOLERANCE = 1e-3
"""Largest difference of spacing, origin (mm) and direction at which two grids count as one (CONTRACT 4.3)."""

WRITTEN_SUFFIXES = (".mha", ".nii", ".nii.gz", ".nrrd")
"""Formats of one file that keep a geometry: .mhd is two files, .tif knows no origin, direction or slice distance."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume in ITK's terms: everything in the order x, y, z.

    Attributes:
        size: voxels along x, y, z.
        spacing: distance of voxel centres in mm.
        origin: position of the first voxel's centre in mm (LPS).
        direction: the 3 x 3 direction matrix, row by row.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the voxel array, (z, y, x)."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing in mm in the array's axis order (z, y, x)."""
        return (self.spacing[2], self.spacing[1], self.spacing[0])

    def difference(self, other: Geometry) -> str | None:
        """Say in words all that differs beyond GEOMETRY_TOLERANCE, this grid's value first; None where they agree."""
        found = [f"size {_text(self.size)} against {_text(other.size)}"] if self.size != other.size else []
        for name in ("spacing", "origin", "direction"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if not np.allclose(mine, theirs, rtol=0.0, atol=GEOMETRY_TOLERANCE):
                found.append(f"{name} {_text(mine)} against {_text(theirs)}")
        return "; ".join(found) or None


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels (z, y, x) on a grid.

    Attributes:
        voxels: array of shape (z, y, x); HU for CT, CBCT and sCT, scanner units for MR, 0/1 for masks.
        geometry: the grid, in x, y, z.
        path: the file it was read from, for messages; None for a volume made in memory.
    """

    voxels: Array
    geometry: Geometry
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape:
            raise GeometryError(
                f"voxel array has shape {self.voxels.shape} (z, y, x), its geometry says {self.geometry.shape}"
            )

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing in mm in the array's axis order (z, y, x)."""
        return self.geometry.spacing_zyx

    def with_voxels(self, voxels: Array) -> Volume:
        """Return other voxels of the same shape on the same grid."""
        return replace(self, voxels=voxels, path=None)


def read_volume(path: str | os.PathLike[str], *, voxel_limit: int = DEFAULT_VOXEL_LIMIT) -> Volume:
    """Read a 3-D scalar image: .mha, .mhd, .nii, .nii.gz, .nrrd, .tif or .tiff.

    Args:
        path: the file.
        voxel_limit: largest announced size in bytes of decoded voxels that is accepted.

    Returns:
        Volume with voxels (z, y, x) in the element type of the file.

    Raises:
        HeaderError: the header or the payload is refused (see synthct.header).
        InputError: the file is missing or the decoder cannot read it.
    """
    path = Path(path)
    check_file(path, voxel_limit=voxel_limit)
    import SimpleITK as sitk

    try:
        # The reader is named: left to choose by content, ITK could decode another format than the one checked.
        image = sitk.ReadImage(str(path), imageIO=decoder_name(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be decoded ({_last_line(error)})") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} components "
            "per voxel; expected 3 and 1"
        )
    return Volume(sitk.GetArrayFromImage(image), _geometry(image), path)


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> Path:
    """Write a volume, compressed, so that a reader sees either the whole file or none.

    Args:
        volume: voxels (z, y, x) and their grid.
        path: .mha keeps the geometry bit for bit (but for the sign of a zero), .nrrd in double precision, .nii and
            .nii.gz in single.

    Raises:
        OutputError: the folder cannot be written to, the disk is full, or the suffix is another.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.name.endswith(WRITTEN_SUFFIXES):
        raise OutputError(f"{path}: cannot be written in this format; expected one of {', '.join(WRITTEN_SUFFIXES)}")
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    with staged_file(path) as partial:
        try:
            sitk.WriteImage(image, str(partial), useCompression=True)
            # On a full disk ITK's NIfTI writer leaves half a file and reports nothing.
            check_file(partial, voxel_limit=volume.voxels.nbytes)
        except (RuntimeError, InputError) as error:
            raise OutputError(
                f"{path}: cannot be written whole ({_last_line(error)}); expected room for it on the disk"
            ) from error
    return path


def require_same_grid(first: Volume, second: Volume) -> None:
    """Refuse two volumes of one case that do not lie on one grid.

    Raises:
        GeometryError: naming both files, and of size, spacing, origin and direction all that differ, in both.
    """
    difference = second.geometry.difference(first.geometry)
    if difference is not None:
        raise GeometryError(
            f"{second.path or 'volume'}: lies on another grid than {first.path or 'its image'}: "
            f"{difference}; expected equal grids (tolerance {GEOMETRY_TOLERANCE:g})"
        )


def _text(values: tuple[float, ...] | tuple[int, ...]) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in values) + ")"


def _geometry(image: sitk.Image) -> Geometry:
    x, y, z = image.GetSize()
    return Geometry((x, y, z), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
