"""MetaIO: which headers pass, and every refusal."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from header_files import VOXELS, meta_image, require_refused, saved

from synthct.errors import HeaderError
from synthct.header import check_file, read_header


def split_image(folder: Path, *, data: str = "a.raw", content: bytes | None = None, tail: bytes = b"") -> Path:
    """Write a .mhd and its data file."""
    (folder / "a.raw").write_bytes(VOXELS.tobytes() if content is None else content)
    return saved(folder, "a.mhd", meta_image(payload=tail, ElementDataFile=data))


def test_spacing_origin_and_direction_are_those_that_itk_reads(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.mha", meta_image(TransformMatrix="0 1 0 0 0 1 1 0 0"))
    header, image = check_file(path), SimpleITK.ReadImage(str(path))
    assert header.spacing == image.GetSpacing() == (1.5, 2.0, 3.0)
    assert header.origin == image.GetOrigin() == (-10.5, 20.0, 30.0)
    assert header.direction == image.GetDirection() == (0, 0, 1, 1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    "content",
    [
        meta_image(compressed=True),
        meta_image(compressed=True, payload=gzip.compress(VOXELS.tobytes())),
        meta_image(end="\r\n"),
        meta_image(BinaryDataByteOrderMSB="True", payload=VOXELS.astype(">i2").tobytes()),
        meta_image(drop=("ObjectType", "TransformMatrix", "Offset", "ElementSpacing"), extra=("ElementSize = 1 2 3",)),
        meta_image(drop=("Offset", "TransformMatrix"), extra=("Position = 1 2 3", "Orientation = 1 0 0 0 1 0 0 0 1")),
        meta_image(extra=("Origin = -10.5 20.0 30", "ElementByteOrderMSB = false")),
        meta_image(
            extra=(
                "CenterOfRotation = 0 0 0",
                "AnatomicalOrientation = RAI",
                "Comment = made by hand",
                "Name = a",
                "ID = 1",
                "ParentID = -1",
                "Color = 1 0 0 1",
                "HeaderSize = 0",
                "Modality = MET_MOD_CT",
                "CompressionLevel = 2",
                "ElementMin = -1024",
                "ElementMax = 3.071e3",
                "ElementNBits = 16",
                "ElementNumberOfChannels = 1",
                "DistanceUnits = mm",
                "0008|0060 = MR",
                "dim[0] = 3",
                "an unknown key = its value",
            )
        ),
        meta_image(extra=("AnatomicalOrientation = ???", f"Free.text = {'x' * 1023}")),
    ],
)
def test_a_valid_header_passes_and_simpleitk_reads_the_same(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path, "a.mha", content)
    header, image = check_file(path), SimpleITK.ReadImage(str(path))
    assert header.size == image.GetSize()
    assert header.spacing == image.GetSpacing()
    assert header.origin == image.GetOrigin()
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), VOXELS)


def test_met_long_is_four_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.mha", meta_image(ElementType="MET_LONG", payload=VOXELS.astype("<i4").tobytes()))
    assert check_file(path).dtype == np.int32
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), VOXELS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ObjectType", "Tube"),
        ("NDims", "2"),
        ("NDims", "4"),
        ("NDims", "3.0"),
        ("BinaryData", "False"),
        ("BinaryDataByteOrderMSB", "maybe"),
        ("CompressedData", "yes"),
        ("DimSize", "4 3"),
        ("DimSize", "4 3 2 1"),
        ("DimSize", "-4 3 -2"),
        ("DimSize", "0 3 2"),
        ("DimSize", "4_0 3 2"),
        ("DimSize", "99999999999999999999 3 2"),
        ("DimSize", "65537 1 1"),
        ("ElementSpacing", "nan 1 1"),
        ("ElementSpacing", "inf 1 1"),
        ("ElementSpacing", "0 1 1"),
        ("ElementSpacing", "-1 1 1"),
        ("ElementSpacing", "1e-320 1 1"),
        ("ElementSpacing", "1 1"),
        ("ElementSize", "nan 1 1"),
        ("Offset", "1 2 1e999"),
        ("Offset", "1 2 0x10"),
        ("CenterOfRotation", "1 2"),
        ("TransformMatrix", "1 0 0 0 1 0 0 0"),
        ("TransformMatrix", "1 0 0 0 1 0 0 0 nan"),
        ("TransformMatrix", "1 0 0 0 1 0 0 0 0"),
        ("AnatomicalOrientation", "RAIX"),
        ("ElementNumberOfChannels", "3"),
        ("ElementType", "MET_UCHAR_ARRAY"),
        ("ElementType", "MET_STRING"),
        ("ElementMin", "nan"),
        ("Color", "1 2 3"),
        ("ID", "one"),
        ("HeaderSize", "-1"),
        ("HeaderSize", "128"),
        ("DistanceUnits", "cm"),
        ("ElementToIntensityFunctionSlope", "2"),
        ("FileFormatVersion", "1"),
        ("ElementOrigin", "1 2 3"),
        ("ElementDirection", "1 0 0 0 1 0 0 0 1"),
        ("ImagePosition", "1 2 3"),
        ("Comment", "x" * 201),
        ("Name", "ä" * 101),
        ("CompressedDataSize", "-1"),
        ("dimsize", "4 3 2"),
        ("Free", "x" * 1024),
        ("Free", "bell\a"),
        ("Free", ""),
        ("ElementDataFile", "/etc/passwd"),
        ("ElementDataFile", "LIST"),
        ("ElementDataFile", "a.raw"),
        ("ElementDataFile", "local"),
    ],
)
def test_a_refused_value_is_named_with_its_key(tmp_path: Path, key: str, value: str) -> None:
    known = key in ("ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "DimSize")
    known |= key in ("ElementSpacing", "Offset", "TransformMatrix", "ElementType", "ElementDataFile")
    content = meta_image(**{key: value}) if known else meta_image(extra=(f"{key} = {value}",))
    shown = ascii(value)[1:60].rstrip("'")
    require_refused(saved(tmp_path, "a.mha", content), key, shown, check=read_header)


@pytest.mark.parametrize("key", ["NDims", "BinaryData", "DimSize", "ElementType", "ElementDataFile"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    content = meta_image(drop=(key,), payload=b"")
    if key == "NDims":
        # Everything that NDims sizes would be read with a length of nothing.
        content = meta_image(drop=(key, "TransformMatrix", "Offset", "ElementSpacing", "DimSize"))
    require_refused(saved(tmp_path, "a.mha", content), key, check=read_header)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("Offset = 1 2 3",), ("Offset twice", "1 2 3")),
        (("Free = 1", "Free = 2"), ("Free twice", "'2'")),
        (("Position = 1 2 3",), ("Offset = '-10.5 20 30'", "Position = '1 2 3'")),
        (("ElementByteOrderMSB = True",), ("BinaryDataByteOrderMSB = 'False'", "ElementByteOrderMSB = 'True'")),
        (("no separator",), ("'no separator'",)),
        (("Points: 3 = 1",), ("'Points: 3 = 1'",)),
        ((" Free = 1",), ("' Free = 1'",)),
        (("",), ("''",)),
        (("k" * 65 + " = 1",), ("kkk",)),
        (("Fr\0ee = 1",), ("x00",)),
    ],
)
def test_a_refused_line_is_shown(tmp_path: Path, extra: tuple[str, ...], words: tuple[str, ...]) -> None:
    require_refused(saved(tmp_path, "a.mha", meta_image(extra=extra)), *words, check=read_header)


def test_a_key_that_ndims_sizes_may_not_come_before_it(tmp_path: Path) -> None:
    content = b"DimSize = 4 3 2\n" + meta_image(drop=("DimSize",))
    require_refused(saved(tmp_path, "a.mha", content), "DimSize = '4 3 2' before NDims", check=read_header)


def test_a_header_without_end_is_read_up_to_its_bound(tmp_path: Path) -> None:
    lines = "".join(f"Free{number} = {'x' * 900}\n" for number in range(200)).encode()
    require_refused(saved(tmp_path, "a.mha", lines), "ElementDataFile", "65536 bytes", check=read_header)


def test_a_compressed_header_needs_its_compressed_size(tmp_path: Path) -> None:
    """SimpleITK 2.5 inflates the header's own text then, and returns noise without an error."""
    path = saved(tmp_path, "a.mha", meta_image(compressed=True, drop=("CompressedDataSize",)))
    require_refused(path, "CompressedDataSize", check=read_header)


def test_a_data_file_beside_the_header_passes(tmp_path: Path) -> None:
    assert check_file(split_image(tmp_path)).size == (4, 3, 2)
    assert check_file(saved(tmp_path, "b.mhd", meta_image(payload=b"", ElementDataFile="a.raw")[:-1])).size == (4, 3, 2)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.raw", "sub/a.raw", "..\\a.raw", "LIST", "LIST 2", "LISTING", "s%03d.raw", "LOCAL", "local"],
)
def test_a_data_file_elsewhere_or_in_several_pieces_is_refused(tmp_path: Path, name: str) -> None:
    require_refused(split_image(tmp_path, data=name), "ElementDataFile", ascii(name)[1:-1], "plain name")


def test_a_data_file_must_exist_in_the_folder_itself(tmp_path: Path) -> None:
    require_refused(split_image(tmp_path, data="missing.raw"), "missing.raw", "existing file")
    require_refused(split_image(tmp_path, data="a.mhd"), "a.mhd", "existing file")
    (tmp_path / "link.raw").symlink_to("/etc/passwd")
    require_refused(split_image(tmp_path, data="link.raw"), "link.raw", "existing file")


def test_the_data_file_ends_the_header(tmp_path: Path) -> None:
    require_refused(split_image(tmp_path, tail=b"Free = 1\n"), "a.raw", "end the file")


def test_a_data_file_of_another_length_is_named(tmp_path: Path) -> None:
    path = split_image(tmp_path, content=bytes(47))
    with pytest.raises(HeaderError, match=r"a\.raw: holds 47 bytes of voxels; expected 48"):
        check_file(path)
