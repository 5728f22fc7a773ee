"""Where the cases are scored: processes on this machine, or a Dask cluster; both are one `concurrent.futures` executor.

A worker that dies ends the run within seconds (CONTRACT 2.8; 5.7): a process pool breaks at once, and a Dask cluster is
watched for workers that leave while they hold one of our cases.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, TypeVar

from evaluation.metrics.arrays import usable_cores
from synthct.errors import SynthCTError, UsageError
from synthct.worker import end_with_parent

__all__ = ["Crew", "InterruptedRunError", "LostWorkerError", "default_workers", "open_crew"]

MEMORY_BUDGET = 8 * 1024**3
"""Memory in bytes that the default number of workers fits: the platform's default for evaluations (CONTRACT 2.6)."""

WORKER_BYTES = 400_000_000
"""Of one worker, before it holds a voxel."""

LABEL_MAP_BYTES, TISSUE_BYTES = 20, 90
"""Peak per voxel of the volume: with label maps of organs, and with tissue classes of a noisy sCT, whose surfaces are
larger (0.7 GB and up to 3.9 GB of a 512 x 512 x 150 case)."""

NETWORK_BYTES = 4_500_000_000
"""Peak of one worker that also segments such a case with the 3 mm network; a small one needs hardly less."""

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds the limit of its memory; holds `max` or a number of bytes."""

TASK_LIMITS = (Path("/sys/fs/cgroup/pids.max"), Path("/sys/fs/cgroup/pids/pids.max"))
"""Where a container finds how many processes and threads it may have, 128 on the platform; holds `max` or a number."""

OWN_TASKS, WORKER_TASKS, THREAD_TASKS = 48, 2, 5
"""Processes and threads of the command itself, of a worker, and of each thread that a worker's libraries may use: two
copies of OpenBLAS, OpenMP, ITK and our own."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

POLL_SECONDS = 0.5
CONNECT_SECONDS = 10

Result = TypeVar("Result")
Argument = TypeVar("Argument")


class InterruptedRunError(SynthCTError):
    """The user stopped the run."""

    exit_code = 130


class LostWorkerError(SynthCTError):
    """A worker died; what it had not finished is not scored."""


@dataclass
class Crew:
    """An executor, how many threads each of its workers may use, and how to tell that one of them died.

    `threads` is None on a cluster, whose workers know it themselves. `missing` names a worker that died with work of
    ours, or gives None.
    """

    executor: Executor
    threads: int | None
    missing: Callable[[], str | None] = field(default=lambda: None)

    def as_finished(
        self, work: Callable[[Argument], Result], arguments: list[Argument]
    ) -> Iterator[tuple[Argument, Result]]:
        """Run `work` on every argument and yield (argument, result) as they finish, in no fixed order.

        What still waits when the iteration ends early is given up by `open_crew`: a pool whose workers are killed
        stumbles over futures that were cancelled from here.

        Raises:
            LostWorkerError: a worker died.
        """
        pending: dict[Future[Result], Argument] = {}
        try:
            for argument in arguments:
                pending[self.executor.submit(work, argument)] = argument
            while pending:
                done, _ = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
                lost = self.missing() if pending else None
                if lost is not None:
                    raise LostWorkerError(_lost_message(lost))
        except BrokenExecutor as error:
            raise LostWorkerError(_lost_message("a worker process")) from error
        except CancelledError as error:  # that is what Dask makes of a scheduler that went away
            raise LostWorkerError(_lost_message("the Dask scheduler")) from error


@contextmanager
def open_crew(workers: int, dask: str | None = None) -> Iterator[Crew]:
    """Start processes on this machine, or join a Dask cluster that runs already.

    Args:
        workers: processes, when `dask` is None.
        dask: address of a scheduler such as tcp://host:8786, or the path of its scheduler file.

    Raises:
        UsageError: no scheduler answers at the address.
    """
    if dask is None:
        threads = _threads_of_each(workers)
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=prepare_worker, initargs=(threads,)
        )
        try:
            with _threads_of_children(threads):
                yield Crew(pool, threads)
        except KeyboardInterrupt as error:
            for worker in active_children():
                worker.terminate()
            raise InterruptedRunError(f"interrupted; {_KEPT}") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    else:
        with _open_cluster(dask) as crew:
            yield crew


def prepare_worker(threads: int) -> None:
    """Keep the libraries of one worker process to its share of the cores, and let it end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends its workers itself
    end_with_parent()
    import SimpleITK as sitk

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))  # torch reads them when it is imported
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def default_workers(cases: int, *, voxels: int, kinds: Collection[str]) -> int:
    """How many processes fit the usable cores, `MEMORY_BUDGET` and the limits of this machine or container.

    Args:
        cases: there are no more workers than cases.
        voxels: of the largest case.
        kinds: of the judges: totalsegmentator, nnunet, precomputed, tissue.
    """
    need = WORKER_BYTES + voxels * (TISSUE_BYTES if "tissue" in kinds else LABEL_MAP_BYTES)
    if {"totalsegmentator", "nnunet"} & set(kinds):
        need = max(need, NETWORK_BYTES)
    tasks = _lowest(TASK_LIMITS)
    fitting = cases if tasks is None else (tasks - OWN_TASKS) // (WORKER_TASKS + THREAD_TASKS)
    return max(1, min(usable_cores(), _memory() // need, fitting, cases))


def _memory() -> int:
    """Bytes that all workers together may take."""
    own = min(MEMORY_BUDGET, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = _lowest(CGROUP_LIMITS)
    return own if limit is None else min(own, limit)


def _lowest(files: Iterable[Path]) -> int | None:
    """The lowest number in a container's files of limits; None where none of them holds one."""
    texts = [path.read_text().strip() for path in files if path.is_file()]
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def _threads_of_each(workers: int) -> int:
    """An equal share of the usable cores, or fewer where a container may not have so many threads; at least 1."""
    shares = [usable_cores() // workers]
    tasks = _lowest(TASK_LIMITS)
    if tasks is not None:
        shares.append(((tasks - OWN_TASKS) // workers - WORKER_TASKS) // THREAD_TASKS)
    return max(1, min(shares))


@contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    """What workers find in their environment: OpenBLAS starts its threads with NumPy, before `prepare_worker` runs."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


@contextmanager
def _open_cluster(address: str) -> Iterator[Crew]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions that differ in a minor number, and of its own dependencies
        from distributed import Client

        try:
            client = Client(_scheduler_address(address), timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(f"--dask {address}: no scheduler answers ({error or 'timed out'})") from error
    executor = client.get_executor(pure=False, retries=0)
    try:
        yield Crew(executor, None, _WorkerWatch(client).missing)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(f"interrupted; {_KEPT}") from error
    finally:
        executor.shutdown(wait=False)  # cancels what still waits
        client.close()


def _scheduler_address(given: str) -> str:
    """The address itself, or the one in a scheduler file: Dask would wait for a file that is not there for ever."""
    address = given
    if given.endswith(".json"):
        try:
            address = str(json.loads(Path(given).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"--dask {given}: is no scheduler file ({type(error).__name__}: {error})") from error
    if re.fullmatch(r"([a-z]+://)?[^/\s]+:[0-9]+", address) is None:
        raise UsageError(f"--dask {given}: is no address of a scheduler; expected one like tcp://host:8786")
    return address


_KEPT = "the cases that were finished are kept, and the same command goes on from there"


class _WorkerWatch:
    """Remembers which workers of a cluster hold work of ours, and notices when one of them is gone.

    Dask would quietly give a dead worker's cases to the next worker and so kill one after the other where a case is
    too large for their memory. A worker that leaves idle, as adaptive clusters let them, is no concern.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401  # distributed has no types
        self._client = client
        self._busy: set[str] = set()

    def missing(self) -> str | None:
        """Name a worker that was busy when last seen and is gone, or the scheduler where that is gone."""
        try:
            processing: dict[str, Any] = self._client.processing()
        except OSError:
            return "the Dask scheduler"
        gone = sorted(self._busy - set(processing))
        self._busy = {worker for worker, tasks in processing.items() if tasks}
        return f"the Dask worker {gone[0]}" if gone else None


def _lost_message(worker: str) -> str:
    cause = "killed, perhaps for want of memory: fewer --workers need less"
    return f"{worker} died while it scored ({cause}); {_KEPT}"
