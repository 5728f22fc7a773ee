"""`synthct train` killed at a random step, ended by a signal, in two processes, started from other weights."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands.command_line import PROGRAM, synthct
from commands.tiny_training import ONE_THREAD, outputs, save_limbs, write_settings
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_limbs(tmp_path_factory.mktemp("limbs"), count=3)


def start(arguments: list[str | Path], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def stop_at(process: subprocess.Popen[str], iteration: int, number: signal.Signals) -> tuple[int, str]:
    """Send a signal once the log tells of an iteration; exit code and the last line of stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"iteration {iteration}/"):
            process.send_signal(number)
            break
    lines = [line for line in process.communicate(timeout=120)[1].splitlines() if line.strip()]
    return process.returncode, lines[-1] if lines else ""


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 12 iterations, a checkpoint every 4."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    config = write_settings(run_dir.parent / "tiny.yaml", epochs=3)
    outcome = synthct("train", "pix2pix-pelvis", data, run_dir, "--config", config, "--device", "cpu", **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    return run_dir


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_run_that_was_stopped_ends_as_if_it_had_not_been(
    data: Path, whole: Path, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first checkpoint, at an iteration drawn anew in every test run; resumed: the same bytes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    iteration = random.SystemRandom().randint(5, 11)
    run_dir = tmp_path / "run"
    command = ["train", "pix2pix-pelvis", data, run_dir, "--config", whole.parent / "tiny.yaml", "--device", "cpu"]
    code, reason = stop_at(start(command, dict(os.environ)), iteration, number)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    elif code != 0:  # 0 where the last iteration was already behind it
        assert code == 128 + number
        assert re.search(rf"training ended by {number.name} after iteration [0-9]+; .*checkpoint\.pt", reason)
    if code != 0:
        assert not (run_dir / "weights.safetensors").exists()
    resumed = synthct(*command, "--resume", **ONE_THREAD)
    assert resumed.code == 0, resumed.err
    assert (run_dir / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes(), iteration
    one, other = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (run_dir, whole))
    assert str(one) == str(other)
    assert [line.split(",")[0] for line in (run_dir / "history.csv").read_text().splitlines()] == [
        line.split(",")[0] for line in (whole / "history.csv").read_text().splitlines()
    ]


def test_two_processes_train_one_model(data: Path, tmp_path: Path) -> None:
    """Two gloo processes: one model, one voice. The second process is started by the command's own name."""
    config = write_settings(tmp_path / "tiny.yaml")
    program = Path(sys.executable).parent / "synthct"
    two = ("--device", "cpu", "--devices", "2")
    result = subprocess.run(
        [program, "train", "pix2pix-pelvis", data, tmp_path / "run", "--config", config, *two],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | ONE_THREAD,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("model folder") == 1
    assert result.stderr.count("iteration 4/4") == 1
    assert outputs(tmp_path / "run") == [
        "checkpoint.pt",
        "config.yaml",
        "history.csv",
        "model.json",
        "run.json",
        "weights.safetensors",
    ]


def test_run_starts_from_given_weights(data: Path, whole: Path, tmp_path: Path) -> None:
    """With a learning rate near 0 the weights stay those given; without --init they are others."""
    text = (whole.parent / "tiny.yaml").read_text().replace("0.001", "1e-12")
    (tmp_path / "still.yaml").write_text(text)
    runs = {}
    for name, options in (("init", ("--init", whole)), ("fresh", ())):
        command = ("train", "pix2pix-pelvis", data, tmp_path / name, "--config", tmp_path / "still.yaml")
        outcome = synthct(*command, "--max-steps", "1", "--device", "cpu", *options, **ONE_THREAD)
        assert outcome.code == 0, outcome.err
        runs[name] = load_file(tmp_path / name / "weights.safetensors")
    given = load_file(whole / "weights.safetensors")
    assert all(torch.equal(runs["init"][name], tensor) for name, tensor in given.items())
    assert not all(torch.equal(runs["fresh"][name], tensor) for name, tensor in given.items())


def test_run_resumed_with_other_settings_is_refused(data: Path, whole: Path, tmp_path: Path) -> None:
    other = write_settings(tmp_path / "other.yaml", epochs=3, ema=0.5)
    outcome = synthct("train", "pix2pix-pelvis", data, whole, "--config", other, "--resume", **ONE_THREAD)
    assert outcome.code == 4
    assert "config.yaml: was trained with loop.ema 0.9, this call has 0.5" in outcome.reason
    assert (whole / "config.yaml").read_bytes() == (whole.parent / "tiny.yaml").read_bytes()
