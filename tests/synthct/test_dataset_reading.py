"""Reading a case: every mask type, and each way in which the files of a case do not belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import SHAPE, make_volume, save_case, save_image

from synthct.dataset import CaseFiles, find_cases, finite_number, load_case, read_image, read_mask, read_note
from synthct.errors import GeometryError, InputError, SynthCTError


def _files(folder: Path) -> CaseFiles:
    (files,) = find_cases(folder)
    return files


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
def test_load_case(tmp_path: Path, suffix: str) -> None:
    case = load_case(_files(save_case(tmp_path / "2THC010", suffix=suffix)))
    assert (case.id, str(case.task), str(case.region)) == ("2THC010", "cbct", "TH")
    assert case.image.voxels.shape == SHAPE
    assert case.image.voxels[2, 3, 4] == 59
    assert case.image.spacing_zyx == (3.0, 1.0, 1.0)
    assert case.reference is not None
    assert case.reference.voxels[2, 3, 4] == 290
    assert case.mask.voxels.dtype == np.uint8
    assert case.mask.voxels.sum() == 60


def test_reference_is_optional(tmp_path: Path) -> None:
    files = _files(save_case(tmp_path / "1ABA001"))
    assert load_case(files, with_reference=False).reference is None
    assert load_case(_files(save_case(tmp_path / "b" / "1ABA002", reference=False))).reference is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_every_type(tmp_path: Path, dtype: type[np.generic], value: int) -> None:
    voxels = np.zeros(SHAPE, dtype)
    voxels[1, 2, 3] = value
    case = load_case(_files(save_case(tmp_path / "1ABA001", mask=voxels)))
    assert case.mask.voxels.dtype == np.uint8
    assert np.argwhere(case.mask.voxels).tolist() == [[1, 2, 3]]
    assert case.mask.voxels.max() == 1


def test_mask_is_what_lies_above_zero(tmp_path: Path) -> None:
    voxels = np.zeros((1, 1, 5), np.float32)
    voxels[0, 0] = [-1.0, 0.0, 0.25, 1.0, 3.0]
    image = make_volume(np.zeros((1, 1, 5), np.int16))
    assert read_mask(save_image(tmp_path / "mask.mha", voxels), image).voxels.tolist() == [[[0, 0, 1, 1, 1]]]


def test_empty_mask(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001", mask=np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match="all voxels are zero") as caught:
        load_case(_files(folder))
    assert str(folder / "mask.mha") in str(caught.value)


def test_missing_mask(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    (folder / "mask.mha").unlink()
    with pytest.raises(InputError, match="1ABA001 has no mask") as caught:
        load_case(_files(folder))
    assert str(folder / "mask.mha") in str(caught.value)


def test_given_mask_stands_in_for_the_file(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    (folder / "mask.mha").unlink()
    mask = make_volume(np.eye(4, 5, dtype=np.uint8)[None].repeat(3, axis=0))
    assert load_case(_files(folder), mask=mask).mask.voxels.sum() == 12


def test_given_mask_on_another_grid(tmp_path: Path) -> None:
    files = _files(save_case(tmp_path / "1ABA001"))
    with pytest.raises(GeometryError, match="spacing"):
        load_case(files, mask=make_volume(np.ones(SHAPE, np.uint8), spacing=(1.0, 1.0, 2.0)))


@pytest.mark.parametrize("stem", ["mask", "ct"])
def test_size_mismatch_names_both_sizes(tmp_path: Path, stem: str) -> None:
    folder = save_case(tmp_path / "1ABA001")
    save_image(folder / f"{stem}.mha", np.ones((3, 4, 6), np.int16))
    with pytest.raises(GeometryError) as caught:
        load_case(_files(folder))
    message = str(caught.value)
    assert f"{stem}.mha" in message
    assert "mr.mha" in message
    for size in ((5, 4, 3), (6, 4, 3)):
        assert any(
            f"{left}{separator}".join(map(str, size)) in message for left, separator in ((", ", ""), (" x ", ""))
        )


@pytest.mark.parametrize("stem", ["mask", "ct"])
@pytest.mark.parametrize(
    ("change", "theirs", "ours"),
    [
        ({"spacing": (1.0, 1.0, 2.5)}, "spacing (1, 1, 2.5)", "(1, 1, 3)"),
        ({"origin": (0.0, 7.0, 0.0)}, "origin (0, 7, 0)", "(0, 0, 0)"),
    ],
)
def test_geometry_mismatch_names_both(
    tmp_path: Path, stem: str, change: dict[str, tuple[float, float, float]], theirs: str, ours: str
) -> None:
    folder = save_case(tmp_path / "1ABA001")
    save_image(folder / f"{stem}.mha", np.ones(SHAPE, np.int16), **change)
    with pytest.raises(GeometryError) as caught:
        load_case(_files(folder))
    message = str(caught.value)
    assert f"{theirs} against {ours}" in message
    assert message.index(f"{stem}.mha") < message.index("mr.mha")


def test_geometry_within_the_tolerance(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    save_image(folder / "mask.mha", spacing=(1.0009, 1.0, 3.0), origin=(0.0, -0.0009, 0.0))
    assert load_case(_files(folder)).mask.voxels.all()
    save_image(folder / "mask.mha", spacing=(1.0011, 1.0, 3.0))
    with pytest.raises(GeometryError):
        load_case(_files(folder))


def test_sizes_are_compared_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    save_image(folder / "ct.mha", np.ones((3, 4, 6), np.int16))
    image = folder / "mr.mha"
    image.write_bytes(image.read_bytes()[:-10])  # would be refused as damaged, if it were read
    with pytest.raises(GeometryError):
        load_case(_files(folder))


@pytest.mark.parametrize("stem", ["mr", "ct", "mask"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(tmp_path: Path, stem: str, value: float) -> None:
    folder = save_case(tmp_path / "1ABA001")
    voxels = np.ones(SHAPE, np.float32)
    voxels[0, 0, :2] = value
    save_image(folder / f"{stem}.mha", voxels)
    with pytest.raises(InputError, match="2 voxels are NaN or infinite") as caught:
        load_case(_files(folder))
    assert str(folder / f"{stem}.mha") in str(caught.value)


def test_read_image_keeps_type_and_geometry(tmp_path: Path) -> None:
    path = save_image(tmp_path / "mr.mha", np.ones(SHAPE, np.float32), spacing=(0.5, 1.5, 2.5), origin=(1.0, 2.0, 3.0))
    volume = read_image(path)
    assert volume.voxels.dtype == np.float32
    assert (volume.geometry.size, volume.geometry.spacing) == ((5, 4, 3), (0.5, 1.5, 2.5))
    assert volume.geometry.origin == (1.0, 2.0, 3.0)


def test_damaged_file_is_one_line(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    (folder / "ct.mha").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SynthCTError) as caught:
        load_case(_files(folder))
    assert "\n" not in str(caught.value)
    assert str(folder / "ct.mha") in str(caught.value)
    assert caught.value.exit_code == 3


def test_voxel_limit(tmp_path: Path) -> None:
    files = _files(save_case(tmp_path / "1ABA001"))  # mr and ct: 60 voxels of 2 bytes
    assert load_case(files, voxel_limit=120).image.voxels.size == 60
    with pytest.raises(InputError, match="119"):
        load_case(files, voxel_limit=119)


@pytest.mark.parametrize("content", ["{", '{"a": NaN}', '{"a": [Infinity]}', '{"a": -1e999}', "[" * 100_000])
def test_a_note_that_could_not_be_written_again_is_not_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(content)
    with pytest.warns(UserWarning, match=r"dataset\.json: is no data set note of ours and is not read"):
        assert read_note(path) == {}


def test_a_note_with_plain_numbers_is_read(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"seed": 7, "scale": -2.5e-3}')
    assert read_note(tmp_path / "dataset.json") == {"seed": 7, "scale": -0.0025}
    assert read_note(None) == {}


def test_finite_number() -> None:
    assert finite_number("-1.5e308") == -1.5e308
    for text in ("NaN", "Infinity", "-Infinity", "1e309"):
        with pytest.raises(ValueError, match=f"^{text} is not a finite number$"):
            finite_number(text)
