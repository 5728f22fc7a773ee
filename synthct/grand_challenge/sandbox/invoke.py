"""A container that serves (invoke mode): health, invocations with inputs that come and go, and its end."""

from __future__ import annotations

import http.client
import time
import uuid
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from synthct.grand_challenge.sandbox.flags import Phase
from synthct.grand_challenge.sandbox.parcel import Output, read_output
from synthct.grand_challenge.sandbox.runs import STDERR, RunResult, read_log, short_reason, written_outside
from synthct.grand_challenge.sandbox.stage import Stage
from synthct.grand_challenge.sandbox.watch import LogSummary, MemoryWatch

__all__ = ["InvokeServer"]

PORT = 4743
START_BUDGET = 300.0
"""Seconds from the start until /health must say 200, and the most that one call may take (CONTRACT 2.2)."""
CALL_LIMIT = 10.0
STOP_LIMIT = 5.0
PAUSE = 0.3
ENDING = 3.0
CREATED = 201


class InvokeServer:
    """A container in invoke mode, started with an empty /input, that runs one case after the other.

    The platform reaches the server from inside its machine, which has no network. Here the container is in a network
    of its own that leads nowhere else, and this machine calls it by its address.
    """

    def __init__(self, stage: Stage, phase: Phase) -> None:
        self.phase = phase
        self.problem: str | None = None
        """Why no further run is possible; None while one is."""
        self.written: tuple[str, ...] | None = None
        """What it wrote outside /output and /tmp, once it was stopped in the platform phase."""
        self._stage = stage
        self._stack = ExitStack()
        self._container: Any = None
        self._address = ""

    def __enter__(self) -> InvokeServer:
        from docker.errors import APIError

        try:
            name = f"synthct-check-{uuid.uuid4().hex}"
            network = self._stage.client.networks.create(
                name, driver="bridge", internal=True, labels=self._stage.labels
            )
            self._stack.callback(network.remove)
            walls = self._stack.enter_context(self._stage.walls(None))
            container = self._stage.container(self.phase, walls, network=name, writable=True)
            self._container = self._stack.enter_context(container)
            self._container.start()
            self._container.reload()
            self._address = self._container.attrs["NetworkSettings"]["Networks"][name]["IPAddress"]
        except APIError as error:
            self.problem = f"cannot be started ({short_reason(error)})"
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait_until_healthy(self) -> str:
        """Ask /health until it says 200; return in words how that went. `problem` is set where it did not."""
        started = time.monotonic()
        last = "no answer"
        while self.problem is None:
            seconds = time.monotonic() - started
            if seconds > min(START_BUDGET, self._stage.limits.budget):
                self.problem = f"/health: {last} within {seconds:.0f} s"
                break
            with suppress(OSError, http.client.HTTPException):
                status = self._call("GET", "/health", CALL_LIMIT)
                last = f"status {status}"
                if status == http.client.OK:
                    return f"200 after {time.monotonic() - started:.1f} s"
                if 300 <= status < 400:
                    self.problem = f"/health: redirects (status {status})"
                    break
            self._note_end()
            time.sleep(PAUSE)
        return self.problem or last

    def run(self, inputs: Path, output: Path, *, watch: bool = False) -> RunResult:
        """Put inputs in place, POST /invoke, take /output over and clear it."""
        if self.problem is not None:
            return RunResult(False, self.problem, LogSummary(), 0.0, Output(output))
        limits = self._stage.limits
        self._stage.replace_inputs(self._container, inputs)
        watcher = MemoryWatch(self._container, gpu=limits.gpu) if watch else None
        started = time.monotonic()
        status = 0
        with watcher or nullcontext():
            try:
                status = self._call("POST", "/invoke", limits.budget)
                outcome = f"status {status}"
            except TimeoutError:
                outcome = self.problem = f"/invoke took longer than {limits.budget:g} s"
            except (OSError, http.client.HTTPException) as error:
                outcome = f"/invoke got no answer ({error or type(error).__name__})"
        seconds = time.monotonic() - started
        if status == 0:
            self._wait_for_end()
        log = read_log(self._container, output.with_name(STDERR))
        self._note_end()
        if status != CREATED and log.last_line:
            outcome = f"{outcome}: {log.last_line[:300]}"
        left = read_output(self._container.get_archive("/output")[0], output)
        if self.problem is None:
            self._clear(left)
        return RunResult(
            succeeded=status == CREATED,
            outcome=f"{outcome} in {seconds:.1f} s" if status == CREATED else outcome,
            log=log,
            seconds=seconds,
            output=left,
            peak_memory=watcher.peak if watcher else None,
            peak_gpu_memory=watcher.peak_gpu if watcher else None,
        )

    def stop(self) -> str | None:
        """Send SIGTERM; return in words how the server ended, None where it did not within 5 s."""
        import requests

        if self._container is None:
            return None
        started = time.monotonic()
        try:
            self._container.kill(signal="SIGTERM")
            self._container.wait(timeout=STOP_LIMIT)
        except requests.RequestException:
            return None
        finally:
            if self.phase is Phase.PLATFORM:
                self.written = written_outside(self._container.diff() or ())
        return f"ended after {time.monotonic() - started:.1f} s"

    def _call(self, method: str, path: str, seconds: float) -> int:
        connection = http.client.HTTPConnection(self._address, PORT, timeout=seconds)
        try:
            connection.request(method, path, body=b"" if method == "POST" else None)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def _wait_for_end(self) -> None:
        """Give a server that broke the connection the time to end, so that its end is seen."""
        deadline = time.monotonic() + ENDING
        while self.problem is None and time.monotonic() < deadline:
            self._note_end()
            time.sleep(PAUSE)

    def _note_end(self) -> None:
        """Note it where the server is no longer there."""
        self._container.reload()
        state = self._container.attrs["State"]
        if not state["Running"] and self.problem is None:
            last = read_log(self._container).last_line
            self.problem = f"the server ended with exit {state['ExitCode']}{': ' + last[:300] if last else ''}"

    def _clear(self, left: Output) -> None:
        """Empty /output from inside, as the container's own user: only the engine's tools and that user may."""
        names = [f"/output/{entry.path}" for entry in left.entries if len(entry.path.parts) == 1]
        python = (
            "import os, shutil, sys; [shutil.rmtree(p) if os.path.isdir(p) else os.remove(p) for p in sys.argv[1:]]"
        )
        ways = (["rm", "-rf", "--"], ["python3", "-c", python])
        if names and not any(self._container.exec_run([*way, *names]).exit_code == 0 for way in ways):
            self.problem = "/output cannot be emptied between calls (the image has neither rm nor python3)"
