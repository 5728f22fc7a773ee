"""Volumes: geometry that survives a file bit for bit, every format, grids that differ, and writing that fails."""

from __future__ import annotations

import resource
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from forked import in_child, read_only_folder
from header_files import VOXELS, meta_image, nifti_2, saved
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.errors import GeometryError, HeaderError, InputError, OutputError
from synthct.volume import GEOMETRY_TOLERANCE, Geometry, Volume, read_volume, require_same_grid, write_volume

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def tilted(seed: int) -> Geometry:
    """A grid whose every number has as many digits as a double can hold."""
    random = np.random.default_rng(seed)
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    x, y, z = random.uniform(-1000, 1000, 3).tolist()
    a, b, c = np.exp(random.normal(0, 1, 3)).tolist()
    return Geometry((4, 3, 2), (a, b, c), (x, y, z), tuple(matrix.ravel().tolist()))


def bits(geometry: Geometry) -> bytes:
    """The fifteen numbers as they lie in memory; ITK's MetaIO reader drops the sign of a zero, so it does not count."""
    return struct.pack("<15d", *(0.0 + value for value in (*geometry.spacing, *geometry.origin, *geometry.direction)))


def test_a_volume_is_z_y_x_and_its_geometry_x_y_z() -> None:
    volume = Volume(VOXELS, Geometry((4, 3, 2), (1.0, 2.0, 3.0)))
    assert volume.geometry.shape == VOXELS.shape == (2, 3, 4)
    assert volume.spacing_zyx == volume.geometry.spacing_zyx == (3.0, 2.0, 1.0)
    assert volume.with_voxels(VOXELS + 1).geometry is volume.geometry
    with pytest.raises(GeometryError, match=r"shape \(4, 3, 2\) \(z, y, x\), its geometry says \(2, 3, 4\)"):
        Volume(VOXELS.T, volume.geometry)


@pytest.mark.parametrize("seed", range(20))
def test_geometry_survives_mha_bit_for_bit(tmp_path: Path, seed: int) -> None:
    geometry = tilted(seed)
    path = write_volume(Volume(VOXELS, geometry), tmp_path / "a.mha")
    once = read_volume(path)
    assert bits(once.geometry) == bits(geometry)
    twice = read_volume(write_volume(once, tmp_path / "b.mha"))
    assert bits(twice.geometry) == bits(geometry)
    assert path.read_bytes() == (tmp_path / "b.mha").read_bytes()


@settings(max_examples=100, deadline=None)
@given(
    origin=st.tuples(*[st.floats(-1e9, 1e9, allow_subnormal=False)] * 3), spacing=st.tuples(*[st.floats(1e-3, 1e3)] * 3)
)
def test_any_origin_and_spacing_survive_mha_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, origin: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    geometry = Geometry((4, 3, 2), spacing, origin)
    path = write_volume(Volume(VOXELS, geometry), tmp_path_factory.getbasetemp() / "any.mha")
    assert bits(read_volume(path).geometry) == bits(geometry)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_the_other_formats_keep_the_grid_within_the_tolerance(tmp_path: Path, suffix: str) -> None:
    volume = Volume(VOXELS, tilted(0))
    copy = read_volume(write_volume(volume, tmp_path / f"a{suffix}"))
    require_same_grid(volume, copy)
    np.testing.assert_array_equal(copy.voxels, VOXELS)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_voxels_keep_value_type_and_place(tmp_path: Path, dtype: str, suffix: str) -> None:
    info = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    voxels = VOXELS.astype(dtype)
    voxels[0, 0, 0], voxels[1, 2, 3] = info.min, info.max
    copy = read_volume(write_volume(Volume(voxels, Geometry((4, 3, 2))), tmp_path / f"a{suffix}"))
    assert copy.voxels.dtype == dtype
    assert copy.path == tmp_path / f"a{suffix}"
    np.testing.assert_array_equal(copy.voxels, voxels)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".tif", ".tiff", ".MHA"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(tmp_path / f"a{suffix.lower()}"))
    (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.geometry.difference(Geometry((4, 3, 2))) is None
    if "tif" not in suffix:  # TIFF keeps a resolution in dots per inch
        assert volume.geometry == Geometry((4, 3, 2))
    np.testing.assert_array_equal(volume.voxels, VOXELS)


def test_voxels_in_any_memory_order_are_written_alike(tmp_path: Path) -> None:
    volume = Volume(np.asfortranarray(VOXELS)[:, ::-1], Geometry((4, 3, 2)))
    np.testing.assert_array_equal(read_volume(write_volume(volume, tmp_path / "a.mha")).voxels, VOXELS[:, ::-1])


def test_a_header_is_checked_before_the_decoder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleITK, "ReadImage", lambda *_, **__: pytest.fail("the decoder ran"))
    with pytest.raises(HeaderError, match="NDims"):
        read_volume(saved(tmp_path, "a.mha", meta_image(NDims="4")))
    with pytest.raises(HeaderError, match="--voxel-limit"):
        read_volume(saved(tmp_path, "a.mha", meta_image()), voxel_limit=1)
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "none.mha")


def test_what_the_decoder_cannot_read_is_an_input_error(tmp_path: Path) -> None:
    """ITK 5.4 knows NIfTI-1 alone."""
    with pytest.raises(InputError, match=r"a\.nii: cannot be decoded \(.+\)"):
        read_volume(saved(tmp_path, "a.nii", nifti_2()))


def test_a_file_is_decoded_as_the_format_that_was_checked(tmp_path: Path) -> None:
    """With DICM at byte 128, ITK's DICOM reader might claim the file too."""
    comment = "x" * (128 - len("ObjectType = Image\nNDims = 3\nComment = ")) + "DICM"
    content = meta_image().replace(b"NDims = 3\n", f"NDims = 3\nComment = {comment}\n".encode())
    assert content[128:132] == b"DICM"
    np.testing.assert_array_equal(read_volume(saved(tmp_path, "a.mha", content)).voxels, VOXELS)


def test_equal_grids_pass_and_others_are_refused_with_both_files_and_values(tmp_path: Path) -> None:
    geometry = tilted(3)
    image = Volume(VOXELS, geometry, tmp_path / "mr.mha")
    require_same_grid(image, Volume(VOXELS, geometry, tmp_path / "mask.mha"))
    x, y, z = geometry.origin
    for changed, words in (
        (replace(geometry, spacing=(1.25, 1.0, 1.0)), ("spacing (1.25, 1, 1) against", f"{geometry.spacing[0]:.10g}")),
        (replace(geometry, origin=(x, y, z + 0.002)), (f"{z + 0.002:.10g}", f"{z:.10g}")),
        (replace(geometry, direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), ("direction (1, 0, 0, 0, 1",)),
    ):
        with pytest.raises(GeometryError) as caught:
            require_same_grid(image, Volume(VOXELS, changed, tmp_path / "mask.mha"))
        assert str(caught.value).startswith(str(tmp_path / "mask.mha"))
        for word in (str(tmp_path / "mr.mha"), "expected equal grids (tolerance 0.001)", *words):
            assert word in str(caught.value)
    with pytest.raises(GeometryError, match=r"volume: .* its image: size \(2, 3, 4\) against \(4, 3, 2\)"):
        require_same_grid(Volume(VOXELS, geometry), Volume(np.zeros((4, 3, 2)), Geometry((2, 3, 4))))


@pytest.mark.parametrize("field", ["spacing", "origin", "direction"])
def test_the_tolerance_includes_its_own_value_and_nothing_beyond(field: str) -> None:
    """Differences from 0, so that subtraction rounds nothing."""
    zeros = (0.0,) * (9 if field == "direction" else 3)
    base = replace(Geometry((4, 3, 2)), **{field: zeros})
    for step, same in ((GEOMETRY_TOLERANCE, True), (np.nextafter(GEOMETRY_TOLERANCE, 1.0), False), (np.nan, False)):
        for sign in (1.0, -1.0):
            other = replace(base, **{field: (*zeros[:-1], sign * float(step))})
            assert (base.difference(other) is None) is same


@pytest.mark.parametrize("name", ["a.mhd", "a.tif", "a.png", "a"])
def test_formats_that_lose_the_grid_or_are_two_files_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"cannot be written in this format; expected one of \.mha"):
        write_volume(Volume(VOXELS, Geometry((4, 3, 2))), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.mha", b"old")
    write_volume(Volume(VOXELS, Geometry((4, 3, 2))), path)
    assert read_volume(path).geometry.size == (4, 3, 2)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nii.gz", ".nrrd"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, f"a{suffix}", b"old")
    noise = np.random.default_rng(0).integers(0, 30_000, (20, 50, 50), dtype=np.int16)

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(OutputError, match="cannot be written whole"):
            write_volume(Volume(noise, Geometry((50, 50, 20))), path)

    in_child(write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_an_output_error() -> None:
    with read_only_folder() as folder:

        def write() -> None:
            with pytest.raises(OutputError, match=r"a\.mha: cannot be written \(Permission denied\)"):
                write_volume(Volume(VOXELS, Geometry((4, 3, 2))), folder / "a.mha")
            assert list(folder.iterdir()) == []

        in_child(write, unprivileged=True)


def test_a_latin_1_tag_of_another_program_is_no_obstacle(tmp_path: Path) -> None:
    """DICOM tags that were copied into a MetaIO header as they are: Müller in Latin-1."""
    path = tmp_path / "mr.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((2, 3, 4), np.int16)), str(path))
    content = path.read_bytes().replace(b"ElementType", b"0010|0010 = M\xfcller\nElementType")
    path.write_bytes(content)
    assert read_volume(path).voxels.sum() == 24
