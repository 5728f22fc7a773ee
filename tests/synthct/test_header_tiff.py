"""TIFF: which files pass, and every refusal."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
from header_files import VOXELS, require_refused, saved

from synthct.header import check_file, read_header

ENTRY = struct.Struct("<HHII")
SHORT, LONG = 3, 4


def stacked(path: Path, voxels: np.ndarray[Any, Any] = VOXELS, **options: Any) -> Path:
    """Write one page per slice."""
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as writer:
        for plane in voxels:
            writer.write(plane, contiguous=False, **({"photometric": "minisblack", "metadata": None} | options))
    return path


def changed(path: Path, tag: int, value: int, *, page: int = 0) -> Path:
    """Overwrite the value of one tag in place."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    for _ in range(page):
        (count,) = struct.unpack_from("<H", content, start)
        (start,) = struct.unpack_from("<I", content, start + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        code, kind, number, _ = ENTRY.unpack_from(content, entry)
        if code == tag:
            ENTRY.pack_into(content, entry, code, kind, number, value)
            return saved(path.parent, path.name, bytes(content))
    raise LookupError(tag)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"resolution": (10, 20), "resolutionunit": "CENTIMETER"},
        {"resolution": (10, 20), "resolutionunit": "INCH"},
        {"resolution": (10, 20), "resolutionunit": "NONE"},
        {"rowsperstrip": 1},
        {"compression": "zlib"},
    ],
)
def test_one_page_per_slice_passes_and_simpleitk_reads_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    path = stacked(tmp_path / "a.tif", **options)
    header, image = check_file(path), SimpleITK.ReadImage(str(path))
    assert header.size == image.GetSize() == (4, 3, 2)
    assert header.spacing == pytest.approx(image.GetSpacing())
    assert header.compressed is ("compression" in options)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), VOXELS)


@pytest.mark.parametrize("compressor", ["PackBits", "LZW", "Deflate"])
def test_the_compressions_of_simpleitk_pass(tmp_path: Path, compressor: str) -> None:
    path = tmp_path / "a.tif"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(path), useCompression=True, compressor=compressor)
    assert check_file(path).compressed


@pytest.mark.parametrize(
    ("voxels", "options", "words"),
    [
        (VOXELS[:1], {}, ("1 page", "2-D")),
        (np.zeros((2, 3, 4, 3), np.uint8), {"photometric": "rgb"}, ("components per voxel 3",)),
        (VOXELS.astype(np.float64), {}, ("voxel type float64",)),
        (VOXELS.astype(np.float16), {}, ("voxel type float16",)),
        (VOXELS, {"photometric": "miniswhite"}, ("photometric interpretation 0",)),
        (np.zeros((2, 32, 32), np.uint8), {"tile": (16, 16)}, ("tiles True",)),
        (VOXELS, {"subfiletype": 1}, ("kind 1",)),
        (VOXELS, {"extratags": [(274, 3, 1, 3, True)]}, ("orientation 3",)),
    ],
)
def test_what_itk_would_change_or_skip_is_refused(
    tmp_path: Path, voxels: np.ndarray[Any, Any], options: dict[str, Any], words: tuple[str, ...]
) -> None:
    require_refused(stacked(tmp_path / "a.tif", voxels, **options), *words, check=read_header)


def test_pages_must_be_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((3, 4), np.int16), metadata=None)
        writer.write(np.zeros((30, 40), np.int16), metadata=None)
    require_refused(path, "page 1 is 40 x 30 int16", "4 x 3 int16", check=read_header)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = stacked(tmp_path / "a.tif")
    require_refused(saved(tmp_path, "b.tif", path.read_bytes()[:-1]), "truncated")
    require_refused(changed(stacked(tmp_path / "c.tif"), 279, 23), "holds 23 bytes", "24")
    require_refused(changed(stacked(tmp_path / "d.tif"), 273, 10**9, page=1), "page 1", "truncated")


def test_a_resolution_of_nothing_is_refused(tmp_path: Path) -> None:
    path = stacked(tmp_path / "a.tif", resolution=(0, 10), resolutionunit="CENTIMETER")
    require_refused(path, "inf x 1 mm", check=read_header)


def test_other_compressions_and_colours_are_refused(tmp_path: Path) -> None:
    require_refused(changed(stacked(tmp_path / "a.tif"), 259, 7), "compression 7")
    require_refused(changed(stacked(tmp_path / "b.tif"), 262, 3), "photometric interpretation 3")


def test_pages_without_end_or_sense_are_refused_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first_page = b"II*\0" + struct.pack("<IH", 8, 1) + ENTRY.pack(256, SHORT, 1, 4)
    require_refused(saved(tmp_path, "loop.tif", first_page + struct.pack("<I", 8)))
    require_refused(saved(tmp_path, "none.tif", b"II*\0" + struct.pack("<I", 0)), "0 page")
    require_refused(saved(tmp_path, "beyond.tif", b"II*\0" + struct.pack("<I", 10**9)))
    huge = b"II*\0" + struct.pack("<IH", 8, 1) + ENTRY.pack(273, LONG, 2**32 - 1, 8) + struct.pack("<I", 0)
    require_refused(saved(tmp_path, "huge.tif", huge))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("tifffile").handlers
