"""A container that serves (invoke mode): health, invocations with inputs that come and go, and its end."""

from __future__ import annotations

import http.client
import time
import uuid
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from synthct.grand_challenge.runner import INVOKE_PORT
from synthct.grand_challenge.sandbox.calls import call_server
from synthct.grand_challenge.sandbox.flags import Phase
from synthct.grand_challenge.sandbox.parcel import Output, read_output
from synthct.grand_challenge.sandbox.runs import STDERR, RunResult, short_reason, written_outside
from synthct.grand_challenge.sandbox.stage import Stage
from synthct.grand_challenge.sandbox.watch import GrowingLog, LogSummary, MemoryWatch

__all__ = ["InvokeServer"]

START_BUDGET = 300.0
"""Seconds from the start until /health must say 200, whatever the budget of a run is (CONTRACT 2.2)."""
CALL_LIMIT = 10.0
"""Seconds that one call of /health may take (CONTRACT 2.2)."""
STOP_LIMIT = 5.0
PAUSE = 0.3
ENDING = 3.0
SETTLING = 0.1
"""Seconds after an answer: the log comes by another way, and a server that dies of a call needs a moment."""
LOG_PATIENCE = 1.0
"""Seconds in which a failed call's line must be in the log."""
CREATED = 201


class InvokeServer:
    """A container in invoke mode, started with an empty /input, that runs one case after the other.

    The platform reaches the server from inside its machine, which has no network. Here the container is in a network
    of its own that ends at this machine, which calls it by its address.
    """

    def __init__(self, stage: Stage, phase: Phase) -> None:
        self.phase = phase
        self.problem: str | None = None
        """Why no further run is possible; None while one is."""
        self.written: tuple[str, ...] | None = None
        """What it wrote outside /output and /tmp, once it was stopped in the platform phase."""
        self.ended = False
        """Whether it ended without being told to; `problem` says how."""
        self._stage = stage
        self._stack = ExitStack()
        self._container: Any = None
        self._log: Any = None
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
            self._log = GrowingLog(self._container)
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
            left = START_BUDGET - (time.monotonic() - started)
            if left <= 0:
                self.problem = f"/health: {last} within {START_BUDGET:.0f} s"
                break
            try:
                status = call_server(self._address, INVOKE_PORT, "GET", "/health", min(CALL_LIMIT, left))
                last = f"status {status}"
                if status == http.client.OK:
                    return f"200 after {time.monotonic() - started:.1f} s"
                if 300 <= status < 400:
                    self.problem = f"/health: redirects (status {status})"
                    break
            except TimeoutError:
                last = "no whole answer"
            except (OSError, http.client.HTTPException):
                last = "no answer"
            self._note_end()
            time.sleep(PAUSE)
        return self.problem or last

    def still_serves(self) -> bool:
        """Tell whether a further call makes sense; else `problem` says why not."""
        if self.problem is None:
            self._note_end()
        return self.problem is None

    def run(self, inputs: Path, output: Path, *, watch: bool = False) -> RunResult:
        """Put inputs in place, POST /invoke, take /output over and clear it."""
        if not self.still_serves():
            return RunResult(False, str(self.problem), LogSummary(), 0.0, Output(output))
        limits = self._stage.limits
        copy = output.with_name(STDERR)
        before = self._log.take(copy)
        self._stage.replace_inputs(self._container, inputs)
        watcher = MemoryWatch(self._container, gpu=limits.gpu) if watch else None
        started = time.monotonic()
        status = 0
        with watcher or nullcontext():
            try:
                status = call_server(self._address, INVOKE_PORT, "POST", "/invoke", limits.budget)
                outcome = f"status {status}"
            except TimeoutError:
                outcome = self.problem = f"/invoke took longer than {limits.budget:g} s"
            except (OSError, http.client.HTTPException) as error:
                outcome = f"/invoke got no answer ({error or type(error).__name__})"
        seconds = time.monotonic() - started
        if status == 0:
            self._wait_for_end()
        else:
            self._settle(LOG_PATIENCE if status != CREATED else SETTLING)
        self._note_end()
        log = self._log.take(copy)
        log = replace(log, longest=max(log.longest, before.longest))  # a long line at the start is told once
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
        """Send SIGTERM; return in words how the server ended.

        None where it did not within 5 s, or where there was no sense in it: then `problem` says why.
        """
        try:
            return self._terminate() if self.still_serves() else None
        finally:
            if self.phase is Phase.PLATFORM and self._container is not None:
                changes = self._container.diff() or ()
                self.written = written_outside(changes, gpu=self._stage.limits.gpu)

    def _terminate(self) -> str | None:
        import requests
        from docker.errors import APIError

        started = time.monotonic()
        try:
            self._container.kill(signal="SIGTERM")
            self._container.wait(timeout=STOP_LIMIT)
        except APIError as error:  # before RequestException, of which it is one
            self._note_end()
            self.problem = self.problem or f"cannot be stopped ({short_reason(error)})"
            return None
        except requests.RequestException:
            return None
        return f"ended after {time.monotonic() - started:.1f} s"

    def _wait_for_end(self) -> None:
        """Give a server that broke the connection the time to end, so that its end is seen."""
        deadline = time.monotonic() + ENDING
        while self.problem is None and time.monotonic() < deadline:
            self._note_end()
            time.sleep(PAUSE)

    def _settle(self, patience: float) -> None:
        """Give the log the time to show what a call said, and a server that ends by it the time to end."""
        deadline = time.monotonic() + patience
        time.sleep(SETTLING)
        while time.monotonic() < deadline and not self._log.peek().last_line:
            time.sleep(SETTLING)

    def _note_end(self) -> None:
        """Note it where the server is no longer there."""
        self._container.reload()
        state = self._container.attrs["State"]
        if not state["Running"] and self.problem is None:
            self.ended = True
            last = self._log.peek().last_line
            self.problem = f"the server ended with exit {state['ExitCode']}{': ' + last[:300] if last else ''}"

    def _clear(self, left: Output) -> None:
        """Empty /output from inside, as the container's own user: only the engine's tools and that user may."""
        from docker.errors import APIError

        names = [f"/output/{entry.path}" for entry in left.entries if len(entry.path.parts) == 1]
        python = (
            "import os, shutil, sys; [shutil.rmtree(p) if os.path.isdir(p) else os.remove(p) for p in sys.argv[1:]]"
        )
        ways = (["rm", "-rf", "--"], ["python3", "-c", python])
        reason = "the image has neither rm nor python3"
        try:
            if not names or any(self._container.exec_run([*way, *names]).exit_code == 0 for way in ways):
                return
        except APIError as error:
            reason = short_reason(error)
        self._note_end()
        self.problem = self.problem or f"/output cannot be emptied between calls ({reason})"
