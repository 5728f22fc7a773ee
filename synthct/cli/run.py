"""`synthct run`: what an image's ENTRYPOINT calls. The package that can do it is found by entry point."""

from __future__ import annotations

import os
import signal
from importlib.metadata import entry_points
from typing import Annotated, Literal

import typer

from synthct.errors import UsageError
from synthct.grand_challenge.runner import INVOKE_PORT, RUNNER_GROUP, Runner
from synthct.memory import require_room_to_start

__all__ = ["run"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
MOST_THREADS = 16
"""Of each library: the platform allows 128 processes and threads in all, and a large host has more cores than that."""


def run(
    names: Annotated[list[str], typer.Argument(metavar="ALGORITHM...|evaluation", help="What to run.")],
    api: Annotated[Literal["exec", "invoke"], typer.Option(help="How the platform calls.")] = "exec",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where invoke listens; 0: a free port.")] = INVOKE_PORT,
) -> None:
    """Run as a Grand Challenge container: /input to /output."""
    _limit_threads()
    require_room_to_start()
    kind = "evaluation" if names == ["evaluation"] else "algorithm"
    runners = {point.name: point for point in entry_points(group=RUNNER_GROUP)}
    if kind not in runners:
        raise UsageError(f"this installation cannot run {' '.join(names)}; expected the package that brings it")
    if api == "invoke":
        from synthct.grand_challenge.server import serve

        serve(runners[kind].load()(names), port=port)
        return

    from synthct.grand_challenge.termination import end_at_once_on

    end_at_once_on((signal.SIGTERM,))
    runner: Runner = runners[kind].load()(names)
    runner.run()


def _limit_threads() -> None:
    """Cap the threads of the numerical libraries, which read these variables when they are first imported."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS") or str(min(cores, MOST_THREADS))
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, threads)
