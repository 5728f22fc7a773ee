"""`synthct run evaluation` where something is wrong: an exit code, one last line, and no metrics.json."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import PROGRAM, Outcome, files_below, synthct, without_privileges
from commands.evaluation_phase import CASES, TISSUE, run_evaluation, save_flat, save_platform_jobs, save_truth
from commands.limb_cases import limb
from submission_files import forge_job

from evaluation.commands.run import EvaluationRunner
from synthct.errors import InputError, UsageError, WeightsError
from synthct.phantom import make_phantom
from synthct.volume import write_volume


@pytest.fixture(autouse=True)
def _no_weights_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR", "GROUND_TRUTH_FOLDER", "NPROCS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_truth(tmp_path_factory.mktemp("truth"), TISSUE)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return save_flat(tmp_path / "flat")


def require_refusal(outcome: Outcome, code: int, *words: str) -> None:
    """The last line on stderr, all that a platform user sees, is one sentence with these words."""
    assert outcome.code == code, outcome.err
    assert outcome.reason.startswith("error: ")
    assert [word for word in words if word not in outcome.reason] == []
    assert len(outcome.reason) < 1024
    assert "Traceback" not in outcome.err


def remove(flat: Path) -> None:
    (flat / "1EXA002.mha").unlink()


def double(flat: Path) -> None:
    shutil.copy(flat / "1EXA002.mha", flat / "sct_1EXA002.mha")


def cut(flat: Path) -> None:
    phantom = limb().reference
    x, y, z = phantom.geometry.size
    write_volume(
        replace(phantom, voxels=phantom.voxels[1:], geometry=replace(phantom.geometry, size=(x, y, z - 1))),
        flat / "1EXA002.mha",
    )


def spoil(flat: Path) -> None:
    (flat / "1EXA002.mha").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove, ["case 1EXA002 has no prediction; expected its sCT as 1EXA002.mha"]),
        (double, ["case 1EXA002 stands twice, as 1EXA002.mha and sct_1EXA002.mha"]),
        (cut, ["case 1EXA002", "40 x 40 x 11; expected 40 x 40 x 12"]),
        (spoil, ["case 1EXA002", "flat/1EXA002.mha"]),
    ],
)
def test_one_bad_case_fails_the_whole_evaluation_in_the_words_of_evaluate(
    truth: Path, flat: Path, tmp_path: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    damage(flat)
    output = tmp_path / "output"
    output.mkdir()
    (output / "metrics.json").write_text("of an earlier run")
    outcome = run_evaluation(flat, truth, output)
    require_refusal(outcome, 3, "1 of 3 cases could not be scored", *words)
    assert files_below(output) == []
    other = synthct("evaluate", flat, truth, tmp_path / "evaluated", "--segmenter", "tissue")
    assert (outcome.reason, outcome.code) == (other.reason, other.code)
    assert [line for line in outcome.err.splitlines() if "is scored" in line] != []


def test_a_job_without_its_sct_and_a_case_without_a_job(truth: Path, flat: Path, tmp_path: Path) -> None:
    jobs = [forge_job(f"job-{number}", case) for number, case in enumerate(CASES[:2])]
    source = save_platform_jobs(tmp_path / "input", flat, jobs)
    shutil.rmtree(source / "job-1")
    outcome = run_evaluation(source, truth, tmp_path / "output")
    require_refusal(outcome, 3, "2 of 3 cases could not be scored; first: predictions.json: job 2 of 2 (case 1EXA002)")
    assert "warning: case 1EXA003 has no prediction; expected a job of it in predictions.json" in outcome.err
    assert files_below(tmp_path / "output") == []


def test_predictions_that_lie_too_deep_or_nowhere(truth: Path, flat: Path, tmp_path: Path) -> None:
    shutil.copytree(flat, tmp_path / "input" / "a" / "b")
    deep = run_evaluation(tmp_path / "input", truth, tmp_path / "output")
    require_refusal(deep, 3, "lies too deep", "expected files named like 1ABA001.mha at its top level")
    absent = run_evaluation(tmp_path / "absent", truth, tmp_path / "output")
    require_refusal(absent, 3, f"{tmp_path / 'absent'}: no such folder")
    assert files_below(tmp_path / "output") == []


def test_a_ground_truth_that_cannot_be_used(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "evaluation.json").write_text(json.dumps(TISSUE))
    outcome = run_evaluation(flat, tmp_path / "truth", tmp_path / "output")
    require_refusal(outcome, 3, f"{tmp_path / 'truth'}: holds no case")


def test_no_weights_is_exit_code_4_and_names_where_they_were_sought(flat: Path, tmp_path: Path) -> None:
    truth = save_truth(tmp_path / "truth", None)
    variables = {"TOTALSEG_WEIGHTS_PATH": "/from/path", "TOTALSEG_HOME_DIR": "/from/home", "HOME": "/nobody"}
    outcome = run_evaluation(flat, truth, tmp_path / "output", **variables)
    places = f"/from/path, /from/home, /opt/ml/model, {truth}/totalsegmentator, /nobody/.totalsegmentator"
    require_refusal(outcome, 4, f"are not in {places}", "evaluation.json")
    assert len(outcome.err.splitlines()) == 1
    assert files_below(tmp_path / "output") == []


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ('{"protocols": "synthrad2025"}', 3, "evaluation.json: protocols: "),
        ("{", 3, "evaluation.json: cannot be read as JSON"),
        ('{"segmenters": ["tissue", "tissue"]}', 3, "evaluation.json: segmenters: two judges bear one name"),
        ('{"segmenters": ["nnunet:../out"]}', 3, "evaluation.json: segmenters.0: "),
        ('{"segmenters": ["nnunet:absent"]}', 4, "truth/absent: no such model"),
    ],
)
def test_settings_that_cannot_be_meant(flat: Path, tmp_path: Path, settings: str, code: int, words: str) -> None:
    truth = save_truth(tmp_path / "truth", None)
    (truth / "evaluation.json").write_text(settings)
    outcome = run_evaluation(flat, truth, tmp_path / "output")
    require_refusal(outcome, code, words)
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("wanted", ["abc", "0", "-1", "2.5", "\u0661"])
def test_nprocs_that_is_no_number_of_processes(truth: Path, flat: Path, tmp_path: Path, wanted: str) -> None:
    outcome = run_evaluation(flat, truth, tmp_path / "output", NPROCS=wanted)
    require_refusal(outcome, 2, f"NPROCS={wanted}: expected a whole number of processes above 0")
    assert files_below(tmp_path / "output") == []


def test_places_that_cannot_be_written_to(truth: Path, flat: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir(mode=0o555)
    require_refusal(run_evaluation(flat, truth, output, prefix=tuple(without_privileges())), 3, f"{output}: cannot be")
    (tmp_path / "taken" / "metrics.json").mkdir(parents=True)
    require_refusal(run_evaluation(flat, truth, tmp_path / "taken"), 3, "metrics.json: cannot be removed")


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_within_seconds(tmp_path: Path) -> None:
    phantom = make_phantom("limb", seed=4, size=(144, 144, 40), spacing=(1.5, 1.5, 3.0))
    truth, source, output = tmp_path / "truth", tmp_path / "input", tmp_path / "output"
    for number in range(1, 21):
        write_volume(phantom.reference, truth / "ct" / f"1EXA{number:03d}.mha")
        write_volume(phantom.mask, truth / "mask" / f"1EXA{number:03d}.mha")
        sct = phantom.reference.with_voxels(np.roll(phantom.reference.voxels, 1, axis=2))
        write_volume(sct, source / f"1EXA{number:03d}.mha")
    (truth / "evaluation.json").write_text(json.dumps(TISSUE))
    folders = {"INPUT_FOLDER": str(source), "OUTPUT_FOLDER": str(output), "GROUND_TRUTH_FOLDER": str(truth)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "evaluation"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **folders, "NPROCS": "2"},
    ) as process:
        if process.stderr is None:
            raise RuntimeError("no stderr to read")
        lines = [process.stderr.readline() for _ in range(3)]
        worker = workers_of(process.pid)[0]
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        out, err = process.communicate(timeout=120)
        seconds = time.monotonic() - killed
    assert lines[0] == "scoring 20 cases with 2 processes\n"
    assert (process.returncode, out) == (1, "")
    reason = err.splitlines()[-1]
    assert reason.startswith("error: a worker process died after ")
    assert reason.endswith("NPROCS=1 needs less); there is no metrics.json")
    assert seconds < 20
    assert files_below(output) == []
    assert not Path(f"/proc/{worker}").exists()


def workers_of(parent: int) -> list[int]:
    """Process ids of the workers that a command has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (folder / "cmdline").exists():
            command = (folder / "cmdline").read_bytes()
            status = (folder / "status").read_text()
            if f"\nPPid:\t{parent}\n" in status and b"spawn_main" in command:
                found.append(int(folder.name))
    return sorted(found)


def test_only_the_evaluation_itself_is_run() -> None:
    for names in ([], ["lookup-table"], ["evaluation", "evaluation"]):
        with pytest.raises(UsageError, match="expected evaluation alone"):
            EvaluationRunner(names)


def test_what_is_proven_before_there_is_an_input(
    truth: Path, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INPUT_FOLDER", str(tmp_path / "absent"))
    monkeypatch.setenv("OUTPUT_FOLDER", str(tmp_path / "output"))
    monkeypatch.setenv("GROUND_TRUTH_FOLDER", str(truth))
    runner = EvaluationRunner(["evaluation"])
    runner.prepare()
    assert not (tmp_path / "output").exists()
    monkeypatch.setenv("NPROCS", "many")
    with pytest.raises(UsageError, match="NPROCS=many"):
        runner.prepare()
    monkeypatch.delenv("NPROCS")
    monkeypatch.setenv("GROUND_TRUTH_FOLDER", str(tmp_path / "no truth"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="TotalSegmentator's weights"):
        runner.prepare()
    save_truth(tmp_path / "no truth", TISSUE)
    (tmp_path / "no truth" / "mask" / "1EXA003.mha").unlink()
    with pytest.raises(InputError, match="holds no mask for case 1EXA003"):
        runner.prepare()
