"""Several processes on the CPU (gloo): the steps of one process with the whole batch, and one common end."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch
from small_run import GanObjective, HeldOut, PlainObjective, finish, run, settings, start, weights

from synthct.errors import WeightsError
from synthct.training.logbook import read_history

pytestmark = pytest.mark.slow

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def losses(run_dir: Path, column: str) -> list[float]:
    return [float(row[column]) for row in read_history(run_dir / "history.csv") if column in row]


@pytest.mark.parametrize(
    ("kind", "accumulation", "columns"),
    [
        ("plain", 1, ["net_loss", "validation_mae"]),
        ("gan", 2, ["generator_loss", "discriminator_loss", "validation_mae"]),
    ],
)
def test_two_processes_reach_the_loss_of_one_with_twice_the_batch(
    tmp_path: Path, kind: str, accumulation: int, columns: list[str]
) -> None:
    plan = settings(epochs=10, log_interval=1, accumulation=accumulation, ema=0.5)
    objective = PlainObjective() if kind == "plain" else GanObjective()
    judge = HeldOut("net" if kind == "plain" else "generator")
    one = run(tmp_path / "one", objective, judge, changes=plan.model_dump(), batch=4)
    finish(start(tmp_path / "two", plan, "--kind", kind, "--batch", 2, "--devices", 2, "--validate"))
    for column in columns:
        expected = losses(tmp_path / "one", column)
        assert len(expected) == (10 if column.startswith("validation") else 20)
        assert losses(tmp_path / "two", column) == pytest.approx(expected, rel=1e-4)
    found = weights(tmp_path / "two")
    expected_weights = {
        f"{network}.{name}": tensor for network, own in one.best.items() for name, tensor in own.items()
    }
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


def test_torchrun_starts_the_same_run_and_it_can_be_resumed(tmp_path: Path) -> None:
    plan = settings(epochs=10, ema=0.5)
    options = ("--kind", "gan", "--dropout", 0.3, "--validate")
    finish(start(tmp_path / "own", plan, *options, "--devices", 2))
    finish(start(tmp_path / "torchrun", plan.limited(8), *options, launcher=TORCHRUN))
    finish(start(tmp_path / "torchrun", plan, *options, "--resume", launcher=TORCHRUN))
    expected, found = weights(tmp_path / "own"), weights(tmp_path / "torchrun")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with pytest.raises(WeightsError, match="was written with processes 2, this run has 1; expected"):
        run(tmp_path / "own", GanObjective(0.3), changes={"epochs": 10, "ema": 0.5}, resume=True)


def test_a_signal_to_the_first_process_ends_both_with_a_checkpoint(tmp_path: Path) -> None:
    plan = settings(epochs=1000, checkpoint_interval=5)
    process = start(tmp_path, plan, "--pause", 0.01, "--devices", 2)
    until = time.monotonic() + 60
    while not (tmp_path / "checkpoint.pt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    complaint = finish(process, exit_code=143)
    iteration = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["iteration"]
    line = f"error: training ended by SIGTERM after iteration {iteration}; "
    assert complaint.startswith(line)
