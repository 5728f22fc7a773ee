"""Which file belongs to which case: by id, complete, each once; and what both sides say of themselves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import save_case, save_image

from evaluation.submission import ScoringCase, find_predictions, find_references, match, read_notes
from synthct.anatomy import CaseId
from synthct.errors import InputError, UsageError


def ids(cases: list[ScoringCase]) -> list[str]:
    return [str(case.id) for case in cases]


def case(text: str, folder: Path = Path("nowhere")) -> ScoringCase:
    return ScoringCase(CaseId.parse(text), folder / "ct.mha", folder / "mask.mha")


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


def test_predictions_by_the_id_in_their_names(tmp_path: Path) -> None:
    names = ["sct_1HNA001.mha", "1abA002.mha", "2PC045.nii.gz"]
    for name in [*names, "._1THA001.mha", "manifest.json", "notes.txt", "spread/1HNA001.mha", "nested/1THA009.mha"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no voxel is read here")
    found = find_predictions(tmp_path)
    assert {str(key): path for key, path in found.items()} == {
        "1HNA001": tmp_path / "sct_1HNA001.mha",
        "1ABA002": tmp_path / "1abA002.mha",
        "2PC045": tmp_path / "2PC045.nii.gz",
    }


def test_predictions_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_predictions(tmp_path / "missing")
    save_image(tmp_path / "nested" / "1ABA001.mha")
    with pytest.raises(InputError, match="holds no prediction"):
        find_predictions(tmp_path)
    save_image(tmp_path / "patient7.mha")
    with pytest.raises(InputError, match=r"patient7\.mha: its name holds no case id"):
        find_predictions(tmp_path)


def test_one_case_twice_names_both_files(tmp_path: Path) -> None:
    save_image(tmp_path / "1ABA001.mha")
    save_image(tmp_path / "sct_1ABA001.nii.gz")
    with pytest.raises(InputError, match=r"sct_1ABA001\.nii\.gz: case 1ABA001 stands twice; also as 1ABA001\.mha"):
        find_predictions(tmp_path)


def test_algorithm_phase_is_refused_for_now(tmp_path: Path) -> None:
    (tmp_path / "predictions.json").write_text("[]")
    with pytest.raises(UsageError, match=r"predictions\.json"):
        find_predictions(tmp_path)


def test_match_gives_each_reference_its_prediction() -> None:
    references = [case("1ABA001"), case("1HNA001")]
    predictions = {CaseId.parse("1HNA001"): Path("b.mha"), CaseId.parse("1ABA001"): Path("a.mha")}
    matched = match(references, predictions)
    assert [(str(found.id), found.prediction) for found in matched] == [
        ("1ABA001", Path("a.mha")),
        ("1HNA001", Path("b.mha")),
    ]
    assert matched[0].ct == references[0].ct


def test_match_names_what_is_missing() -> None:
    references = [case(f"1ABA00{number}") for number in range(1, 9)]
    with pytest.raises(InputError, match=r"^1 of 8 cases have no prediction: 1ABA008$"):
        match(references, {reference.id: Path("a.mha") for reference in references[:7]})
    with pytest.raises(InputError, match=r"^7 of 8 .*: 1ABA002, 1ABA003, 1ABA004, 1ABA005, 1ABA006 \.\.\.$"):
        match(references, {references[0].id: Path("a.mha")})


def test_match_warns_of_what_is_extra() -> None:
    known = case("1ABA001")
    with pytest.warns(UserWarning, match="1 predictions have no reference .* 1THA001"):
        matched = match([known], {known.id: Path("a.mha"), CaseId.parse("1THA001"): Path("b.mha")})
    assert ids(matched) == ["1ABA001"]


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (None, None),
        ({"models": {"a": {"starter": True}, "b": {"starter": False}}}, True),
        ({"models": {}}, None),
        ({"models": ["another", "program's"]}, None),
        ({"models": {"another": "program's"}}, None),
        (["another program's"], None),
    ],
)
def test_notes_tell_starter_weights(tmp_path: Path, manifest: Any, expected: bool | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    notes = read_notes(tmp_path, [case("1ABA001", tmp_path)])
    assert notes["starter"] is expected
    assert notes["prediction"] == (manifest if isinstance(manifest, dict) else {})


def test_only_a_manifest_of_these_very_files_says_not_starter(tmp_path: Path) -> None:
    """Predictions that were replaced since, or never listed, have unknown weights."""
    sct = tmp_path / "1ABA001.mha"
    sct.write_bytes(b"one")
    scored = replace(case("1ABA001", tmp_path), prediction=sct)
    row = {"case": "1ABA001", "sct_sha256": hashlib.sha256(b"one").hexdigest()}
    manifest = {"models": {"b": {"starter": False}}, "cases": [row]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert read_notes(tmp_path, [scored])["starter"] is False
    sct.write_bytes(b"two")
    for rows in ([row], [], [{"case": "1ABA001"}]):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "cases": rows}))
        with pytest.warns(UserWarning, match=r"manifest\.json: does not describe these predictions"):
            assert read_notes(tmp_path, [scored])["starter"] is None


@pytest.mark.parametrize("ct", ["ct/1ABA001.mha", "Task1/AB/1ABA001/ct.mha", "1ABA001/ct.mha"])
def test_notes_tell_simulated_data(tmp_path: Path, ct: str) -> None:
    folder = (tmp_path / "data" / ct).parent
    folder.mkdir(parents=True)
    (tmp_path / "data" / "dataset.json").write_text('{"simulated": true, "seed": 7}')
    notes = read_notes(tmp_path, [case("1THA001", tmp_path / "other"), case("1ABA001", folder)])
    assert notes["simulated"] is True
    assert notes["dataset"] == {"simulated": True, "seed": 7}
    real = read_notes(tmp_path, [case("1THA001", tmp_path / "other")])
    assert (real["simulated"], real["dataset"]) == (False, {})


def test_one_simulated_data_set_marks_them_all(tmp_path: Path) -> None:
    for name, simulated in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text(json.dumps({"simulated": simulated, "name": name}))
    notes = read_notes(tmp_path, [case("1ABA001", tmp_path / "a"), case("1ABA002", tmp_path / "b")])
    assert (notes["simulated"], notes["dataset"]["name"]) == (True, "b")


def test_broken_notes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read as JSON"):
        read_notes(tmp_path, [])
