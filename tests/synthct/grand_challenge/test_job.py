"""What the platform hands over: uuid names, inputs.json in its three forms, region, mask (CONTRACT 1.1 to 1.3, 2.3)."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from builders import save_case, save_image

from synthct.anatomy import Region, RegionWarning, Task
from synthct.errors import ContractError, InputError
from synthct.grand_challenge.job import Job, is_platform_folder, read_job

IMAGE_NAME, MASK_NAME = "0b6f1d8e-4a53-4c1f-9d51-2f0c6f6f9a10", "f3c6a2f0-7f0e-4a1b-8a56-5d2b3b3f7c21"


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    """An /input for an MR of the abdomen, without inputs.json."""
    source = tmp_path / "input"
    save_image(source / "images" / "mri" / f"{IMAGE_NAME}.mha")
    save_image(source / "images" / "body" / f"{MASK_NAME}.mha")
    (source / "region.json").write_text('"Abdomen"')
    return source


def _entry(keys: tuple[str, ...], path: str, *, image: str | None = None, value: Any = None) -> dict[str, Any]:
    socket = {"slug": path.replace("/", "-"), "relative_path": path}
    entry: dict[str, Any] = dict.fromkeys(keys, socket)
    upload = None if image is None else {"pk": str(uuid.uuid4()), "name": image}
    return entry | {"image": upload, "value": value, "file": None, "pk": 1}


def _write_inputs(source: Path, *entries: Any) -> None:
    (source / "inputs.json").write_text(json.dumps(list(entries)))


def _read(source: Path, **more: Any) -> Job:
    return read_job(source, source.parent / "output", **more)


def test_uuid_names_without_inputs_json(platform: Path) -> None:
    job = _read(platform)
    assert job.files.image == platform / "images" / "mri" / f"{IMAGE_NAME}.mha"
    assert job.files.mask == platform / "images" / "body" / f"{MASK_NAME}.mha"
    assert (job.files.id, job.files.task, job.files.region) == (IMAGE_NAME, Task.MRI, Region.ABDOMEN)
    assert job.files.reference is None
    assert job.region_file == platform / "region.json"
    assert job.output_folder == platform.parent / "output"


@pytest.mark.parametrize("keys", [("socket",), ("interface",), ("socket", "interface")])
def test_inputs_json_names_the_case_and_the_region(platform: Path, keys: tuple[str, ...]) -> None:
    (platform / "region.json").unlink()
    _write_inputs(
        platform,
        _entry(keys, "region.json", value="Thorax"),
        _entry(keys, "images/body", image="mask_1THA007.mha"),
        _entry(keys, "images/mri", image="mr_1THA007.mha"),
    )
    job = _read(platform)
    assert (job.files.id, job.files.region) == ("1THA007", Region.THORAX)
    assert job.files.image.stem == IMAGE_NAME


def test_name_of_the_image_counts_most(platform: Path) -> None:
    _write_inputs(
        platform,
        _entry(("socket",), "images/body", image="mask_1ABB002.mha"),
        _entry(("socket",), "images/mri", image="1ABA001.mha"),
    )
    assert _read(platform).files.id == "1ABA001"


def test_file_names_tell_the_case_where_inputs_json_does_not(platform: Path) -> None:
    image = platform / "images" / "mri" / f"{IMAGE_NAME}.mha"
    image.rename(image.with_name("1ABA001.mha"))
    _write_inputs(platform, _entry(("socket",), "images/mri", image="scan.mha"))
    assert _read(platform).files.id == "1ABA001"


@pytest.mark.parametrize("content", ["", "{", "{}", '"text"', "[" * 100_000])
def test_broken_inputs_json(platform: Path, content: str) -> None:
    (platform / "inputs.json").write_text(content)
    with pytest.raises(ContractError, match=r"inputs\.json") as caught:
        _read(platform)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        {},
        {"socket": "images/mri", "image": "1ABA001"},
        {"socket": None, "interface": None, "image": {"name": None}},
        {"socket": {"relative_path": 7}, "image": {}, "value": 7},
    ],
)
def test_odd_entries_are_passed_over(platform: Path, entry: Any) -> None:
    _write_inputs(platform, entry, _entry(("socket",), "images/mri", image="1ABA001.mha"))
    assert _read(platform).files.id == "1ABA001"


def test_region_of_the_call_comes_first(platform: Path) -> None:
    assert _read(platform, region=Region.BRAIN).files.region is Region.BRAIN


def test_unknown_region_value_falls_back_to_the_file(platform: Path) -> None:
    _write_inputs(platform, _entry(("socket",), "region.json", value="Left Foot"))
    assert _read(platform).files.region is Region.ABDOMEN


@pytest.mark.parametrize("content", ['"Left Foot"', "", None])
def test_region_falls_back_to_the_case_id(platform: Path, content: str | None) -> None:
    (platform / "region.json").unlink()
    if content is not None:
        (platform / "region.json").write_text(content)
    _write_inputs(platform, _entry(("socket",), "images/mri", image="1HNA001.mha"))
    with pytest.warns(RegionWarning) as caught:
        assert _read(platform).files.region is Region.HEAD_NECK
    assert len(caught) == 1


def test_region_that_nothing_tells(platform: Path) -> None:
    (platform / "region.json").unlink()
    with pytest.warns(RegionWarning):
        assert _read(platform).files.region is None


@pytest.mark.parametrize("name", ["x.mha", "x.MHA", "x.nii.gz", "x.nii", "x.nrrd", "x.tif", "x.tiff"])
def test_every_input_format(tmp_path: Path, name: str) -> None:
    for folder in ("cbct", "body"):
        path = tmp_path / "images" / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no voxel is read here")
    job = _read(tmp_path, region=Region.BRAIN)
    assert (job.files.id, job.files.task, job.files.image.name) == ("x", Task.CBCT, name)


def test_both_task_folders(platform: Path) -> None:
    cbct = platform / "images" / "cbct"
    cbct.mkdir()
    assert _read(platform).files.task is Task.MRI  # the other one is empty
    save_image(cbct / f"{uuid.uuid4()}.mha")
    with pytest.raises(ContractError, match="images/mri and images/cbct"):
        _read(platform)
    assert _read(platform, task=Task.CBCT).files.image.parent == cbct


def test_neither_task_folder(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    assert not is_platform_folder(tmp_path / "input")
    with pytest.raises(ContractError, match="input: holds nothing, no images/mri and no images/cbct; expected one of"):
        _read(tmp_path / "input")
    for name in ("mr.mha", "mask.mha", "ct.mha"):
        (tmp_path / "input" / name).write_bytes(b"")
    with pytest.raises(ContractError, match=r"holds ct\.mha, mask\.mha, mr\.mha, no images/mri .*--to platform makes"):
        _read(tmp_path / "input")
    (tmp_path / "input" / "a.json").write_bytes(b"")
    with pytest.raises(ContractError, match=r"holds a\.json, ct\.mha, mask\.mha, \.\.\., no images/mri"):
        _read(tmp_path / "input")


def test_platform_folder(platform: Path) -> None:
    assert is_platform_folder(platform)
    assert not is_platform_folder(platform / "images")
    assert not is_platform_folder(save_case(platform.parent / "1ABA001"))


@pytest.mark.parametrize("folder", ["mri", "body"])
def test_two_images_in_a_folder(platform: Path, folder: str) -> None:
    save_image(platform / "images" / folder / "second.mha")
    with pytest.raises(ContractError, match="holds 2 images") as caught:
        _read(platform)
    assert f"images/{folder}" in str(caught.value)


def test_other_files_beside_the_image(platform: Path) -> None:
    for name in ("notes.txt", ".hidden.mha", "._shadow.mha"):
        (platform / "images" / "mri" / name).write_text("")
    assert _read(platform).files.id == IMAGE_NAME


def test_empty_image_folder(platform: Path) -> None:
    (platform / "images" / "mri" / f"{IMAGE_NAME}.mha").unlink()
    with pytest.raises(ContractError, match="holds 0 images"):
        _read(platform)


def test_missing_mask(platform: Path) -> None:
    mask = platform / "images" / "body" / f"{MASK_NAME}.mha"
    mask.unlink()
    mask.parent.rmdir()
    with pytest.raises(InputError, match="images/body"):
        _read(platform)
    assert _read(platform, require_mask=False).files.mask is None


def test_missing_input_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        _read(tmp_path / "input")


def test_input_is_a_link(platform: Path) -> None:
    stored = platform.rename(platform.parent / "opt-ml-input")
    platform.symlink_to(stored)
    job = _read(platform)
    assert job.files.image == platform / "images" / "mri" / f"{IMAGE_NAME}.mha"  # not resolved
    assert job.files.image.is_file()


def test_folders_within_input_are_links(platform: Path) -> None:
    stored = (platform / "images" / "mri").rename(platform.parent / "stored")
    (platform / "images" / "mri").symlink_to(stored)
    assert _read(platform).files.id == IMAGE_NAME
