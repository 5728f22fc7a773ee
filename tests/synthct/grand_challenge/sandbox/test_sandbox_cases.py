"""The cases of a check: each odd in its one way, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from synthct.anatomy import Region, Task
from synthct.dataset import load_case
from synthct.errors import InputError
from synthct.grand_challenge.job import read_job
from synthct.grand_challenge.sandbox.cases import (
    CASE_NAMES,
    LARGEST,
    PLAIN,
    case_id,
    phantom_of,
    write_case,
    write_corrupt_case,
)
from synthct.volume import Volume, read_volume

REGION = Region.EXTREMITY


def write(name: str, folder: Path, *, task: Task = Task.MRI) -> dict[str, Path]:
    """Write a case; return its files by their place below /input, the uuids left out."""
    write_case(name, task, REGION, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        (path.parent.relative_to(folder).as_posix() if path.parent != folder else path.name): path for path in files
    }


def mask_of(files: dict[str, Path]) -> Volume:
    return read_volume(files["images/body"])


@pytest.mark.parametrize("task", list(Task))
def test_plain_is_what_the_platform_hands_over(tmp_path: Path, task: Task) -> None:
    files = write(PLAIN, tmp_path, task=task)
    assert set(files) == {f"images/{task.value}", "images/body", "region.json", "inputs.json"}
    image, mask = files[f"images/{task.value}"], files["images/body"]
    assert image.suffix == mask.suffix == ".mha"
    assert len(image.stem) == len(mask.stem) == 36
    assert image.stem != mask.stem
    assert json.loads(files["region.json"].read_text()) == "Extremity"
    entries = json.loads(files["inputs.json"].read_text())
    assert [set(entry) >= {"socket", "interface"} for entry in entries] == [True] * 3


@pytest.mark.parametrize("name", [PLAIN, *CASE_NAMES])
def test_every_case_is_sound_input_and_the_grid_says_what_it_is(tmp_path: Path, name: str) -> None:
    grid = write_case(name, Task.MRI, REGION, tmp_path)
    job = read_job(tmp_path, tmp_path / "out", region=REGION)
    case = load_case(job.files)
    assert case.image.geometry.difference(grid.geometry) is None
    assert np.array_equal(case.mask.voxels > 0, grid.mask.voxels > 0)
    assert 0 < grid.mask.voxels.mean() <= 1
    assert set(np.unique(grid.mask.voxels)) <= {0, 1}
    assert (job.files.id == "1EXA001") == (name != "no-inputs-json")


def test_equal_arguments_give_equal_files(tmp_path: Path) -> None:
    first, second = (write("oblique", tmp_path / name) for name in "ab")
    assert {place: path.read_bytes() for place, path in first.items()} == {
        place: path.read_bytes() for place, path in second.items()
    }


@pytest.mark.parametrize(
    ("name", "key", "other"), [("interface-only", "interface", "socket"), ("socket-only", "socket", "interface")]
)
def test_one_key_only(tmp_path: Path, name: str, key: str, other: str) -> None:
    entries = json.loads(write(name, tmp_path)["inputs.json"].read_text())
    assert len(entries) == 3
    assert all(entry[key]["relative_path"] for entry in entries)
    assert not any(other in entry for entry in entries)


def test_without_inputs_json(tmp_path: Path) -> None:
    assert set(write("no-inputs-json", tmp_path)) == {"images/mri", "images/body", "region.json"}


def test_nifti_in_the_templates_layout(tmp_path: Path) -> None:
    files = write("nii-gz", tmp_path)
    assert [files[f"images/{name}"].name for name in ("mri", "body")] == ["1EXA001.nii.gz"] * 2
    assert "inputs.json" not in files


def test_odd_shape_has_an_axis_below_16(tmp_path: Path) -> None:
    assert read_volume(write("odd-shape", tmp_path)["images/mri"]).geometry.size == (67, 53, 9)


def test_thick_slices(tmp_path: Path) -> None:
    assert read_volume(write("thick-slices", tmp_path)["images/mri"]).geometry.spacing == (1.0, 1.0, 5.0)


def test_oblique_is_a_rotation_with_a_negative_origin(tmp_path: Path) -> None:
    geometry = read_volume(write("oblique", tmp_path)["images/mri"]).geometry
    matrix = np.array(geometry.direction).reshape(3, 3)
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    assert not np.allclose(matrix, np.eye(3))
    assert max(geometry.origin) < 0


def test_corner_mask_reaches_the_first_voxel(tmp_path: Path) -> None:
    assert mask_of(write(PLAIN, tmp_path / "plain")).voxels[0, 0, 0] == 0
    assert mask_of(write("corner-mask", tmp_path / "corner")).voxels[0, 0, 0] == 1


def test_masks_of_other_values_and_types(tmp_path: Path) -> None:
    plain = mask_of(write(PLAIN, tmp_path / "plain")).voxels
    bright = mask_of(write("mask-255", tmp_path / "bright")).voxels
    floating = mask_of(write("float-mask", tmp_path / "floating")).voxels
    assert (bright.dtype, set(np.unique(bright))) == (np.uint8, {0, 255})
    assert floating.dtype == np.float32
    assert np.array_equal(plain > 0, bright > 0)
    assert np.array_equal(plain > 0, floating > 0)


def test_regions_that_cannot_be_told(tmp_path: Path) -> None:
    unknown = write("unknown-region", tmp_path / "unknown")
    assert json.loads(unknown["region.json"].read_text()) == "Left Foot"
    assert json.loads(unknown["inputs.json"].read_text())[2]["value"] == "Left Foot"
    missing = write("no-region-file", tmp_path / "missing")
    assert "region.json" not in missing
    assert len(json.loads(missing["inputs.json"].read_text())) == 2
    empty = write("empty-region-file", tmp_path / "empty")
    assert empty["region.json"].read_bytes() == b""
    assert json.loads(empty["inputs.json"].read_text())[2]["value"] is None


def test_a_corrupt_image_is_one_that_is_refused(tmp_path: Path) -> None:
    write_corrupt_case(Task.MRI, REGION, tmp_path)
    job = read_job(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="mri"):
        load_case(job.files)


@pytest.mark.parametrize("region", list(Region))
def test_every_region_has_a_body_that_fits_its_view(region: Region) -> None:
    phantom = phantom_of(region, Task.MRI)
    share = float(phantom.mask.voxels.mean())
    assert 0.2 < share < 0.8
    assert case_id(Task.CBCT, region) == f"2{region.value}A001"


@pytest.mark.slow
def test_the_largest_case(tmp_path: Path) -> None:
    grid = write_case(LARGEST, Task.MRI, Region.ABDOMEN, tmp_path)
    assert grid.geometry.size == (512, 512, 200)
    assert 0.3 < float(grid.mask.voxels.mean()) < 0.5
    job = read_job(tmp_path, tmp_path / "out")
    image = read_volume(job.files.image)
    assert image.geometry.difference(grid.geometry) is None
    assert image.voxels.dtype == np.int16
    assert np.array_equal(image.voxels[::4, ::4, ::4], image.voxels[3::4, 3::4, 3::4])
