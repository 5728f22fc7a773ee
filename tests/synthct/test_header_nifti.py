"""NIfTI-1 and NIfTI-2: which headers pass, and every refusal."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from header_files import VOXELS, nifti, nifti_2, require_refused, saved

from synthct.header import check_file, read_header

EXTENSION = b"\1\0\0\0" + struct.pack("<2i", 16, 6) + b"hello\0\0\0"
NAN = float("nan")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"order": ">", "payload": VOXELS.astype(">i2").tobytes()},
        {"vox_offset": 368, "extension": EXTENSION},
        {"dim": (3, 4, 3, 2, 0, 0, 0, 0)},
        {"codes": (0, 2)},
        {"scaling": (0, 0)},
        {"scaling": (1, 1e-30)},
        {"units": 1, "pixdim": (1, 0.0015, 0.002, 0.003)},
        {"units": 3, "pixdim": (1, 1500, 2000, 3000)},
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_valid_header_passes_and_simpleitk_reads_the_same(
    tmp_path: Path, changes: dict[str, Any], suffix: str
) -> None:
    content = nifti(**changes)
    path = saved(tmp_path, f"a{suffix}", gzip.compress(content) if suffix == ".nii.gz" else content)
    header, image = check_file(path), SimpleITK.ReadImage(str(path))
    assert header.size == image.GetSize() == (4, 3, 2)
    assert header.spacing == pytest.approx(image.GetSpacing())
    assert header.spacing == pytest.approx((1.5, 2, 3))
    assert header.dtype == np.int16
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), VOXELS)


@pytest.mark.parametrize(
    ("datatype", "stored", "decoded"),
    [
        ((2, 8), "u1", "float32"),
        ((4, 16), "i2", "float32"),
        ((1024, 64), "i8", "float32"),
        ((16, 32), "f4", "float32"),
        ((64, 64), "f8", "float64"),
    ],
)
@pytest.mark.parametrize("scaling", [(2.0, 1.0), (1.0, 5.0), (0.0, 5.0)])
def test_scaled_voxels_are_announced_as_what_they_become(
    tmp_path: Path, datatype: tuple[int, int], stored: str, decoded: str, scaling: tuple[float, float]
) -> None:
    content = nifti(datatype=datatype, scaling=scaling, payload=VOXELS.astype(stored).tobytes())
    path = saved(tmp_path, "a.nii", content)
    header = check_file(path)
    assert header.dtype == SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).dtype == decoded
    assert header.voxel_bytes == 24 * np.dtype(decoded).itemsize


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_passes(tmp_path: Path, order: str) -> None:
    for name, content in (("a.nii", nifti_2(order=order)), ("b.nii.gz", gzip.compress(nifti_2(order=order)))):
        header = check_file(saved(tmp_path, name, content))
        assert (header.size, header.spacing, header.dtype) == ((4, 3, 2), (1.5, 2.0, 3.0), np.int16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": b"ni1\0"}, ("magic", "ni1")),
        ({"magic": b"\0\0\0\0"}, ("magic",)),
        ({"dim": (4, 4, 3, 2, 1, 1, 1, 1)}, ("dim[0] is 4", "4-D", "4 x 3 x 2 x 1", "3-D")),
        ({"dim": (5, 4, 3, 2, 1, 3, 1, 1)}, ("dim[0] is 5", "4 x 3 x 2 x 1 x 3")),
        ({"dim": (2, 4, 3, 1, 1, 1, 1, 1)}, ("dim[0] is 2", "2-D")),
        ({"dim": (-1, 4, 3, 2, 1, 1, 1, 1)}, ("dim[0] is -1",)),
        ({"dim": (3, -4, 3, -2, 1, 1, 1, 1)}, ("-4 x 3 x -2",)),
        ({"dim": (3, 0, 3, 2, 1, 1, 1, 1)}, ("0 x 3 x 2",)),
        ({"datatype": (128, 24)}, ("datatype is 128", "RGB")),
        ({"datatype": (2304, 32)}, ("datatype is 2304", "RGBA")),
        ({"datatype": (32, 64)}, ("datatype is 32", "complex")),
        ({"datatype": (1, 1)}, ("datatype is 1 ", "bits")),
        ({"datatype": (999, 16)}, ("datatype is 999", "unknown")),
        ({"datatype": (4, 8)}, ("bitpix is 8", "16 for datatype 4")),
        ({"pixdim": (1, NAN, 1, 1)}, ("pixdim is nan 1 1",)),
        ({"pixdim": (1, 1, 0, 1)}, ("pixdim is 1 0 1",)),
        ({"pixdim": (1, 1, 1, -2)}, ("pixdim is 1 1 -2",)),
        ({"pixdim": (1, 1, 1, float("inf"))}, ("pixdim is 1 1 inf",)),
        ({"vox_offset": 0}, ("vox_offset is 0", "352")),
        ({"vox_offset": 351}, ("vox_offset is 351",)),
        ({"vox_offset": 352.5}, ("vox_offset is 352.5",)),
        ({"vox_offset": NAN}, ("vox_offset is nan",)),
        ({"vox_offset": 1e30}, ("vox_offset is 1",)),
        ({"scaling": (NAN, 0)}, ("scl_slope is nan",)),
        ({"scaling": (1, float("inf"))}, ("scl_inter is inf",)),
        ({"codes": (0, 1), "srow": (NAN,) + (0,) * 11}, ("srow is nan",)),
        ({"codes": (1, 0), "srow": (0,) * 12, "pixdim": (1, 1, 1, 1, NAN)}, ()),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_refused_value_is_named(tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...], suffix: str) -> None:
    content = nifti(**changes)
    path = saved(tmp_path, f"a{suffix}", gzip.compress(content) if suffix == ".nii.gz" else content)
    if words:
        require_refused(path, *words, check=read_header)
    else:
        assert check_file(path).size == (4, 3, 2)


def test_a_form_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    content = bytearray(nifti(codes=(1, 0)))
    struct.pack_into("<f", content, 256, NAN)
    require_refused(saved(tmp_path, "a.nii", bytes(content)), "quatern and qoffset is nan", check=read_header)


def test_a_header_that_is_none_or_ends_early_is_refused(tmp_path: Path) -> None:
    require_refused(saved(tmp_path, "a.nii", b"\x5c\1"), "sizeof_hdr 348", check=read_header)
    require_refused(saved(tmp_path, "b.nii", nifti()[:347]), "ends after 347 bytes", check=read_header)
    require_refused(saved(tmp_path, "c.nii", nifti_2()[:539]), "ends after 539 bytes", check=read_header)
    require_refused(saved(tmp_path, "d.nii", nifti_2(magic=b"n+2\0\0\0\0\0")), "magic", check=read_header)
    require_refused(saved(tmp_path, "e.nii", nifti_2(vox_offset=352)), "vox_offset is 352", check=read_header)
    require_refused(saved(tmp_path, "f.nii", gzip.compress(nifti())), "sizeof_hdr", check=read_header)
    require_refused(saved(tmp_path, "g.nii.gz", nifti()), "damaged", check=read_header)


def test_read_header_inflates_the_header_alone(tmp_path: Path) -> None:
    """The stream breaks right behind the header: only check_file finds out."""
    inflated = nifti(dim=(3, 512, 512, 100, 1, 1, 1, 1), payload=bytes(512 * 512 * 200))
    path = saved(tmp_path, "a.nii.gz", gzip.compress(inflated)[:5000])
    assert read_header(path).size == (512, 512, 100)
    require_refused(path, "truncated")


def test_a_file_and_its_unpacked_twin_are_refused(tmp_path: Path) -> None:
    """SimpleITK 2.5 reads the header of a.nii.gz and the voxels of a.nii without an error."""
    packed = saved(tmp_path, "a.nii.gz", gzip.compress(nifti()))
    assert check_file(packed).size == (4, 3, 2)
    unpacked = saved(tmp_path, "a.nii", nifti(payload=bytes(48)))
    require_refused(packed, "a.nii lies beside it")
    assert check_file(unpacked).size == (4, 3, 2)
