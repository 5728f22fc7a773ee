"""A submission from data set to metrics.json: real limbs, the yardstick's container, the evaluation's container.

Each step is one that the platform takes; the same folders are scored outside Docker too, and give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from commands.command_line import files_below, synthct
from commands.evaluation_phase import evaluate
from containers.images import ROOT
from containers.running import Ended, run_container
from containers.scoring import LIMITS, Evaluation, read_strict

from synthct.dataset import CaseFiles, find_cases
from synthct.grand_challenge.layout import job_of, place_prediction
from synthct.grand_challenge.submission import write_predictions_json
from synthct.volume import read_volume

pytestmark = [pytest.mark.container, pytest.mark.slow]

CASES = ("1EXA002", "1EXA008", "1EXA024")
"""The smallest real cases that are not of the test split."""
STARTER = ROOT / "algorithms" / "lookup_table" / "starter"


@pytest.fixture(scope="module")
def data(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[CaseFiles]:
    """Three cases in a data set of their own."""
    root = tmp_path_factory.mktemp("data")
    for case in CASES:
        shutil.copytree(data_root / "sts" / "Task1" / "EX" / case, root / "Task1" / "EX" / case)
    return find_cases(root)


@pytest.fixture(scope="module")
def runs(data: list[CaseFiles], lookup_image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """One container per case, on the inputs that `prepare` lays out, with the weights as the platform unpacks them."""
    root = tmp_path_factory.mktemp("runs")
    outcome = synthct("prepare", data_root_of(data), root / "platform", "--to", "platform")
    assert outcome.code == 0, outcome.err
    return {
        files.id: run_container(
            lookup_image, root / "platform" / files.id, root / "outputs" / files.id, *LIMITS, model=STARTER
        )
        for files in data
    }


@pytest.fixture(scope="module")
def submission(data: list[CaseFiles], runs: dict[str, Ended], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation's /input: the jobs in no fixed order, each output by a uuid, and no input."""
    root = tmp_path_factory.mktemp("submission") / "input"
    jobs = []
    for files in (data[1], data[2], data[0]):
        (sct,) = (runs[files.id].output / "images" / "synthetic-ct").iterdir()
        jobs.append(job_of(files))
        place_prediction(sct, jobs[-1], root)
    write_predictions_json(root / "predictions.json", jobs)
    return root


@pytest.fixture(scope="module")
def truth(data: list[CaseFiles], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ground truth as the platform has it: unpacked from the tarball that `prepare` makes."""
    root = tmp_path_factory.mktemp("truth")
    (root / "made").mkdir()
    (root / "made" / "evaluation.json").write_text(json.dumps({"segmenters": ["tissue"]}))
    outcome = synthct("prepare", data_root_of(data), root / "made", "--to", "ground-truth")
    assert outcome.code == 0, outcome.err
    with tarfile.open(root / "made" / "ground_truth.tar.gz") as archive:
        archive.extractall(root / "unpacked", filter="data")
    return root / "unpacked"


def data_root_of(data: list[CaseFiles]) -> Path:
    return data[0].image.parents[3]


def test_each_case_gets_its_sct(runs: dict[str, Ended], data: list[CaseFiles]) -> None:
    assert tuple(runs) == CASES
    for files in data:
        ended = runs[files.id]
        assert ended.code == 0, ended.lines
        (path,) = (ended.output / "images").rglob("*.mha")
        assert read_volume(path).geometry == read_volume(files.image).geometry
        assert ended.owners == {ended.user}


def test_predictions_json_and_one_uuid_per_job_are_all_that_the_evaluation_gets(submission: Path) -> None:
    jobs = json.loads((submission / "predictions.json").read_text())
    images = [name for name in files_below(submission) if name.endswith(".mha")]
    assert sorted(name.partition("/")[0] for name in images) == sorted(job["pk"] for job in jobs)
    assert [name for name in images if any(case in name for case in CASES)] == []
    files = [name for name in files_below(submission) if (submission / name).is_file()]
    assert sorted(files) == sorted([*images, "predictions.json"])


def test_the_container_and_evaluate_write_the_same_bytes(
    submission: Path, truth: Path, evaluation_image: str, tmp_path: Path
) -> None:
    ended = Evaluation(evaluation_image, truth).run(submission, tmp_path / "output")
    assert ended.code == 0, ended.lines
    assert files_below(tmp_path / "output") == ["metrics.json"]
    outside = evaluate(submission, truth, tmp_path / "outside", "--segmenter", "tissue")
    assert (tmp_path / "output" / "metrics.json").read_bytes() == outside
    metrics = read_strict(tmp_path / "output")
    assert [row["case"] for row in metrics["results"]] == list(CASES)
    assert (metrics["simulated"], metrics["failures"], metrics["segmenter"]) == (False, [], "tissue")
    for row in metrics["results"]:
        assert 40.0 < row["mae"] < 200.0  # HU; real limbs, which no table translates well
        assert 0.0 < row["DICE"] < 1.0
        assert row["n_structures"] >= 3
