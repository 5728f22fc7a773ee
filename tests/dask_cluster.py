"""A real Dask cluster on this machine: one scheduler and single-threaded workers, each a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Cluster", "dask_cluster"]

START_SECONDS = 60


class Cluster:
    """A running cluster: `address` of its scheduler, and its worker processes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self._log = (folder / "log.txt").open("wb")
        self._scheduler = self._start("dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
        self.workers: list[subprocess.Popen[bytes]] = []
        self._wait_for(lambda: self._file.is_file() and self._file.stat().st_size > 0)
        self.address: str = json.loads(self._file.read_text())["address"]

    def add_worker(self) -> None:
        """Start a worker and wait until the scheduler knows it."""
        self.workers.append(self._start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"))
        alive = sum(worker.poll() is None for worker in self.workers)
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(alive, timeout=START_SECONDS)

    def kill_worker(self) -> None:
        """Kill the first worker that lives, as the kernel does where memory runs out."""
        victim = next(worker for worker in self.workers if worker.poll() is None)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()

    def close(self) -> None:
        """End every process."""
        for process in [*self.workers, self._scheduler]:
            process.kill()
            process.wait()
        self._log.close()

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--scheduler-file", str(self._file), *options]
        folder = ["--local-directory", str(self._file.parent)] if program == "dask_worker" else []
        return subprocess.Popen(
            [*command, *folder],
            stdout=self._log,
            stderr=self._log,
            cwd=self._file.parent,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },  # functions of test modules are known there too
        )

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > end or self._scheduler.poll() is not None:
                raise RuntimeError(f"no scheduler: {Path(self._log.name).read_text()}")
            time.sleep(0.05)


@contextmanager
def dask_cluster(folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """Run a cluster for the length of a block; its files lie in `folder`."""
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.close()
