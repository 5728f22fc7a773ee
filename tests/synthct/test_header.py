"""What all formats share: real files, what SimpleITK writes, the limit, grids that differ, and files that are none."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from header_files import meta_image, nifti, nrrd, require_refused, saved

import synthct.header
from synthct.errors import GeometryError, HeaderError, InputError
from synthct.header import DEFAULT_VOXEL_LIMIT, SUFFIXES, Header, check_file, decoder_name, read_header, require_size

TILTED = tuple(float(value) for value in np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].ravel())
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def written(folder: Path, suffix: str, dtype: str, *, compressed: bool) -> Path:
    image = SimpleITK.GetImageFromArray(np.arange(60).reshape(3, 4, 5).astype(dtype))
    image.SetSpacing((0.9765625, 1 / 3, 2.7))
    image.SetOrigin((-123.45678901234567, 1 / 7, 5e5 / 7))
    image.SetDirection(TILTED)
    path = folder / f"image{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


def test_the_public_names_are_those_of_all() -> None:
    assert all(hasattr(synthct.header, name) for name in synthct.header.__all__)
    assert DEFAULT_VOXEL_LIMIT == 2 * 2**30


@pytest.mark.parametrize(
    ("suffix", "compressed", "dtype"),
    [
        *itertools.product((".mha", ".mhd", ".nii", ".nii.gz", ".nrrd"), (False, True), TYPES),
        *itertools.product((".tif", ".tiff"), (False, True), (*TYPES[:6], "float32")),
    ],
)
def test_what_simpleitk_writes_passes_and_announces_what_simpleitk_reads(
    tmp_path: Path, suffix: str, compressed: bool, dtype: str
) -> None:
    path = written(tmp_path, suffix, dtype, compressed=compressed)
    image = SimpleITK.ReadImage(str(path))
    header = check_file(path)
    assert header == read_header(path)
    assert header.path == path
    assert header.size == image.GetSize() == (5, 4, 3)
    assert header.dtype == SimpleITK.GetArrayFromImage(image).dtype == dtype
    assert header.spacing == pytest.approx(image.GetSpacing(), rel=1e-6)
    assert header.voxel_bytes == 60 * np.dtype(dtype).itemsize
    if suffix in (".mha", ".mhd", ".nrrd"):
        assert header.origin == image.GetOrigin()
        assert header.direction == pytest.approx(image.GetDirection(), abs=1e-15)
        assert header.compressed is compressed
    if suffix in (".mha", ".mhd"):
        assert header.direction == image.GetDirection()
        assert header.spacing == image.GetSpacing()


@pytest.mark.parametrize("source", [".nii", ".nrrd", ".tif"])
def test_metadata_that_simpleitk_carries_from_one_format_into_another_pass(tmp_path: Path, source: str) -> None:
    image = SimpleITK.ReadImage(str(written(tmp_path, source, "int16", compressed=False)))
    image.SetMetaData("0008|103e", "T1 ax\\ORIGINAL")
    image.SetMetaData("PatientName", "Müller^Jörg")
    for suffix in (".mha", ".nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / f"copy{suffix}"))
        assert check_file(tmp_path / f"copy{suffix}").size == (5, 4, 3)


def test_every_real_file_passes(data_root: Path) -> None:
    paths = [path for path in sorted(data_root.rglob("*")) if path.name.endswith((".mha", ".nii.gz"))]
    assert paths
    for path in paths:
        header = check_file(path)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        assert header.size == reader.GetSize()
        assert header.spacing == pytest.approx(reader.GetSpacing(), rel=1e-6)


@pytest.mark.parametrize("name", ["a.MHA", "a.Nii", "a.NRRD"])
def test_suffixes_in_capitals_pass(tmp_path: Path, name: str) -> None:
    content = {"mha": meta_image(), "nii": nifti(), "nrrd": nrrd()}[name[2:].lower()]
    assert check_file(saved(tmp_path, name, content)).size == (4, 3, 2)


@pytest.mark.parametrize("name", ["a.dcm", "a", "a.gz", "a.png", "a.mha.zip"])
def test_other_suffixes_are_refused_with_the_list(tmp_path: Path, name: str) -> None:
    require_refused(saved(tmp_path, name, meta_image()), *SUFFIXES, error=InputError)
    with pytest.raises(InputError, match=r"\.mha"):
        decoder_name(tmp_path / name)


@pytest.mark.parametrize("check", [read_header, check_file])
def test_files_that_are_none_are_refused(tmp_path: Path, check: type[Header]) -> None:
    require_refused(tmp_path / "none.mha", "no such file", error=InputError, check=check)
    require_refused(tmp_path / ("x" * 300 + ".mha"), "cannot be read", error=InputError, check=check)
    require_refused(saved(tmp_path, "empty.mha", b""), "is empty (0 bytes)", check=check)
    (tmp_path / "folder.mha").mkdir()
    require_refused(tmp_path / "folder.mha", "not a regular file", error=InputError, check=check)
    os.mkfifo(tmp_path / "pipe.nrrd")
    require_refused(tmp_path / "pipe.nrrd", "not a regular file", error=InputError, check=check)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_git_lfs_pointer_gets_its_own_message(tmp_path: Path, suffix: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    require_refused(saved(tmp_path, f"a{suffix}", pointer), "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_binary_garbage_is_refused(tmp_path: Path, suffix: str) -> None:
    for seed in range(20):
        garbage = np.random.default_rng(seed).integers(0, 256, 4000, dtype=np.uint8).tobytes()
        require_refused(saved(tmp_path, f"a{suffix}", garbage))


def test_an_announcement_above_the_limit_is_refused_by_name_of_the_option(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.mha", meta_image())
    assert check_file(path, voxel_limit=48).voxel_bytes == 48
    for check in (read_header, check_file):
        with pytest.raises(HeaderError) as caught:
            check(path, voxel_limit=47)
        for word in (str(path), "4 x 3 x 2", "int16", "48 bytes", "at most 47 bytes", "--voxel-limit"):
            assert word in str(caught.value)


@pytest.mark.parametrize("check", [read_header, check_file])
def test_128_gb_announced_in_a_hundred_bytes_cost_nothing(tmp_path: Path, check: type[Header]) -> None:
    huge = b"NDims = 3\nBinaryData = True\nDimSize = 4096 4096 4096\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path = saved(tmp_path, "a.mha", huge)
    tracemalloc.start()
    require_refused(path, "4096 x 4096 x 4096", "137438953472 bytes", check=check)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_reading_a_header_leaves_the_payload_alone(tmp_path: Path) -> None:
    """A damaged payload is no matter for read_header and one for check_file."""
    for name, content in (("a.mha", meta_image()), ("a.nii", nifti()), ("a.nrrd", nrrd())):
        path = saved(tmp_path, name, content[:-1])
        assert read_header(path).size == (4, 3, 2)
        require_refused(path, "bytes")


def test_a_mask_of_another_size_than_its_image_is_refused_naming_both(tmp_path: Path) -> None:
    image = tmp_path / "mr.mha"
    header = read_header(saved(tmp_path, "mask.mha", meta_image()))
    require_size(header, (4, 3, 2), of=image)
    with pytest.raises(GeometryError) as caught:
        require_size(header, (2, 3, 4), of=image)
    for word in (str(tmp_path / "mask.mha"), str(image), "4 x 3 x 2", "2 x 3 x 4"):
        assert word in str(caught.value)


def test_each_suffix_names_the_reader_that_decodes_it(tmp_path: Path) -> None:
    registered = SimpleITK.ImageFileReader().GetRegisteredImageIOs()
    assert all(decoder_name(tmp_path / f"a{suffix}") in registered for suffix in SUFFIXES)
