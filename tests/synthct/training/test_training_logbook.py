"""What a run tells: log lines, history.csv, TensorBoard's files, the bar."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
import torch
from rich.progress import Progress
from small_run import GanObjective, HeldOut, IndexedSource, PlainObjective, run, settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from synthct.errors import InputError
from synthct.training.judging import Verdict
from synthct.training.launch import make_fabric
from synthct.training.logbook import Logbook, read_history
from synthct.training.loop import fit
from synthct.training.state import Best


def open_logbook(run_dir: Path, progress: Progress | None = None, **changes: object) -> Logbook:
    return Logbook(
        run_dir,
        settings(log_interval=2),
        **{
            "iteration": 0,
            "pending": {},
            "progress": progress or Progress(disable=True),
            "active": True,
            "device": torch.device("cpu"),
            **changes,
        },
    )


def board(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_a_line_tells_the_means_of_its_interval(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synthct")
    with open_logbook(tmp_path) as logbook:
        logbook.step(1, {"loss": 1.0, "l1": 4.0}, rate=0.01, seconds=0.3, waited=0.1)
        assert caplog.messages == []
        logbook.step(2, {"loss": 2.0, "l1": float("inf")}, rate=0.01, seconds=0.1, waited=0.1)
        logbook.step(3, {"loss": 9.0, "l1": 9.0}, rate=0.005, seconds=0.5, waited=0.0)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(
        "iteration 2/10, epoch 1: loss 1.5, l1 4, learning rate 0.01, 5.00 it/s, 50 % waiting for data, "
    )
    (row,) = read_history(tmp_path / "history.csv")
    assert (row["iteration"], row["epoch"], row["loss"], row["l1"], row["waiting_share"]) == (
        "2",
        "1",
        "1.5",
        "4",
        "0.5",
    )
    assert float(row["peak_memory_mb"]) > 50
    assert [(event.step, event.value) for event in board(tmp_path).Scalars("training/loss")] == [(2, 1.5)]


def test_a_validation_stands_in_the_row_of_its_iteration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synthct")
    picture = torch.linspace(0, 1, 12).view(3, 4).numpy()
    with open_logbook(tmp_path) as logbook:
        for iteration in (1, 2):
            logbook.step(iteration, {"loss": 1.0}, rate=0.01, seconds=0.1, waited=0.0)
        logbook.validated(2, Verdict({"mae": 80.0}, {"case": picture}), Best(75.0, 1), show=True)
        logbook.validated(3, Verdict({"mae": 70.0}, {"case": picture}), Best(70.0, 3), show=False)
    assert "iteration 2: validation mae 80 (best 75 at 1)" in caplog.messages
    rows = read_history(tmp_path / "history.csv")
    assert [(row["iteration"], row["validation_mae"], row.get("loss")) for row in rows] == [
        ("2", "80", "1"),
        ("3", "70", None),
    ]
    assert [told.step for told in board(tmp_path).Images("case")] == [2]
    assert (board(tmp_path).Images("case")[0].height, board(tmp_path).Images("case")[0].width) == (3, 4)
    with (tmp_path / "history.csv").open(newline="") as stream:
        assert next(csv.reader(stream))[:3] == ["iteration", "epoch", "learning_rate"]


def test_a_resumed_run_drops_what_is_done_again(tmp_path: Path) -> None:
    with open_logbook(tmp_path) as logbook:
        for iteration in range(1, 8):
            logbook.step(iteration, {"loss": float(iteration)}, rate=0.01, seconds=0.1, waited=0.0)
    with open_logbook(
        tmp_path, iteration=5, pending={"loss": [5.0, 1], "_seconds": [0.1, 1], "_waited": [0, 1]}
    ) as logbook:
        for iteration in range(6, 11):
            logbook.step(iteration, {"loss": float(iteration)}, rate=0.01, seconds=0.1, waited=0.0)
    rows = read_history(tmp_path / "history.csv")
    assert [(row["iteration"], row["loss"]) for row in rows] == [
        ("2", "1.5"),
        ("4", "3.5"),
        ("6", "5.5"),
        ("8", "7.5"),
        ("10", "9.5"),
    ]
    steps = [told.step for told in board(tmp_path).Scalars("training/loss")]
    assert steps == [2, 4, 6, 8, 10]


def test_a_new_run_begins_a_new_history(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("iteration,loss\n4,1\n")
    with open_logbook(tmp_path) as logbook:
        logbook.validated(6, Verdict({"mae": 1.0}, {}), Best(), show=False)
    assert [row["iteration"] for row in read_history(tmp_path / "history.csv")] == ["6"]


def test_other_processes_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "synthct")
    with open_logbook(tmp_path, active=False) as logbook:
        for iteration in (1, 2):
            logbook.step(iteration, {"loss": 1.0}, rate=0.01, seconds=0.1, waited=0.0)
        logbook.validated(2, Verdict({"mae": 80.0}, {}), Best(75.0, 1), show=True)
    assert (caplog.messages, list(tmp_path.iterdir()), logbook.pending) == ([], [], {})


@pytest.mark.parametrize("text", ["loss\n1\n", "iteration,loss\nx,1\n", "iteration\n\xff\n"])
def test_a_history_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"history\.csv: cannot be read as a run's history"):
        open_logbook(tmp_path, iteration=3)


def test_the_bar_shows_the_loss_and_goes_at_the_end(tmp_path: Path) -> None:
    progress = Progress(disable=True)
    with open_logbook(tmp_path, progress, iteration=4) as logbook:
        (bar,) = progress.tasks
        assert (bar.total, bar.completed) == (10, 4)
        logbook.step(5, {"generator_loss": 0.25}, rate=0.01, seconds=0.1, waited=0.0)
        assert (bar.completed, bar.description) == (5, "training (generator_loss 0.25)")
    assert progress.tasks == []


def test_a_validation_has_a_bar_of_its_own(tmp_path: Path) -> None:
    """Whole volumes take minutes; the first of two processes shows its own share."""
    progress = Progress(disable=True)
    seen = []

    class Watching(HeldOut):
        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            seen.append([(bar.description, bar.completed, bar.total) for bar in progress.tasks][-1])
            return super().score(nets, index)  # type: ignore[arg-type]

    loop = settings(max_steps=2)
    fabric = make_fabric("cpu", 1, "fp32")
    fit(PlainObjective(), IndexedSource(2), Watching(), loop, tmp_path, fabric, progress=progress)
    assert seen == [("validating", done, 3) for done in range(3)]
    assert progress.tasks == []
    with (
        open_logbook(tmp_path, progress, active=False) as other,
        other.judging(3) as advance,
    ):
        advance()
        assert progress.tasks == []


def test_a_run_writes_a_row_an_interval_and_pictures_at_theirs(tmp_path: Path) -> None:
    changes = {"log_interval": 4, "validation_interval": 2, "image_interval": 5}
    run(tmp_path, GanObjective(), HeldOut("generator"), changes=changes, source=IndexedSource(pause=0.002))
    rows = read_history(tmp_path / "history.csv")
    assert [row["iteration"] for row in rows] == ["2", "4", "6", "8", "10"]
    assert [row["iteration"] for row in rows if "generator_loss" in row] == ["4", "8", "10"]
    assert [row["iteration"] for row in rows if "validation_mae" in row] == ["2", "4", "6", "8", "10"]
    assert all(0 < float(row["waiting_share"]) < 1 for row in rows if "generator_loss" in row)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0.05 * 0.1**0.9)
    told = board(tmp_path)
    assert [image.step for image in told.Images("error 1")] == [6, 10]
    assert {"training/discriminator_loss", "training/fooled", "validation/mae"} <= set(told.Tags()["scalars"])


def test_the_scalars_of_an_interval_are_those_of_its_iterations(tmp_path: Path) -> None:
    run(tmp_path / "each", PlainObjective(), changes={"log_interval": 1})
    run(tmp_path / "five", PlainObjective(), changes={"log_interval": 5})
    each = [float(row["l1"]) for row in read_history(tmp_path / "each" / "history.csv")]
    five = [float(row["l1"]) for row in read_history(tmp_path / "five" / "history.csv")]
    assert five == pytest.approx([sum(each[:5]) / 5, sum(each[5:]) / 5])
