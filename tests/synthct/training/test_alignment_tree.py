"""The repaired tree on disk: what is copied, linked, converted, renamed; and that it starts empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import save_case

from synthct.dataset import CaseFiles, find_cases, load_case
from synthct.errors import InputError
from synthct.training.alignment_tree import start_tree

SaveCase = Callable[[Path], CaseFiles]


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    """A case of a tiny data set with a note and a segmentation."""
    folder = save_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001", segmentation=np.ones((3, 4, 5), np.uint8))
    (tmp_path / "data" / "dataset.json").write_text('{"simulated": true}')
    (found,) = find_cases(folder)
    return found


def test_a_case_is_taken_over_bit_for_bit(files: CaseFiles, tmp_path: Path) -> None:
    tree = start_tree(tmp_path / "new", files)
    tree.take_over(files)
    target = tmp_path / "new" / "Task1" / "EX" / "1EXA001"
    assert sorted(path.name for path in target.iterdir()) == ["ct.mha", "mask.mha", "mr.mha", "segmentation.mha"]
    for path in target.iterdir():
        assert path.read_bytes() == (files.image.parent / path.name).read_bytes()
    assert json.loads((tmp_path / "new" / "dataset.json").read_text()) == {"simulated": True}
    assert load_case(find_cases(tmp_path / "new")[0]).id == "1EXA001"


def test_a_moved_ct_is_written_with_its_mask_and_without_segmentation(files: CaseFiles, tmp_path: Path) -> None:
    case = load_case(files)
    assert case.reference is not None
    moved = case.reference.with_voxels(case.reference.voxels + 7)
    mask = case.mask.with_voxels(np.eye(4, 5, dtype=np.uint8)[None].repeat(3, axis=0))
    start_tree(tmp_path / "new", files).write(files, reference=moved, mask=mask)
    (written,) = find_cases(tmp_path / "new")
    again = load_case(written)
    assert again.reference is not None
    np.testing.assert_array_equal(again.reference.voxels, case.reference.voxels + 7)
    np.testing.assert_array_equal(again.mask.voxels, mask.voxels)
    assert again.reference.geometry == case.reference.geometry
    assert written.segmentation is None
    assert written.image.read_bytes() == files.image.read_bytes()


def test_names_and_folders_of_2023_are_kept(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "data" / "Task1" / "pelvis" / "1PA001", suffix=".nii.gz")
    (files,) = find_cases(folder)
    start_tree(tmp_path / "new", files).take_over(files)
    assert (tmp_path / "new" / "Task1" / "pelvis" / "1PA001" / "ct.nii.gz").is_file()


def test_a_tree_starts_in_a_new_folder_only(files: CaseFiles, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "old.txt").write_text("someone's work")
    with pytest.raises(InputError, match="is not empty; expected a new folder"):
        start_tree(tmp_path / "new", files)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["old.txt"]


def test_nothing_lies_in_a_tree_before_its_first_case(files: CaseFiles, tmp_path: Path) -> None:
    """So that the folder of a run that ended early can be given again."""
    tree = start_tree(tmp_path / "new", files)
    assert list((tmp_path / "new").iterdir()) == []
    start_tree(tmp_path / "new", files)
    tree.take_over(files)
    assert (tmp_path / "new" / "dataset.json").is_file()


def carried(files: CaseFiles, root: Path) -> dict[str, Path]:
    """Files of the only case of a tree, by stem, and its note."""
    folder = root / "Task1" / "EX" / files.id
    return {path.name.split(".")[0]: path for path in (*folder.iterdir(), root / "dataset.json")}


def test_writing_into_a_repaired_tree_leaves_the_given_files_alone(files: CaseFiles, tmp_path: Path) -> None:
    given = {path: path.read_bytes() for path in files.image.parent.iterdir()}
    start_tree(tmp_path / "new", files).take_over(files)
    for path in carried(files, tmp_path / "new").values():
        with path.open("r+b") as stream:  # in place, as ITK and nibabel write
            stream.write(b"overwritten")
    assert {path: path.read_bytes() for path in given} == given


def test_links_are_made_where_they_are_asked_for_but_not_of_masks_and_note(files: CaseFiles, tmp_path: Path) -> None:
    start_tree(tmp_path / "new", files, link=True).take_over(files)
    linked = {stem for stem, path in carried(files, tmp_path / "new").items() if path.stat().st_nlink > 1}
    assert linked == {"mr", "ct", "segmentation"}


def save_as_mhd(folder: Path) -> CaseFiles:
    """A case of .mhd files, whose voxels lie in .raw or .zraw files beside them."""
    save_case(folder, suffix=".mhd")
    assert len(list(folder.iterdir())) == 6
    (found,) = find_cases(folder)
    return found


def save_in_capitals(folder: Path) -> CaseFiles:
    """A case whose files are MR.MHA, CT.MHA, MASK.MHA."""
    for path in list(save_case(folder).iterdir()):
        path.rename(path.with_name(path.name.upper()))
    (found,) = find_cases(folder)
    return found


@pytest.mark.parametrize("save", [save_as_mhd, save_in_capitals])
def test_two_file_images_and_capitals_can_be_read_from_the_new_tree(tmp_path: Path, save: SaveCase) -> None:
    files = save(tmp_path / "data" / "Task1" / "EX" / "1EXA001")
    given = load_case(files)
    assert given.reference is not None
    start_tree(tmp_path / "kept", files).take_over(files)
    moved = given.reference.with_voxels(given.reference.voxels + 7)
    start_tree(tmp_path / "moved", files).write(files, reference=moved, mask=given.mask)
    for root, step in ((tmp_path / "kept", 0), (tmp_path / "moved", 7)):
        again = load_case(find_cases(root)[0])
        assert again.reference is not None
        np.testing.assert_array_equal(again.image.voxels, given.image.voxels)
        assert again.image.voxels.dtype == given.image.voxels.dtype
        assert again.image.geometry == given.image.geometry
        np.testing.assert_array_equal(again.mask.voxels, given.mask.voxels)
        np.testing.assert_array_equal(again.reference.voxels, given.reference.voxels + step)
        suffixes = {path.suffix.casefold() for path in (root / "Task1" / "EX" / "1EXA001").iterdir()}
        assert suffixes == {".mha"}
