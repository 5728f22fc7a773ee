"""What `synthct run ALGORITHM...` does in an image: the platform's /input to /output, one case at a time."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from algorithms.interface import find_algorithm
from synthct.cli.console import say
from synthct.dataset import load_case
from synthct.errors import UsageError
from synthct.grand_challenge.job import Job, read_job
from synthct.grand_challenge.result import Result, prepare_output, write_result

if TYPE_CHECKING:
    from algorithms.runtime import Runtime

__all__ = ["AlgorithmRunner"]


class AlgorithmRunner:
    """The algorithms of an image; the card of a case's model tells which of them predicts.

    Args:
        names: of the algorithms.

    Raises:
        UsageError: a name is unknown, or stands twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if len(set(names)) != len(names):
            raise UsageError(f"run got an algorithm twice ({' '.join(names)}); expected each once")
        self._abouts = tuple(find_algorithm(name) for name in names)
        self._runtime: Runtime | None = None
        self._last: Result | None = None

    def prepare(self) -> None:
        """Prove and load every model that a case could get.

        Raises:
            WeightsError: there is none, or one is missing or damaged.
        """
        self._make_runtime().prepare()

    def run(self) -> None:
        """Translate the platform's one case; without `prepare`, only its own model is loaded.

        Raises:
            SynthCTError: whatever went wrong; nothing lies below /output/images then.
        """
        try:
            self._remove_last()
            self._translate(read_job())
        except Exception as error:
            _drop_locals(error)
            raise
        finally:
            if self._runtime is not None:
                self._runtime.forget_cases()
            _free_memory()

    def _translate(self, job: Job) -> None:
        prepare_output(job)
        runtime = self._make_runtime()
        name = runtime.choose(job.files).card.algorithm
        case = load_case(job.files, with_reference=False)
        say(f"{name}: case {case.id}, {case.task}, region {case.region or 'unknown'}, on {runtime.engine.device}")
        prediction = runtime.predict(case, job.files, advance=_report)
        self._last = write_result(job, prediction.volume, runtime.manifest())
        say(f"{name}: wrote {self._last.sct}")

    def _make_runtime(self) -> Runtime:
        if self._runtime is None:
            from algorithms.runtime import Runtime
            from synthct.inference.engine import Engine, choose_device

            self._runtime = Runtime(
                self._abouts, None, use_starter=False, force=False, engine=Engine(choose_device("auto"))
            )
        return self._runtime

    def _remove_last(self) -> None:
        """Remove this runner's own earlier result, which the caller should have cleared; no other file."""
        if self._last is not None and (removed := self._last.remove()):
            say(f"removed the result of the run before: {', '.join(str(path) for path in removed)}")
        self._last = None


def _report(done: int, total: int) -> None:
    """A plain progress line at the first window and every tenth of them: the platform keeps the last 500 lines only."""
    if done == 1 or done * 10 // total > (done - 1) * 10 // total:
        say(f"window {done} of {total}")


def _drop_locals(error: BaseException) -> None:
    """Let go of the volumes that the frames of a failure hold, so that they can be freed while it is still raised."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
