"""What a run tells of itself: a log line an interval, history.csv, TensorBoard, and a progress bar."""

from __future__ import annotations

import csv
import io
import logging
import math
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import Progress

from synthct.errors import InputError
from synthct.files import write_text
from synthct.training.judging import Verdict
from synthct.training.settings import LoopSettings
from synthct.training.state import Best

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["HISTORY_NAME", "TENSORBOARD_FOLDER", "Logbook", "read_history"]

log = logging.getLogger(__name__)

HISTORY_NAME = "history.csv"
TENSORBOARD_FOLDER = "tensorboard"
FIRST_COLUMNS = ("iteration", "epoch", "learning_rate", "iterations_per_second", "waiting_share", "peak_memory_mb")


class Logbook:
    """The log of one run, written by its first process alone: on the others every method does nothing.

    Scalars are means over the interval since the last line; those that are not finite (a step that 16-mixed skipped)
    are left out. In history.csv a row holds what was told at one iteration; an interval's columns are named after the
    scalars, a validation's after `validation_` and its values. Files of an earlier part of the run are gone on with:
    what they hold beyond `iteration` is dropped, since it is about to be done again.

    Args:
        run_dir: for history.csv and tensorboard/.
        settings: interval and length.
        iteration: iterations that were done before.
        pending: what `pending` was when the checkpoint was written; empty for a new run.
        progress: for the bar.
        active: whether this is the first process.
        device: whose memory is told.

    Raises:
        InputError: the earlier history.csv cannot be read.
    """

    def __init__(
        self,
        run_dir: Path,
        settings: LoopSettings,
        *,
        iteration: int,
        pending: Mapping[str, Any],
        progress: Progress,
        active: bool,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._active = active
        self._device = device
        self._progress = progress
        self._history = run_dir / HISTORY_NAME
        self._sums: dict[str, list[float]] = {name: list(told) for name, told in pending.items()}
        if not active:
            return
        earlier = read_history(self._history) if iteration and self._history.exists() else []
        self._rows = {int(row["iteration"]): row for row in earlier if int(row["iteration"]) <= iteration}
        self._board = _open_board(run_dir / TENSORBOARD_FOLDER, iteration)
        self._bar = progress.add_task("training", total=settings.last_iteration, completed=iteration)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._board.close()
            self._progress.remove_task(self._bar)

    @property
    def pending(self) -> dict[str, list[float]]:
        """Sum and count of each scalar since the last line, for the checkpoint: a resumed run tells the same means."""
        return {name: list(told) for name, told in self._sums.items()}

    def step(self, iteration: int, scalars: Mapping[str, float], *, rate: float, seconds: float, waited: float) -> None:
        """Take note of one iteration, and tell the interval where it ends one.

        Args:
            iteration: from 1.
            scalars: of this iteration; the first one stands beside the bar.
            rate: learning rate of the first optimiser.
            seconds: that the iteration took, validation and checkpoints not counted.
            waited: seconds of them spent waiting for data.
        """
        if not self._active:
            return
        for name, value in {**scalars, "_seconds": seconds, "_waited": waited}.items():
            if math.isfinite(value):
                told = self._sums.setdefault(name, [0.0, 0.0])
                told[0] += value
                told[1] += 1
        loss_name, loss = next(iter(scalars.items()))
        self._progress.update(self._bar, completed=iteration, description=f"training ({loss_name} {loss:.4g})")
        if iteration % self._settings.log_interval == 0 or iteration == self._settings.last_iteration:
            self._tell(iteration, rate)

    @contextmanager
    def judging(self, cases: int) -> Iterator[Callable[[], None]]:
        """Show a bar while this process validates its cases; what is yielded moves it on by one."""
        if not self._active:
            yield lambda: None
            return
        bar = self._progress.add_task("validating", total=cases)
        try:
            yield lambda: self._progress.update(bar, advance=1)
        finally:
            self._progress.remove_task(bar)

    def validated(self, iteration: int, verdict: Verdict, best: Best, *, show: bool) -> None:
        """Tell a validation's values and, where `show`, its images."""
        if not self._active:
            return
        told = ", ".join(f"{name} {value:.5g}" for name, value in verdict.values.items())
        so_far = "none is finite yet" if best.score is None else f"best {best.score:.5g} at {best.iteration}"
        log.info("iteration %d: validation %s (%s)", iteration, told, so_far)
        for name, value in verdict.values.items():
            self._board.add_scalar(f"validation/{name}", value, iteration)
        for title, image in verdict.images.items() if show else ():
            self._board.add_image(title, image, iteration, dataformats="HW")
        self._board.flush()
        self._add_row(iteration, {f"validation_{name}": value for name, value in verdict.values.items()})

    def _tell(self, iteration: int, rate: float) -> None:
        seconds, count = self._sums.pop("_seconds")
        waited, _ = self._sums.pop("_waited")
        means = {name: total / times for name, (total, times) in self._sums.items()}
        self._sums.clear()
        speed, share, memory = count / seconds, waited / seconds, _peak_memory_mb(self._device)
        epoch = (iteration - 1) // self._settings.iterations_per_epoch + 1
        log.info(
            "iteration %d/%d, epoch %d: %s, learning rate %.3g, %.2f it/s, %.0f %% waiting for data, %.0f MB",
            iteration,
            self._settings.iterations,
            epoch,
            ", ".join(f"{name} {mean:.4g}" for name, mean in means.items()),
            rate,
            speed,
            100 * share,
            memory,
        )
        figures = dict(zip(FIRST_COLUMNS[2:], (rate, speed, share, memory), strict=True))
        for name, value in {**means, **figures}.items():
            self._board.add_scalar(f"training/{name}", value, iteration)
        self._add_row(iteration, {**figures, **means})

    def _add_row(self, iteration: int, values: Mapping[str, float]) -> None:
        epoch = (iteration - 1) // self._settings.iterations_per_epoch + 1
        row = self._rows.setdefault(iteration, {"iteration": str(iteration), "epoch": str(epoch)})
        row.update({name: f"{value:.9g}" for name, value in values.items()})
        columns = dict.fromkeys([*FIRST_COLUMNS, *(name for row in self._rows.values() for name in row)])
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[number] for number in sorted(self._rows))
        write_text(self._history, text.getvalue())


def read_history(path: Path) -> list[dict[str, str]]:
    """Read history.csv; values that a row does not have are left out of it.

    Raises:
        InputError: it cannot be read, or a row has no iteration.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(stream)]
        if any(not row["iteration"].isdigit() for row in rows):
            raise ValueError("an iteration is no number")
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a run's history ({error}); expected rows by iteration") from error
    return rows


def _open_board(folder: Path, iteration: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    # TensorBoard hides what earlier files hold from purge_step on.
    return SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)


def _peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far: of the GPU that torch allocated, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
