"""`synthct check --kind evaluation`: both kinds of phase, any order, strict JSON."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from containers.checks import run_check, stand_in_image
from containers.images import require_success

from synthct.grand_challenge.sandbox.evaluation_cases import make_ground_truth

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]
SYNTHCT = (sys.executable, "-c", "from synthct.cli import main; main()")


def check_judge(fault: str = "", *arguments: str | Path) -> tuple[int, dict[str, str], list[str]]:
    outcome = run_check(stand_in_image("judge.py", fault), "--kind", "evaluation", *arguments)
    assert outcome.report["kind"] == "evaluation"
    assert outcome.report["largest"] is None
    return outcome.code, outcome.broken, outcome.unchecked


def test_a_sound_evaluation_passes() -> None:
    assert check_judge() == (0, {}, [])


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("nan", {"metrics.file": "fail"}),
        ("no-file", {"metrics.file": "fail"}),
        ("null", {"metrics.numbers": "fail"}),
        ("dot", {"metrics.keys": "fail"}),
        ("order", {"evaluation.order": "fail"}),
        ("ignores-missing", {"evaluation.missing": "fail"}),
    ],
)
def test_each_fault_is_named(fault: str, broken: dict[str, str]) -> None:
    code, found, _ = check_judge(fault)
    assert (code, found) == (6, broken)


@pytest.mark.parametrize(
    ("fault", "reason"), [("no-flat", "exit 1: /input/predictions.json is missing"), ("nan-flat", "NaN is not JSON")]
)
def test_an_evaluation_of_an_algorithm_phase_needs_no_flat_folder(fault: str, reason: str) -> None:
    outcome = run_check(stand_in_image("judge.py", fault), "--kind", "evaluation")
    assert (outcome.code, outcome.broken, outcome.unchecked) == (0, {}, ["evaluation.flat"]), outcome.stderr
    found = outcome.found("evaluation.flat")
    assert found.startswith("does not score a flat folder; only a prediction phase needs it (")
    assert reason in found


@pytest.mark.parametrize("packed", [False, True])
def test_a_ground_truth_of_ones_own(tmp_path: Path, packed: bool) -> None:
    truth = tmp_path / "truth"
    make_ground_truth(truth, tmp_path / "predictions", with_settings=False)
    for path in truth.glob("*/1THA001.mha"):
        path.unlink()
    if packed:
        with tarfile.open(tmp_path / "truth.tar.gz", "w:gz") as archive:
            archive.add(truth, ".")
        shutil.rmtree(truth)
        truth = tmp_path / "truth.tar.gz"
    outcome = run_check(stand_in_image("judge.py"), "--kind", "evaluation", "--ground-truth", truth)
    assert (outcome.code, outcome.broken) == (0, {})
    assert outcome.found("evaluation.missing") == "exit 1: case 1ABA001 has no prediction"


def test_a_ground_truth_of_an_algorithm_makes_no_sense(tmp_path: Path) -> None:
    outcome = run_check("image", "--ground-truth", tmp_path)
    assert outcome.code == 2
    assert "expected it there only" in outcome.stderr


def test_an_evaluation_that_serves() -> None:
    outcome = run_check(stand_in_image("server.py", ENV="SERVED=judge"), "--kind", "evaluation")
    assert (outcome.code, outcome.broken, outcome.unchecked) == (0, {}, []), outcome.stderr
    assert outcome.report["api"] == "invoke"
    assert outcome.found("evaluation.missing") == "status 500: ValueError: case 1ABA001 has no prediction"
    assert outcome.found("invoke.stop").endswith("(2 runs)")


def test_an_evaluation_that_fails_is_not_run_further() -> None:
    outcome = run_check(
        stand_in_image("judge.py", ENTRYPOINT='["python3", "-c", "raise SystemExit(str(7))"]'), "--kind", "evaluation"
    )
    assert (outcome.code, outcome.broken) == (6, {"run.platform": "fail"})
    assert outcome.found("run.platform") == "exit 1: 7"
    assert outcome.unchecked == ["evaluation.flat", "evaluation.order", "evaluation.missing"]


@pytest.mark.slow
def test_our_own_evaluation_passes_on_a_ground_truth_of_ones_own(evaluation_image: str, tmp_path: Path) -> None:
    require_success(*SYNTHCT, "sample", tmp_path / "data", "--kind", "pelvis", "--cases", "2", "--layout", "2023")
    require_success(*SYNTHCT, "prepare", tmp_path / "data", tmp_path / "truth", "--to", "ground-truth")
    (tmp_path / "truth" / "evaluation.json").write_text('{"segmenters": ["tissue"]}')
    outcome = run_check(evaluation_image, "--kind", "evaluation", "--ground-truth", tmp_path / "truth")
    assert (outcome.code, outcome.broken, outcome.unchecked) == (0, {}, []), outcome.stderr
    assert int(outcome.found("metrics.numbers").split()[0]) >= 5


@pytest.mark.slow
def test_our_own_evaluation_passes(evaluation_image: str) -> None:
    outcome = run_check(evaluation_image, "--kind", "evaluation")
    assert (outcome.code, outcome.broken, outcome.unchecked) == (0, {}, []), outcome.stderr
    assert "1ABA001" in outcome.found("evaluation.missing")
    assert int(outcome.found("metrics.numbers").split()[0]) >= 5
