"""A server process in invoke mode, called over real HTTP as the platform does."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["InvokeProcess", "started"]

PATIENCE = 120.0
LISTENING = re.compile(r"invoke: listening on port (\d+), loading")


class InvokeProcess:
    """A process that was started; its stderr is collected line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def port(self) -> int:
        """The port that the first line names."""
        found = self.wait_for_line(LISTENING.pattern)
        match = LISTENING.search(found)
        assert match is not None
        return int(match[1])

    def wait_for_line(self, pattern: str) -> str:
        """Wait until a line of stderr matches, and return it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for line in list(self.lines):
                if re.search(pattern, line):
                    return line
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.lines}"
            time.sleep(0.01)
        raise AssertionError(f"no line {pattern!r} in {self.lines}")

    def wait_for_last_line(self, start: str) -> None:
        """Wait until the last line of stderr begins like this: what a process writes arrives a little later."""
        end = time.monotonic() + 10
        while not (self.lines and self.lines[-1].startswith(start)):
            assert time.monotonic() < end, f"the last line does not begin with {start!r}: {self.lines}"
            time.sleep(0.01)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
        """Send one request; return status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return response.status, response.read().decode().strip()
        finally:
            connection.close()

    def invoke(self) -> tuple[int, str]:
        """POST /invoke with an empty body."""
        return self.request("POST", "/invoke")

    def wait_until_ready(self) -> list[int]:
        """Poll /health until it says 200; return every status on the way."""
        statuses = [self.request("GET", "/health")[0]]
        while statuses[-1] != 200:
            assert len(statuses) < PATIENCE / 0.02, self.lines
            time.sleep(0.02)
            statuses.append(self.request("GET", "/health")[0])
        return statuses

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send a signal; return the seconds until the process ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.wait()
        return time.monotonic() - began

    def wait(self) -> int:
        """Wait for the end and the last line; return the exit code."""
        code = self.process.wait(timeout=PATIENCE)
        self._reader.join(timeout=PATIENCE)
        return code


@contextmanager
def started(
    arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[InvokeProcess]:
    """Start Python with these arguments; whatever happens, the process has ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=cwd,
    )
    running = InvokeProcess(process)
    try:
        yield running
    finally:
        process.kill()
        running.wait()
        assert process.stderr is not None
        process.stderr.close()
