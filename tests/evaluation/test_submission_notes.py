"""What both sides say of themselves: simulated, starter weights, registration, reference, extractors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.submission import ScoringCase, read_notes, read_registration
from synthct.anatomy import CaseId

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def case(text: str, folder: Path = Path("nowhere"), ct: str = "ct.mha") -> ScoringCase:
    return ScoringCase(CaseId.parse(text), folder / ct, folder / "mask.mha")


def save_note(folder: Path, note: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(note))
    return folder


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


def nested(levels: int) -> str:
    return '{"models": {"m": {"starter": true}}, "a": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ("\x80", "'utf-8' codec can't decode"),
        ("[NaN", "NaN is not a finite number"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": [-Infinity]}', "-Infinity is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ('{"a": -1.5e+400}', "-1.5e+400 is not a finite number"),
        ('{"a": ' + "1" * 5000 + "}", "integer string conversion"),
        ("[" * 100_000, "nested more than 50 levels deep"),
        (nested(51), "nested more than 50 levels deep"),
        (nested(800), "nested more than 50 levels deep"),
        ("0" * (16 << 20) + " ", "larger than 16 MiB"),
    ],
    ids=lambda text: text[:12],
)
def test_a_manifest_that_cannot_be_used_is_as_good_as_none(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.warns(UserWarning, match="is not read") as caught:
        notes = read_notes(tmp_path, [])
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"{tmp_path / 'manifest.json'}: is not read (")
    assert reason in message
    assert "\n" not in message
    assert (notes["starter"], notes["prediction"], notes["extractors"]) == (None, {}, [])


def test_a_manifest_of_many_levels_and_large_numbers_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(nested(50).replace("[]", "[1e308, -0.5]"))
    notes = read_notes(tmp_path, [])
    assert notes["starter"] is True
    assert "[1e+308, -0.5]" in json.dumps(notes, indent=None, allow_nan=False)


def test_a_manifest_that_leads_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    content = '{"models": {"m": {"starter": true}}}'
    (tmp_path / "secret.json").write_text(content)
    (tmp_path / "input").mkdir()
    link = tmp_path / "input" / "manifest.json"
    link.symlink_to("../secret.json")
    with pytest.warns(UserWarning, match=r"manifest\.json: is not read \(a link that leads out .* copy the file"):
        notes = read_notes(tmp_path / "input", [])
    assert (notes["starter"], notes["prediction"]) == (None, {})
    (tmp_path / "input" / "other.json").write_text(content)
    link.unlink()
    link.symlink_to("other.json")
    assert read_notes(tmp_path / "input", [])["starter"] is True


def test_a_manifest_of_a_prediction_that_cannot_be_read_describes_nothing(tmp_path: Path) -> None:
    scored = replace(case("1ABA001", tmp_path), prediction=tmp_path / "gone.mha")
    row = {"case": "1ABA001", "sct_sha256": A}
    (tmp_path / "manifest.json").write_text(json.dumps({"models": {"b": {"starter": False}}, "cases": [row]}))
    with pytest.warns(UserWarning, match="does not describe these predictions"):
        assert read_notes(tmp_path, [scored])["starter"] is None


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999"])
def test_a_data_set_note_with_a_number_that_is_not_finite_is_not_read(tmp_path: Path, value: str) -> None:
    (tmp_path / "dataset.json").write_text(f'{{"simulated": true, "seed": {value}}}')
    with pytest.warns(UserWarning, match=r"dataset\.json: is no data set note of ours and is not read"):
        notes = read_notes(tmp_path / "none", [case("1ABA001", tmp_path)])
    assert (notes["dataset"], notes["simulated"]) == ({}, False)


@pytest.mark.parametrize("rows", [5, "cases", [5], [{"case": ["1ABA001"], "sct_sha256": {}}], {"1ABA001": "x"}])
def test_rows_of_another_shape_describe_nothing(tmp_path: Path, rows: Any) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"models": {"m": {"starter": False}}, "cases": rows}))
    with pytest.warns(UserWarning, match="does not describe"):
        assert read_notes(tmp_path, [case("1ABA001")])["starter"] is None


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"m": {"extractors": [B, A]}, "n": {"extractors": [C, A]}}, [A, B, C]),
        ({"m": {"extractors": []}, "n": {}}, []),
        ({"m": {"extractors": A}, "n": {"extractors": [None, 5, [A], B]}}, [B]),
        ([{"extractors": [A]}], []),
    ],
)
def test_extractors_of_all_models(tmp_path: Path, models: Any, expected: list[str]) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"models": models}))
    assert read_notes(tmp_path, [])["extractors"] == expected


def test_without_a_manifest_there_are_no_extractors(tmp_path: Path) -> None:
    assert read_notes(tmp_path, [])["extractors"] == []


@pytest.mark.parametrize(
    ("note", "registration"),
    [
        ({"registration": "rigid (as released)"}, "rigid (as released)"),
        ({"registration": "by hand,\n in two steps"}, "by hand, in two steps"),
        ({"registration": "elastix", "simulated": True}, "elastix"),
        ({"simulated": True}, "none"),
        ({"simulated": False}, "unknown"),
        ({"registration": None}, "unknown"),
        ({"registration": 5}, "unknown"),
        ({"registration": " "}, "unknown"),
        ([], "unknown"),
    ],
)
def test_registration_is_what_the_note_tells(tmp_path: Path, note: Any, registration: str) -> None:
    truth = save_note(tmp_path / "truth", note)
    assert read_registration(truth) == registration
    assert read_registration(truth / "Task1" / "AB") == registration
    inside = case("1ABA001", truth / "ct", "1ABA001.mha")
    assert read_notes(tmp_path / "predictions", [inside])["registration"] == registration


def test_without_a_note_the_registration_is_unknown(tmp_path: Path) -> None:
    assert read_registration(tmp_path / "truth") == "unknown"
    assert read_notes(tmp_path, [])["registration"] == "unknown"


def test_data_sets_that_differ_are_both_named(tmp_path: Path) -> None:
    rigid = save_note(tmp_path / "a", {"registration": "rigid", "reference": "ct"})
    deformed = save_note(tmp_path / "b", {"registration": "deformable", "reference": "ct_def"})
    notes = read_notes(tmp_path / "c", [case("1ABA001", rigid), case("1ABA002", deformed), case("1ABA003", rigid)])
    assert (notes["registration"], notes["reference"]) == ("deformable; rigid", "ct; ct_def")


def test_the_ground_truth_folder_speaks_for_linked_cts(tmp_path: Path) -> None:
    truth = save_note(tmp_path / "truth", {"registration": "rigid", "simulated": True})
    elsewhere = case("1ABA001", Path("/nowhere/else"))
    assert read_notes(tmp_path, [elsewhere])["registration"] == "unknown"
    notes = read_notes(tmp_path, [elsewhere], ground_truth=truth)
    assert (notes["registration"], notes["simulated"]) == ("rigid", True)


@pytest.mark.parametrize(
    ("note", "ct", "reference"),
    [
        ({"reference": "ct_def"}, "1ABA001.mha", "ct_def"),
        ({"reference": "ct"}, "1ABA001.mha", "ct"),
        ({"reference": "mr"}, "1ABA001.mha", None),
        ({}, "1ABA001.mha", None),
        ({}, "ct.mha", "ct"),
        ({}, "CT_def.nii.gz", "ct_def"),
    ],
)
def test_reference_by_note_or_file_name(tmp_path: Path, note: Any, ct: str, reference: str | None) -> None:
    truth = save_note(tmp_path / "truth", note)
    assert read_notes(tmp_path, [case("1ABA001", truth, ct)])["reference"] == reference


def test_notes_are_fit_for_json(tmp_path: Path) -> None:
    truth = save_note(tmp_path / "truth", {"registration": "rigid", "reference": "ct"})
    (tmp_path / "manifest.json").write_text(json.dumps({"models": {"m": {"extractors": [A], "starter": True}}}))
    notes = read_notes(tmp_path, [case("1ABA001", truth)])
    assert json.loads(json.dumps(notes, allow_nan=False)) == notes
    assert notes["random_features"] is False
    assert set(notes) == {
        *("simulated", "starter", "registration", "reference", "extractors", "random_features", "dataset"),
        *("demonstration_only", "prediction"),
    }


@pytest.mark.parametrize("mark", ["random_features", "demonstration_only"])
def test_marks_of_one_model_are_told(tmp_path: Path, mark: str) -> None:
    models = {"a": {mark: False}, "b": {mark: True}}
    (tmp_path / "manifest.json").write_text(json.dumps({"models": models}))
    notes = read_notes(tmp_path, [])
    assert [notes[name] for name in ("random_features", "demonstration_only")].count(True) == 1
    assert notes[mark] is True
