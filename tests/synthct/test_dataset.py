"""Finding cases: the layouts of 2023 and 2025, entered at every level (CONTRACT 4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import SHAPE, save_case, save_image

from synthct.anatomy import Region, Task
from synthct.dataset import find_cases
from synthct.errors import InputError


@pytest.fixture
def layout_2025(tmp_path: Path) -> Path:
    root = tmp_path / "synthRAD2025_Task1_Train"
    save_case(root / "Task1" / "AB" / "1ABA001")
    save_case(root / "Task1" / "AB" / "1ABA002", reference=False)
    save_case(root / "Task1" / "TH" / "1THB123")
    (root / "LICENSE.txt").write_text("beside Task1")
    overviews = root / "Task1" / "AB" / "overviews"
    save_image(overviews / "1ABA003" / "mr.mha")
    (overviews / "1ABA001_overview.png").write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("level", "ids"),
    [
        ("..", ["1ABA001", "1ABA002", "1THB123"]),
        (".", ["1ABA001", "1ABA002", "1THB123"]),
        ("Task1", ["1ABA001", "1ABA002", "1THB123"]),
        ("Task1/AB", ["1ABA001", "1ABA002"]),
        ("Task1/TH/1THB123", ["1THB123"]),
    ],
)
def test_2025_at_every_level(layout_2025: Path, level: str, ids: list[str]) -> None:
    cases = find_cases(layout_2025 / level)
    assert [case.id for case in cases] == ids
    assert {case.task for case in cases} == {Task.MRI}
    last = cases[-1]
    folder = layout_2025 / "Task1" / str(last.region) / last.id
    assert last.image.samefile(folder / "mr.mha")
    assert last.mask is not None
    assert last.mask.samefile(folder / "mask.mha")


def test_2025_parts_of_a_case(layout_2025: Path) -> None:
    first, second, third = find_cases(layout_2025)
    assert (first.region, third.region) == (Region.ABDOMEN, Region.THORAX)
    assert first.reference == layout_2025 / "Task1" / "AB" / "1ABA001" / "ct.mha"
    assert second.reference is None
    assert first.segmentation is None


@pytest.mark.parametrize(
    ("level", "ids"),
    [
        (".", ["1BA001", "2BB002", "2PC045"]),
        ("Task1", ["1BA001"]),
        ("Task2", ["2BB002", "2PC045"]),
        ("Task2/pelvis", ["2PC045"]),
        ("Task2/pelvis/2PC045", ["2PC045"]),
    ],
)
def test_2023_at_every_level(tmp_path: Path, level: str, ids: list[str]) -> None:
    save_case(tmp_path / "Task1" / "brain" / "1BA001", suffix=".nii.gz")
    save_case(tmp_path / "Task2" / "brain" / "2BB002", suffix=".nii.gz")
    save_case(tmp_path / "Task2" / "pelvis" / "2PC045", suffix=".nii.gz")
    save_image(tmp_path / "Task1" / "brain" / "overview" / "1BA009" / "mr.nii.gz")
    cases = find_cases(tmp_path / level)
    assert [case.id for case in cases] == ids
    assert cases[-1].image.name == ("mr.nii.gz" if ids[-1].startswith("1") else "cbct.nii.gz")


def test_task_is_a_filter(tmp_path: Path) -> None:
    save_case(tmp_path / "Task1" / "AB" / "1ABA001")
    save_case(tmp_path / "Task2" / "AB" / "2ABA001")
    assert [case.id for case in find_cases(tmp_path, task=Task.CBCT)] == ["2ABA001"]
    with pytest.raises(InputError, match=r"holds no case; expected .* with cbct\.mha"):
        find_cases(tmp_path / "Task1", task=Task.CBCT)


def test_one_case_may_mix_suffixes(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1PA001", suffix=".nii.gz")
    (folder / "mask.nii.gz").unlink()
    save_image(folder / "mask.mha")
    (case,) = find_cases(tmp_path)
    assert (case.image.name, case.mask and case.mask.name) == ("mr.nii.gz", "mask.mha")


def test_other_reference_and_segmentation(tmp_path: Path) -> None:
    voxels = np.ones(SHAPE, np.uint8)
    folder = save_case(tmp_path / "1HNC001", ct_def=voxels, segmentation=voxels)
    (case,) = find_cases(tmp_path, reference="ct_def")
    assert (case.reference, case.segmentation) == (folder / "ct_def.mha", folder / "segmentation.mha")
    (plain,) = find_cases(tmp_path)
    assert plain.reference == folder / "ct.mha"


def test_folder_names_in_small_letters(tmp_path: Path) -> None:
    save_case(tmp_path / "1aba001")
    assert [case.id for case in find_cases(tmp_path)] == ["1ABA001"]


@pytest.mark.parametrize(("link", "target"), [("anything", "1ABA001"), ("1ABA001", "stored-elsewhere")])
def test_linked_case_folder(tmp_path: Path, link: str, target: str) -> None:
    original = save_case(tmp_path / "store" / "1ABA001")
    original = original.rename(original.parent / target)
    entry = tmp_path / "view" / link
    entry.parent.mkdir()
    entry.symlink_to(original)
    (case,) = find_cases(entry)
    assert case.id == "1ABA001"
    assert case.image.samefile(original / "mr.mha")


def test_linked_data_set(tmp_path: Path, layout_2025: Path) -> None:
    (tmp_path / "view").symlink_to(layout_2025)
    assert len(find_cases(tmp_path / "view")) == 3


def test_relative_case_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(save_case(tmp_path / "1ABA001"))
    assert [case.id for case in find_cases(Path())] == ["1ABA001"]


def test_two_folders_of_one_id(tmp_path: Path) -> None:
    first = save_case(tmp_path / "a" / "1ABA001")
    second = save_case(tmp_path / "b" / "1ABA001")
    with pytest.raises(InputError, match="1ABA001 stands twice") as caught:
        find_cases(tmp_path)
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_one_folder_reached_twice_is_one_case(tmp_path: Path) -> None:
    save_case(tmp_path / "a" / "1ABA001")
    (tmp_path / "latest").symlink_to(tmp_path / "a")
    assert len(find_cases(tmp_path)) == 1


def test_folder_without_a_case(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no case"):
        find_cases(tmp_path)
    (tmp_path / "1ABA001").mkdir()
    with pytest.raises(InputError, match="holds no case"), pytest.warns(UserWarning, match="1ABA001: holds no mr.mha"):
        find_cases(tmp_path)


def test_stems_are_found_whatever_their_capitals(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    (folder / "mr.mha").rename(folder / "MR.mha")
    assert find_cases(tmp_path)[0].image == folder / "MR.mha"


def test_no_folder_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(InputError, match="no such folder") as caught:
            find_cases(path)
        assert str(path) in str(caught.value)


def test_real_data_have_cases(data_root: Path) -> None:
    with pytest.warns(UserWarning, match="sts-dicom/1EXA051: holds no mr.mha"):
        cases = find_cases(data_root)
    assert cases
    assert all(case.image.is_file() and case.region is not None for case in cases)
