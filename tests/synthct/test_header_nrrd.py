"""NRRD: which headers pass, and every refusal."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from header_files import VOXELS, nrrd, require_refused, saved

from synthct.header import check_file, read_header

RAW = VOXELS.tobytes()
NO_SPACE = ("space", "space_directions", "space_origin")


@pytest.mark.parametrize(
    "content",
    [
        nrrd(),
        *(nrrd(magic=f"NRRD000{version}", drop=NO_SPACE) for version in range(1, 6)),
        nrrd(encoding="gzip", payload=gzip.compress(RAW)),
        nrrd(encoding="GZ", payload=gzip.compress(RAW[:11]) + gzip.compress(RAW[11:])),
        nrrd(endian="big", payload=VOXELS.astype(">i2").tobytes()),
        nrrd(type="signed short int"),
        nrrd(space="LPS", extra=("measurement frame: (1,0,0) (0,1,0) (0,0,1)", 'space units: "mm" "mm" "mm"')),
        nrrd(space="RAS"),
        nrrd(space="left-anterior-superior", space_directions="(0, 0, 1.5) (2,0,0) (0,3,0)"),
        nrrd(drop=NO_SPACE, spacings="1.5 2 3"),
        nrrd(drop=(*NO_SPACE, "kinds"), extra=("centerings: cell cell cell", "thicknesses: NaN NaN 2")),
        nrrd(kinds="space space space", extra=("# a comment", "byte skip: 0", "lineskip: 0")),
        nrrd(extra=("content: a: b", "Segment0_Name:=liver", "a key:=" + "x" * 5000)),
        nrrd().replace(b"\n", b"\r\n", 11),
    ],
)
def test_a_valid_header_passes_and_simpleitk_reads_the_same(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path, "a.nrrd", content)
    header, image = check_file(path), SimpleITK.ReadImage(str(path))
    assert header.size == image.GetSize() == (4, 3, 2)
    assert header.spacing == pytest.approx(image.GetSpacing())
    if header.origin is not None:
        assert header.origin == image.GetOrigin()
        assert header.direction == pytest.approx(image.GetDirection())
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), VOXELS)


def test_origin_and_direction_are_left_to_the_decoder_where_the_space_is_not_itks(tmp_path: Path) -> None:
    header = read_header(saved(tmp_path, "a.nrrd", nrrd(space="RAS")))
    assert (header.origin, header.direction) == (None, None)
    header = read_header(saved(tmp_path, "b.nrrd", nrrd()))
    assert (header.origin, header.direction) == ((1, 2, 3), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"magic": "NRRD0006"}, ("NRRD0006", "NRRD0001")),
        ({"magic": "NRRD00.01"}, ("NRRD00.01",)),
        ({"dimension": "4"}, ("dimension", "'4'", "3-D")),
        ({"dimension": "2"}, ("dimension", "'2'")),
        ({"type": "block"}, ("type", "'block'")),
        ({"type": "long"}, ("type", "'long'")),
        ({"sizes": "4 3"}, ("sizes", "'4 3'")),
        ({"sizes": "-4 3 -2"}, ("sizes", "'-4 3 -2'")),
        ({"sizes": "99999999999999 3 2"}, ("sizes", "'99999999999999 3 2'")),
        ({"kinds": "vector domain domain"}, ("kinds", "'vector domain domain'")),
        ({"kinds": "RGB-color domain domain"}, ("kinds", "RGB-color")),
        ({"kinds": "domain domain"}, ("kinds", "'domain domain'")),
        ({"endian": "middle"}, ("endian", "'middle'")),
        ({"drop": ("endian",)}, ("endian", "missing", "int16")),
        ({"encoding": "hex"}, ("encoding", "'hex'")),
        ({"encoding": "bzip2"}, ("encoding", "'bzip2'")),
        ({"space": "scanner-xyz"}, ("space", "'scanner-xyz'")),
        ({"space": "left-posterior-superior-time"}, ("space", "superior-time")),
        ({"space_directions": "(1,0,0) (0,2,0)"}, ("space directions", "(1,0,0) (0,2,0)")),
        ({"space_directions": "none (1,0,0) (0,2,0) (0,0,3)"}, ("space directions", "none")),
        ({"space_directions": "(1,0,0) (0,nan,0) (0,0,3)"}, ("space directions", "nan")),
        ({"space_directions": "(1,0,0) (0,0,0) (0,0,3)"}, ("space directions", "(0,0,0)")),
        ({"space_directions": "(1,0,0) (2,0,0) (0,0,3)"}, ("space directions", "span space")),
        ({"space_directions": "(1,0) (2,0,0) (0,0,3)"}, ("space directions", "(1,0)")),
        ({"drop": ("space_directions",)}, ("space directions", "missing")),
        ({"drop": ("space",)}, ("space directions", "a field 'space'")),
        ({"spacings": "1 1 1"}, ("spacings", "1 1 1")),
        ({"drop": NO_SPACE, "spacings": "nan 1 1"}, ("spacings", "nan 1 1")),
        ({"space_origin": "(1,2)"}, ("space origin", "(1,2)")),
        ({"space_origin": "(1,2,inf)"}, ("space origin", "inf")),
        ({"data_file": "/etc/passwd"}, ("data file", "/etc/passwd")),
        ({"datafile": "LIST"}, ("data file", "LIST")),
        ({"byte_skip": "-1"}, ("byte skip", "-1")),
        ({"line_skip": "3"}, ("line skip", "'3'")),
        ({"space_dimension": "3"}, ("space dimension", "'3'")),
        ({"block_size": "8"}, ("block size", "'8'")),
        ({"surprise": "1"}, ("surprise: 1",)),
        ({"content": "x" * 1024}, ("content", "xxx")),
        ({"content": ""}, ("content",)),
        ({"extra": ("sizes: 1 1 1",)}, ("'sizes' twice", "1 1 1")),
        ({"extra": ("axismins: 0 0 0", "axis mins: 0 0 1")}, ("'axis mins' twice", "0 0 1")),
        ({"extra": ("a:=1", "a:=2")}, ("'a' twice",)),
        ({"extra": ("type:=short",)}, ("type:=short",)),
        ({"extra": ("no separator",)}, ("no separator",)),
        ({"extra": ("a:=be\all",)}, ("x07",)),
        *(({"drop": (name,)}, (f"'{name}'",)) for name in ("type", "dimension", "sizes", "encoding")),
    ],
)
def test_a_refused_field_is_named(tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    require_refused(saved(tmp_path, "a.nrrd", nrrd(**changes)), *words, check=read_header)


def test_a_header_without_end_is_read_up_to_its_bound(tmp_path: Path) -> None:
    require_refused(saved(tmp_path, "a.nrrd", nrrd()[:60]), "no blank line", check=read_header)
    long = b"NRRD0004\n" + b"# comment\n" * 10_000
    require_refused(saved(tmp_path, "b.nrrd", long), "no blank line", "65536 bytes", check=read_header)
    require_refused(saved(tmp_path, "c.nrrd", b"NRRD0004\n\xff\xfe\n\n"), "xff", check=read_header)
