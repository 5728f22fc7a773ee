"""`synthct prepare --to platform`: predictions.json, and sCTs laid out as a submission that the evaluation takes."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
from builders import save_image
from commands.command_line import Outcome, files_below, synthct
from commands.limb_cases import limb, save_limb

from evaluation.submission import find_predictions, find_references, match, read_notes
from synthct.grand_challenge import read_predictions_json
from synthct.volume import read_volume, write_volume

CASES = ("1EXA001", "1EXA002", "2EXA003")


def prepare(source: Path, target: Path, *options: str | Path) -> Outcome:
    return synthct("prepare", source, target, "--to", "platform", *options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, case in enumerate(CASES):
        save_limb(tmp_path / "data" / f"Task{case[0]}" / "EX" / case, seed=number)
    return tmp_path / "data"


@pytest.fixture
def scts(tmp_path: Path) -> Path:
    """One sCT per case, in names and formats of three sorts, with the manifest of starter weights."""
    folder = tmp_path / "scts"
    folder.mkdir()
    for number, name in enumerate(("1EXA001.mha", "sct_1exa002.mha", "2EXA003.nii.gz")):
        write_volume(limb("mri" if number < 2 else "cbct", number).reference, folder / name)
    (folder / "manifest.json").write_text('{"models": {"m": {"starter": true}}}')
    return folder


def test_a_submission_of_phantoms_to_the_end(data: Path, scts: Path, tmp_path: Path) -> None:
    target = tmp_path / "input"
    outcome = prepare(data, target, "--predictions", scts)
    assert (outcome.code, outcome.err) == (0, "")
    submission = find_predictions(target)
    assert (submission.kind, submission.problems) == ("algorithm phase", ())
    matched, problems = match(find_references(data), submission)
    assert [str(case.id) for case in matched] == list(CASES)
    assert problems == ()
    for number, case in enumerate(matched):
        assert case.prediction is not None
        parts = case.prediction.relative_to(target).parts
        assert parts[1:4] == ("output", "images", "synthetic-ct")
        assert str(uuid.UUID(parts[0])) == parts[0]
        assert str(uuid.UUID(case.prediction.stem)) == case.prediction.stem
        sct, expected = read_volume(case.prediction), limb("mri" if number < 2 else "cbct", number).reference
        np.testing.assert_array_equal(sct.voxels, expected.voxels)
        assert sct.geometry.difference(expected.geometry) is None
    assert matched[0].prediction is not None
    assert matched[0].prediction.read_bytes() == (scts / "1EXA001.mha").read_bytes()
    assert read_notes(target, matched)["starter"] is True


def test_predictions_json_speaks_of_the_same_uploads_as_each_input(data: Path, scts: Path, tmp_path: Path) -> None:
    target = tmp_path / "input"
    assert prepare(data, target, "--predictions", scts).code == 0
    records = json.loads((target / "predictions.json").read_text())
    assert len(records) == len(CASES)
    for record, case in zip(records, CASES, strict=True):
        assert record["inputs"] == json.loads((target / case / "inputs.json").read_text())
        assert [entry["value"] for entry in record["inputs"]] == [None, None, "Extremity"]
        names = [entry["image"]["name"] for entry in record["inputs"][:2]]
        assert names == [f"{'mr' if case[0] == '1' else 'cbct'}_{case}.mha", f"mask_{case}.mha"]
        for entry in record["inputs"][:2]:
            assert (target / case / entry["socket"]["relative_path"] / f"{entry['image']['pk']}.mha").is_file()
    assert len({record["pk"] for record in records}) == len(CASES)


def test_without_predictions_each_output_waits_for_a_run(data: Path, tmp_path: Path) -> None:
    """Run each DST/<case> with its output at DST/<pk>/output: then DST is the evaluation's /input."""
    target = tmp_path / "input"
    assert prepare(data, target).code == 0
    records = json.loads((target / "predictions.json").read_text())
    submission = find_predictions(target)
    assert submission.predictions == {}
    assert [problem.case for problem in submission.problems] == list(CASES)
    for record, case in zip(records[:2], CASES[:2], strict=True):
        output = target / record["pk"] / "output"
        assert output.is_dir()
        variables = {"INPUT_FOLDER": str(target / case), "OUTPUT_FOLDER": str(output), "SYNTHCT_STARTER": "1"}
        outcome = synthct("run", "lookup-table", cwd=tmp_path, **variables)
        assert outcome.code == 0, outcome.err
    matched, problems = match(find_references(data), find_predictions(target))
    assert [str(case.id) for case in matched] == list(CASES[:2])
    assert [problem.case for problem in problems] == [CASES[2]]
    assert "is no folder" in problems[0].message
    assert synthct("predict", "lookup-table", target / CASES[0], tmp_path / "sct", "--starter").code == 0
    assert matched[0].prediction is not None
    predicted = read_volume(tmp_path / "sct" / f"{CASES[0]}.mha")
    np.testing.assert_array_equal(read_volume(matched[0].prediction).voxels, predicted.voxels)


def test_running_again_changes_nothing(data: Path, scts: Path, tmp_path: Path) -> None:
    target = tmp_path / "input"
    for _ in range(2):
        assert prepare(data, target, "--predictions", scts).code == 0
        names = files_below(target)
        again = {name: (target / name).read_bytes() for name in names if (target / name).is_file()}
    assert prepare(data, target).code == 0  # the outputs that lie there are kept
    assert {name: (target / name).read_bytes() for name in files_below(target) if (target / name).is_file()} == again


def test_the_manifest_goes_with_its_predictions(data: Path, scts: Path, tmp_path: Path) -> None:
    target = tmp_path / "input"
    assert prepare(data, target, "--predictions", scts).code == 0
    (scts / "manifest.json").unlink()
    assert prepare(data, target, "--predictions", scts).code == 0
    assert not (target / "manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", ["2 of 3 cases have no sCT here: 1EXA001, 2EXA003"]),
        ("twice", ["case 1EXA001 stands twice"]),
        ("nameless", ["average.mha: its name holds no case id"]),
        ("none", ["scts: no such folder"]),
    ],
)
def test_predictions_that_are_incomplete_or_unclear(
    data: Path, scts: Path, tmp_path: Path, change: str, words: list[str]
) -> None:
    if change == "missing":
        (scts / "1EXA001.mha").unlink()
        (scts / "2EXA003.nii.gz").unlink()
    elif change == "twice":
        shutil.copy(scts / "1EXA001.mha", scts / "b_1EXA001.mha")
    elif change == "nameless":
        save_image(scts / "average.mha")
    else:
        shutil.rmtree(scts)
    outcome = prepare(data, tmp_path / "input", "--predictions", scts)
    assert (outcome.code, outcome.out) == (3, "")
    assert [word for word in words if word not in outcome.reason] == []
    assert not (tmp_path / "input").exists()


def test_predictions_of_other_cases_are_left_out_with_a_warning(data: Path, scts: Path, tmp_path: Path) -> None:
    outcome = prepare(data / "Task1", tmp_path / "input", "--predictions", scts)
    assert outcome.code == 0
    assert outcome.reason.endswith("1 sCTs are of no case and left out: 2EXA003")
    jobs, problems = read_predictions_json(tmp_path / "input" / "predictions.json")
    assert ([str(job.case) for job in jobs], problems) == (list(CASES[:2]), ())


def test_a_sct_is_not_put_beside_another_output(data: Path, scts: Path, tmp_path: Path) -> None:
    target = tmp_path / "input"
    assert prepare(data, target).code == 0
    pk = json.loads((target / "predictions.json").read_text())[1]["pk"]
    other = save_image(target / pk / "output" / "images" / "synthetic-ct" / "of-a-run.mha")
    before = files_below(target)
    outcome = prepare(data, target, "--predictions", scts)
    assert outcome.code == 3
    assert f"{other}: another run's output lies here" in outcome.reason
    assert files_below(target) == before


@pytest.mark.parametrize("place", ["scts", "scts/inner", "."])
def test_the_target_lies_apart_from_the_predictions(data: Path, scts: Path, tmp_path: Path, place: str) -> None:
    data.rename(tmp_path.parent / f"{tmp_path.name} data")
    before = files_below(tmp_path)
    outcome = prepare(tmp_path.parent / f"{tmp_path.name} data", tmp_path / place, "--predictions", scts)
    assert outcome.code == 2
    assert "apart" in outcome.reason
    assert files_below(tmp_path) == before


def test_both_phases_score_alike(data: Path, scts: Path, tmp_path: Path) -> None:
    assert prepare(data, tmp_path / "input", "--predictions", scts).code == 0
    assert synthct("prepare", data, tmp_path / "truth", "--to", "ground-truth").code == 0
    content = []
    for source in (scts, tmp_path / "input"):
        output = tmp_path / f"scores of {source.name}"
        outcome = synthct("evaluate", source, tmp_path / "truth", output, "--segmenter", "tissue")
        assert outcome.code == 0, outcome.err
        content.append(json.loads((output / "metrics.json").read_text()))
    assert [row["case"] for row in content[1]["results"]] == list(CASES)
    assert content[0]["results"] == content[1]["results"]
    assert (content[1]["starter"], content[1]["registration"], content[1]["reference"]) == (True, "unknown", "ct")
