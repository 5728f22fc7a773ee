"""Checkpoints: what they hold, what they refuse, and that a kill while one is written leaves the one before."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mounts import mounted_disk
from small_run import GanObjective, HeldOut, PlainObjective, finish, run, settings, start

from synthct.errors import DiskFullError, OutputError, UsageError, WeightsError
from synthct.files import PARTIAL_FOLDER


def test_a_checkpoint_holds_all_that_training_changes(tmp_path: Path) -> None:
    run(tmp_path, GanObjective(), HeldOut("generator"), changes={"ema": 0.5}, fingerprint="data 1")
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state = content["state"]
    assert content["identity"]["fingerprint"] == "data 1"
    assert (state["iteration"], state["validated"]) == (10, 10)
    assert set(state["best"]["weights"]) == {"generator", "discriminator", "idle"}
    assert state["best"]["score"] > 0
    assert set(state["networks"]) == set(state["average"]) == {"generator", "discriminator", "idle"}
    assert set(state["optimisers"]) == {"generator", "discriminator"}
    assert "momentum_buffer" in state["optimisers"]["generator"]["state"][0]
    assert len(content["random"]) == 1
    assert list(tmp_path.glob(PARTIAL_FOLDER)) == []


def test_a_checkpoint_is_written_at_its_interval(tmp_path: Path) -> None:
    class Stopping(HeldOut):
        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            raise KeyError("power cut")

    with pytest.raises(KeyError, match="power cut"):
        run(tmp_path, validation=Stopping(), changes={"checkpoint_interval": 3, "validation_interval": 8})
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["iteration"] == 6


@pytest.mark.parametrize(
    ("changes", "fingerprint", "reason"),
    [
        ({"epochs": 6}, "a", r"was written with epochs 5, this run has 6"),
        ({"ema": 0.5}, "a", r"was written with ema 0\.0, this run has 0\.5"),
        ({"seed": 3}, "a", r"was written with seed 0, this run has 3"),
        ({}, "b", r"was written with fingerprint 'a', this run has 'b'"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, changes: dict[str, object], fingerprint: str, reason: str) -> None:
    run(tmp_path, fingerprint="a")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(WeightsError, match=rf"checkpoint\.pt: {reason}; expected the same settings"):
        run(tmp_path, changes=changes, fingerprint=fingerprint, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_other_networks_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(WeightsError, match=r"cannot be gone on from \(it holds net; expected generator"):
        run(tmp_path, GanObjective(), resume=True)


def test_what_changes_no_weight_may_differ(tmp_path: Path) -> None:
    run(tmp_path, changes={"max_steps": 4, "log_interval": 2, "checkpoint_interval": 1, "image_interval": 9})
    assert run(tmp_path, resume=True).iterations == 10


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK\x03\x04", b"cos\nsystem\n(S'true'\ntR."):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"checkpoint\.pt: cannot be gone on from"):
            run(tmp_path, resume=True)


def test_there_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"checkpoint\.pt: no such file; expected a checkpoint"):
        run(tmp_path, resume=True)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / PARTIAL_FOLDER).write_text("in the way")
    with pytest.raises((OutputError, DiskFullError), match=r"cannot be written"):
        run(tmp_path, PlainObjective())


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    """torch has a word of its own for it, of positions in a zip."""
    with mounted_disk(tmp_path / "disk", size=1 << 20) as disk:
        run(disk, GanObjective(ballast=50), changes={"max_steps": 2})
        before = (disk / "checkpoint.pt").read_bytes()
        room = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize - len(before) // 2))
        with pytest.raises(DiskFullError, match=r"checkpoint\.pt: cannot be written \("):
            run(disk, GanObjective(ballast=50), resume=True)
        assert (disk / "checkpoint.pt").read_bytes() == before
        assert list(disk.glob(PARTIAL_FOLDER)) == []


def bytes_of_the_half_written(run_dir: Path) -> int:
    """Size of a checkpoint that is being written; 0 where none is, or none any more."""
    with suppress(FileNotFoundError):  # of the folder as of the file: both go away at any moment
        for path in run_dir.glob(f"{PARTIAL_FOLDER}/*/checkpoint.pt"):
            return path.stat().st_size
    return 0


def kill_within_a_checkpoint(process: subprocess.Popen[str], run_dir: Path) -> bool:
    """Kill a run while it replaces its checkpoint by another; False where the write was over first."""
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None:
        if (run_dir / "checkpoint.pt").exists() and bytes_of_the_half_written(run_dir) > 1 << 20:
            break
    process.kill()
    process.communicate()
    return bytes_of_the_half_written(run_dir) > 0


@pytest.mark.slow
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    plan = settings(checkpoint_interval=1, epochs=1000)
    options = ("--kind", "gan", "--ballast", 10_000)
    process = start(tmp_path, plan, *options)
    while not kill_within_a_checkpoint(process, tmp_path):
        process = start(tmp_path, plan, *options, "--resume")
    whole = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["iteration"]
    assert whole >= 1
    finish(start(tmp_path, plan.limited(whole + 1), *options, "--resume"))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["iteration"] == whole + 1
