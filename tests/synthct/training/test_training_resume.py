"""A run that is ended anywhere and taken up ends with the weights, the best and the history of one that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from small_run import GanObjective, HeldOut, IndexedSource, PlainObjective, finish, run, settings, start, weights

from synthct.training.interruption import Interruption, TrainingInterruptedError, TrainingTerminatedError
from synthct.training.logbook import read_history

TIMES = ("iterations_per_second", "waiting_share", "peak_memory_mb")
DROPPING = {"epochs": 20, "ema": 0.9, "accumulation": 2, "checkpoint_interval": 3, "validation_interval": 7}


def told(run_dir: Path) -> list[dict[str, str]]:
    """The history but for what depends on the machine."""
    rows = read_history(run_dir / "history.csv")
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.mark.parametrize("stop", [1, 2, 5, 6, 9])
def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path, stop: int) -> None:
    changes = {"ema": 0.9, "accumulation": 2, "checkpoint_interval": 3}
    whole = run(tmp_path / "whole", GanObjective(0.3), HeldOut("generator"), changes=changes)
    run(tmp_path / "parts", GanObjective(0.3), HeldOut("generator"), changes={**changes, "max_steps": stop})
    torch.manual_seed(99)  # whatever another process has drawn
    parts = run(tmp_path / "parts", GanObjective(0.3), HeldOut("generator"), changes=changes, resume=True)
    assert (parts.best_score, parts.best_iteration) == (whole.best_score, whole.best_iteration)
    for network, tensors in whole.best.items():
        assert all(torch.equal(parts.best[network][name], tensor) for name, tensor in tensors.items())


def wait_for_checkpoint(run_dir: Path, iteration: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        path = run_dir / "checkpoint.pt"
        if path.exists() and torch.load(path, weights_only=True)["state"]["iteration"] >= iteration:
            return
        time.sleep(0.01)
    pytest.fail(f"no checkpoint of iteration {iteration}")


@pytest.mark.slow
def test_killed_at_random_and_resumed_is_bit_equal_to_uninterrupted(tmp_path: Path) -> None:
    options = ("--kind", "gan", "--dropout", 0.3, "--validate", "--pause", 0.01, "--batch", 2)
    plan = settings(**DROPPING)
    whole = run(tmp_path / "whole", GanObjective(0.3), HeldOut("generator"), changes=DROPPING)
    seed = random.SystemRandom().randrange(1 << 30)
    draw = random.Random(seed)
    killed = start(tmp_path / "killed", plan, *options)
    for reached in (3, 12):
        wait_for_checkpoint(tmp_path / "killed", reached)
        time.sleep(draw.random() * 0.3)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL, f"seed {seed}"
        killed.communicate()
        killed = start(tmp_path / "killed", plan, *options, "--resume")
    finish(killed)
    expected = {f"{network}.{name}": tensor for network, own in whole.best.items() for name, tensor in own.items()}
    found = weights(tmp_path / "killed")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == [], f"seed {seed}"
    assert told(tmp_path / "killed") == told(tmp_path / "whole"), f"seed {seed}"


@pytest.mark.slow
def test_ctrl_c_ends_a_run_after_its_iteration_with_a_checkpoint(tmp_path: Path) -> None:
    plan = settings(epochs=500, checkpoint_interval=5)
    process = start(tmp_path, plan, "--pause", 0.01)
    wait_for_checkpoint(tmp_path, 5)
    process.send_signal(signal.SIGINT)
    line = finish(process, exit_code=130)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert line.startswith(f"error: training ended by SIGINT after iteration {state['iteration']}; ")
    assert line.endswith("checkpoint.pt holds it all (--resume goes on)\n")


@pytest.mark.slow
def test_a_terminated_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    plan = settings(epochs=500, checkpoint_interval=5)
    process = start(tmp_path, plan, "--pause", 0.01, "--dropout", 0.3)
    wait_for_checkpoint(tmp_path, 5)
    process.terminate()
    finish(process, exit_code=143)
    done = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["iteration"]
    changes = {"epochs": 500, "max_steps": done + 3}
    resumed = run(tmp_path, PlainObjective(0.3), changes=changes, batch=1, resume=True)
    whole = run(tmp_path / "whole", PlainObjective(0.3), changes=changes, batch=1)
    assert all(torch.equal(resumed.best["net"][name], tensor) for name, tensor in whole.best["net"].items())


class SignallingSource(IndexedSource):
    """Sends this process a signal while batch number `at` is drawn."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        super().__init__()
        self.at, self.number = at, number

    def stream(self, first: int, *, rank: int, world: int) -> object:  # type: ignore[override]
        source = super().stream(first, rank=rank, world=world)
        at, number = self.at, self.number

        class Signalling:
            def __enter__(self) -> object:
                self.inner = source.__enter__()
                return self

            def __exit__(self, *error: object) -> None:
                source.__exit__(None, None, None)

            seconds_waited = 0.0

            def __next__(self) -> object:
                if self.inner.next == at:
                    os.kill(os.getpid(), number)
                return next(self.inner)

        return Signalling()


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, TrainingTerminatedError), (signal.SIGINT, TrainingInterruptedError)]
)
def test_handlers_stand_only_while_training_runs(
    tmp_path: Path, number: signal.Signals, kind: type[TrainingInterruptedError]
) -> None:
    before = [signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterruptedError, match=r"after iteration 5; ") as caught:
        run(tmp_path, source=SignallingSource(4, number))
    assert type(caught.value) is kind
    assert caught.value.exit_code == 128 + number
    assert [signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_validation_that_a_signal_broke_off_is_done_first_after_a_resume(tmp_path: Path) -> None:
    class Signalling(HeldOut):
        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            if len(self.scored) == 4:  # the second case of the second validation
                os.kill(os.getpid(), signal.SIGTERM)
            return super().score(nets, index)  # type: ignore[arg-type]

    whole = run(tmp_path / "whole", PlainObjective(0.3), HeldOut(), changes={"epochs": 2})
    with pytest.raises(TrainingTerminatedError, match=r"after iteration 4; "):
        run(tmp_path / "ended", PlainObjective(0.3), Signalling(), changes={"epochs": 2})
    assert torch.load(tmp_path / "ended" / "checkpoint.pt", weights_only=True)["state"]["validated"] == 2
    judge = HeldOut()
    ended = run(tmp_path / "ended", PlainObjective(0.3), judge, changes={"epochs": 2}, resume=True)
    assert [index for index, _ in judge.scored] == [0, 1, 2]
    assert (ended.best_score, ended.best_iteration) == (whole.best_score, 4)
    assert told(tmp_path / "ended") == told(tmp_path / "whole")


def test_a_signal_after_the_last_step_ends_the_run_too(tmp_path: Path) -> None:
    """Else `--fold all` would begin the next fold; the checkpoint holds the whole run."""

    class Late(HeldOut):
        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            if len(self.scored) == 5:  # the last case of the last validation
                os.kill(os.getpid(), signal.SIGTERM)
            return super().score(nets, index)  # type: ignore[arg-type]

    whole = run(tmp_path / "whole", validation=HeldOut(), changes={"epochs": 2})
    with pytest.raises(TrainingTerminatedError, match=r"after iteration 4; "):
        run(tmp_path / "ended", validation=Late(), changes={"epochs": 2})
    ended = run(tmp_path / "ended", validation=HeldOut(), changes={"epochs": 2}, resume=True)
    assert (ended.best_score, ended.iterations) == (whole.best_score, 4)
    assert all(torch.equal(ended.best["net"][name], tensor) for name, tensor in whole.best["net"].items())


def test_a_second_ctrl_c_is_not_waited_for() -> None:
    interruption = Interruption()
    interruption.note(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruption.note(signal.SIGINT)
    interruption = Interruption()
    interruption.note(signal.SIGTERM)
    interruption.note(signal.SIGTERM)
    assert interruption.signal == signal.SIGTERM
