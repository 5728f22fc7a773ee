"""What an evaluation is given and must give back, and which cases a model is for."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from synthct.anatomy import Region, Task
from synthct.errors import InputError
from synthct.grand_challenge import find_flat_predictions, read_predictions_json
from synthct.grand_challenge.sandbox.declared import choose_task_and_region
from synthct.grand_challenge.sandbox.evaluation_cases import (
    find_truth,
    make_ground_truth,
    make_predictions,
    write_algorithm_phase,
    write_flat_phase,
)
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.metrics_checks import check_metrics, same_numbers
from synthct.grand_challenge.sandbox.parcel import Entry, Output
from synthct.grand_challenge.sandbox.verdict import Verdict
from synthct.volume import read_volume, write_volume

CASES = ["1ABA001", "1HNA001", "1THA001"]
SOUND = {"aggregates": {"mae": {"mean": 4.5, "std": None}, "dice": {"mean": 1}}, "results": [{"a.b": 1}]}


def judged(tmp_path: Path, text: str | None, mode: int = 0o644) -> tuple[object, dict[str, str]]:
    """What was read, and the rules that are broken."""
    entries = ()
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
        entries = (Entry(PurePosixPath("metrics.json"), "file", mode),)
    findings = Findings()
    content = check_metrics(Output(tmp_path, entries), "flat, strict", findings)
    broken = {finding.id: finding.found for finding in findings.all() if finding.verdict is not Verdict.PASS}
    return content, broken


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("evaluation")
    return folder / "truth", make_ground_truth(folder / "truth", folder / "predictions", with_settings=True)


def test_the_ground_truth_has_three_cases_of_three_regions(truth: tuple[Path, dict[str, Path]]) -> None:
    folder, predictions = truth
    assert sorted(predictions) == CASES
    for name in ("ct", "mask", "segmentation"):
        assert sorted(path.name for path in (folder / name).iterdir()) == [f"{case}.mha" for case in CASES]
    assert json.loads((folder / "evaluation.json").read_text()) == {"segmenters": ["tissue"]}
    assert json.loads((folder / "dataset.json").read_text())["simulated"] is True


def test_predictions_are_the_ct_with_noise_inside_the_mask(truth: tuple[Path, dict[str, Path]]) -> None:
    folder, predictions = truth
    for case, path in predictions.items():
        sct, ct, mask = (read_volume(place) for place in (path, folder / "ct" / path.name, folder / "mask" / path.name))
        inside = mask.voxels > 0
        assert sct.geometry.difference(ct.geometry) is None, case
        assert sct.voxels.dtype == np.int16
        assert np.all(sct.voxels[~inside] == -1000)
        error = np.abs(sct.voxels[inside].astype(int) - ct.voxels[inside]).mean()
        assert 20 < error < 40  # a normal distribution of 40 HU has a mean deviation of 32


def test_predictions_for_a_ground_truth_of_ones_own_are_not_its_cts(
    truth: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    """As NIfTI of a float type, in folders of cases, one without a mask: int16 .mha on the same grid come out."""
    folder = truth[0]
    for case in CASES[:2]:
        (tmp_path / "own" / case).mkdir(parents=True)
        ct = read_volume(folder / "ct" / f"{case}.mha")
        write_volume(ct.with_voxels(ct.voxels.astype(np.float32)), tmp_path / "own" / case / "ct.nii.gz")
    write_volume(read_volume(folder / "mask" / "1ABA001.mha"), tmp_path / "own" / "1ABA001" / "mask.nii.gz")
    found = make_predictions(find_truth(tmp_path / "own"), tmp_path / "sct")
    assert {case: path.name for case, path in found.items()} == {case: f"{case}.mha" for case in CASES[:2]}
    for case, path in found.items():
        sct, ct = read_volume(path), read_volume(folder / "ct" / f"{case}.mha")
        inside = read_volume(folder / "mask" / f"{case}.mha").voxels > 0
        assert sct.geometry.difference(ct.geometry) is None
        assert sct.voxels.dtype == np.int16
        assert 20 < np.abs(sct.voxels[inside].astype(int) - ct.voxels[inside]).mean() < 40
        assert bool(np.all(sct.voxels[~inside] == -1000)) is (case == "1ABA001")


def test_the_masks_beside_a_folder_of_cts_are_used(truth: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    folder, noisy = truth
    found = make_predictions(find_truth(folder), tmp_path / "first")
    again = make_predictions(find_truth(folder), tmp_path / "again")
    for case in CASES:
        first, inside = read_volume(found[case]).voxels, read_volume(folder / "mask" / f"{case}.mha").voxels > 0
        assert np.all(first[~inside] == -1000)
        assert np.array_equal(first, read_volume(again[case]).voxels)
    assert np.array_equal(read_volume(found["1ABA001"]).voxels, read_volume(noisy["1ABA001"]).voxels)


def test_settings_are_left_out_where_a_model_is_given(tmp_path: Path) -> None:
    make_ground_truth(tmp_path / "truth", tmp_path / "predictions", with_settings=False)
    assert not (tmp_path / "truth" / "evaluation.json").exists()


def test_the_algorithm_phase_is_read_as_the_platforms(truth: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    write_algorithm_phase(truth[1], tmp_path, order=["1THA001", "1ABA001"])
    jobs, problems = read_predictions_json(tmp_path / "predictions.json")
    assert problems == ()
    assert [str(job.case) for job in jobs] == ["1THA001", "1ABA001"]
    assert [job.prediction.read_bytes() for job in jobs] == [truth[1][str(job.case)].read_bytes() for job in jobs]


def test_by_default_all_jobs_are_there(truth: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    write_algorithm_phase(truth[1], tmp_path)
    assert [str(job.case) for job in read_predictions_json(tmp_path / "predictions.json")[0]] == CASES


def test_the_flat_phase_has_inputs_json_beside_the_files(truth: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    write_flat_phase(truth[1], tmp_path)
    found, problems = find_flat_predictions(tmp_path)
    assert (sorted(map(str, found)), problems) == (CASES, ())
    (entry,) = json.loads((tmp_path / "inputs.json").read_text())
    assert entry["socket"]["super_kind"] == "File"


def test_the_cts_of_either_layout_are_found(tmp_path: Path) -> None:
    for name in (
        "flat/ct/1ABA001.mha",
        "flat/mask/1ABA001.mha",
        "tree/Task1/AB/1ABA001/ct.mha",
        "nifti/ct/1BA001.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_truth(tmp_path / "flat") == {"1ABA001": tmp_path / "flat/ct/1ABA001.mha"}
    assert find_truth(tmp_path / "tree") == {"1ABA001": tmp_path / "tree/Task1/AB/1ABA001/ct.mha"}
    assert list(find_truth(tmp_path / "nifti")) == ["1BA001"]
    with pytest.raises(InputError, match="holds no CT of a case"):
        find_truth(tmp_path / "flat" / "mask")


def test_sound_metrics_are_handed_back(tmp_path: Path) -> None:
    assert judged(tmp_path, json.dumps(SOUND)) == (SOUND, {})


@pytest.mark.parametrize("text", ["{}", '{"aggregates": 3}', '{"score": 1.5}', '{"aggregates": {"mae": 4}}'])
def test_other_peoples_metrics_need_no_aggregates(tmp_path: Path, text: str) -> None:
    assert judged(tmp_path, text) == (json.loads(text), {})


@pytest.mark.parametrize("text", [None, "", "[1]", "{", '{"a": NaN}', '{"a": -Infinity}', "3", "[" * 200_000])
def test_what_is_no_object_of_strict_json(tmp_path: Path, text: str | None) -> None:
    content, broken = judged(tmp_path, text)
    assert content is None
    assert list(broken) == ["metrics.file"]


def test_metrics_that_others_may_not_read(tmp_path: Path) -> None:
    assert list(judged(tmp_path, "{}", 0o600)[1]) == ["metrics.file"]


@pytest.mark.parametrize(("text", "key"), [('{"a.b": 1}', "a.b"), ('{"aggregates": {"25.pc": {}}}', "25.pc")])
def test_dots_in_keys(tmp_path: Path, text: str, key: str) -> None:
    assert judged(tmp_path, text)[1] == {"metrics.keys": key}


@pytest.mark.parametrize("mean", [None, "4", True, [4]])
def test_means_that_are_no_numbers(tmp_path: Path, mean: object) -> None:
    broken = judged(tmp_path, json.dumps({"aggregates": {"mae": {"mean": mean}, "ssim": {"mean": 1}}}))[1]
    assert broken == {"metrics.numbers": f"mae is {json.dumps(mean)}"}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"a": 1.0, "b": [1, "x", None]}, {"b": [1, "x", None], "a": 1}, True),
        ({"a": 1.0}, {"a": 1.0 + 1e-12}, True),
        ({"a": 1.0}, {"a": 1.0 + 1e-6}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": True}, {"a": 1.5}, False),
        (None, None, True),
        (None, {}, False),
    ],
)
def test_same_numbers(first: object, second: object, same: bool) -> None:
    assert same_numbers(first, second) is same


def model(folder: Path, **files: object) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_users_word_comes_first(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model={"tasks": ["cbct"], "regions": ["TH"]})
    assert choose_task_and_region(Task.MRI, Region.BRAIN, folder) == (Task.MRI, Region.BRAIN)
    assert choose_task_and_region(None, None, None) == (Task.MRI, Region.ABDOMEN)
    assert choose_task_and_region(Task.CBCT, None, None) == (Task.CBCT, Region.ABDOMEN)


def test_a_model_says_what_it_is_for(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model={"tasks": ["cbct"], "regions": ["TH", "HN"]})
    assert choose_task_and_region(None, None, folder) == (Task.CBCT, Region.THORAX)
    assert choose_task_and_region(None, Region.HEAD_NECK, folder) == (Task.CBCT, Region.HEAD_NECK)


def test_routes_go_before_the_card_and_stars_are_passed_over(tmp_path: Path) -> None:
    routes = {"mri/*": "any", "x/AB": "a", "mri/EX": "b", "cbct/P": "c"}
    folder = model(tmp_path / "m", routes=routes, model={"tasks": ["cbct"], "regions": ["TH"]})
    assert choose_task_and_region(None, None, folder) == (Task.MRI, Region.EXTREMITY)
    assert choose_task_and_region(Task.CBCT, None, folder) == (Task.CBCT, Region.PELVIS)


def test_other_peoples_models_declare_nothing(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model=["weights"], routes={"a": 1})
    assert choose_task_and_region(None, None, folder) == (Task.MRI, Region.ABDOMEN)


def test_a_models_tarball_is_read_too(tmp_path: Path) -> None:
    content = json.dumps({"tasks": ["mri"], "regions": ["P"]}).encode()
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("./model.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    assert choose_task_and_region(None, None, tmp_path / "model.tar.gz") == (Task.MRI, Region.PELVIS)


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_model_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.tar\.gz"):
        choose_task_and_region(None, None, tmp_path / "model.tar.gz")


def test_a_card_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.json"):
        choose_task_and_region(None, None, tmp_path)
