"""Ground truth in both layouts: complete, each case once, ct or ct_def."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import save_case, save_image

from evaluation.submission import ScoringCase, find_references
from synthct.anatomy import CaseId
from synthct.errors import InputError, UsageError


def ids(cases: list[ScoringCase]) -> list[str]:
    return [str(case.id) for case in cases]


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """A ground truth of two cases in ct/ and mask/; one of them has a segmentation."""
    root = tmp_path / "ground_truth"
    for name in ("1HNA002", "1ABA001"):
        save_image(root / "ct" / f"{name}.mha")
        save_image(root / "mask" / f"{name}.mha")
    save_image(root / "segmentation" / "1ABA001.mha")
    return root


def test_references_of_a_data_set(tmp_path: Path) -> None:
    save_case(tmp_path / "Task1" / "HN" / "1HNA002")
    brain = save_case(
        tmp_path / "Task2" / "brain" / "2BA001", suffix=".nii.gz", segmentation=np.ones((3, 4, 5), np.uint8)
    )
    found = find_references(tmp_path)
    assert ids(found) == ["1HNA002", "2BA001"]
    assert found[1] == ScoringCase(
        CaseId.parse("2BA001"), brain / "ct.nii.gz", brain / "mask.nii.gz", brain / "segmentation.nii.gz"
    )
    assert (found[0].segmentation, found[0].prediction) == (None, None)
    assert ids(find_references(tmp_path / "Task1")) == ["1HNA002"]
    assert ids(find_references(brain)) == ["2BA001"]


def test_references_in_ct_and_mask_folders(laid_out: Path) -> None:
    found = find_references(laid_out)
    assert ids(found) == ["1ABA001", "1HNA002"]
    assert found[0] == ScoringCase(
        CaseId.parse("1ABA001"),
        laid_out / "ct" / "1ABA001.mha",
        laid_out / "mask" / "1ABA001.mha",
        laid_out / "segmentation" / "1ABA001.mha",
    )
    assert found[1].segmentation is None


@pytest.mark.parametrize("stem", ["ct", "mask"])
def test_data_set_case_without_ct_or_mask(tmp_path: Path, stem: str) -> None:
    (save_case(tmp_path / "1ABA001") / f"{stem}.mha").unlink()
    with pytest.raises(InputError, match=rf"case 1ABA001 has no {stem}\.mha"):
        find_references(tmp_path)


def test_ground_truth_that_is_incomplete(laid_out: Path) -> None:
    (laid_out / "mask" / "1HNA002.mha").unlink()
    with pytest.raises(InputError, match=r"mask: holds no mask for case 1HNA002; expected 1HNA002\.mha"):
        find_references(laid_out)
    (laid_out / "mask").rename(laid_out / "masks")
    with pytest.raises(InputError, match="mask: no such folder"):
        find_references(laid_out)


def test_ground_truth_without_any_case(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_references(tmp_path / "missing")
    with pytest.raises(InputError, match="holds no case"):
        find_references(tmp_path)
    for name in ("ct", "mask"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="ct: holds no CT"):
        find_references(tmp_path)


def test_a_case_that_stands_twice_is_the_organisers_error(tmp_path: Path, laid_out: Path) -> None:
    shutil.copy(laid_out / "mask" / "1ABA001.mha", laid_out / "mask" / "body_1aba001.mha")
    with pytest.raises(InputError, match=r"body_1aba001\.mha: case 1ABA001 stands twice; also as 1ABA001\.mha"):
        find_references(laid_out)
    for folder in ("a", "b"):
        save_case(tmp_path / "tree" / folder / "1ABA001")
    with pytest.raises(InputError, match="case 1ABA001 stands twice; also in"):
        find_references(tmp_path / "tree")


def test_a_ground_truth_file_without_an_id(laid_out: Path) -> None:
    save_image(laid_out / "ct" / "average.mha")
    with pytest.raises(InputError, match=r"average\.mha: its name holds no case id"):
        find_references(laid_out)


def test_the_deformed_ct_as_reference(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001", ct_def=np.ones((3, 4, 5), np.int16))
    assert [case.ct for case in find_references(tmp_path)] == [folder / "ct.mha"]
    assert [case.ct for case in find_references(tmp_path, reference="ct_def")] == [folder / "ct_def.mha"]
    (folder / "ct_def.mha").unlink()
    with pytest.raises(InputError, match=r"case 1ABA001 has no ct_def\.mha to score against"):
        find_references(tmp_path, reference="ct_def")


def test_a_ground_truth_folder_holds_the_reference_that_its_note_tells(laid_out: Path) -> None:
    assert ids(find_references(laid_out, reference="ct_def")) == ["1ABA001", "1HNA002"]
    for told in ("ct_def", "ct"):
        (laid_out / "dataset.json").write_text(f'{{"reference": "{told}"}}')
        assert ids(find_references(laid_out)) == ["1ABA001", "1HNA002"]
        if told == "ct_def":
            assert ids(find_references(laid_out, reference="ct_def")) == ["1ABA001", "1HNA002"]
    with pytest.raises(UsageError, match=r"dataset\.json: says that the reference is ct; expected ct_def"):
        find_references(laid_out, reference="ct_def")
