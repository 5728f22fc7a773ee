"""Containers of the evaluation: no network, no capability, read-only but for /output and /tmp, a user nobody knows."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.command_line import files_below
from containers.running import PATIENCE, WALLS, Container, Ended, bind, created, open_folder, run_container

__all__ = ["LIMITS", "Evaluation", "ScoringServer", "execute", "open_evaluation", "read_strict", "require_refusal"]

GROUND_TRUTH = "/opt/ml/input/data/ground_truth"
LIMITS = ("--pids-limit=128", "--memory=8g", "--memory-swap=8g")
"""In place of those of WALLS: the platform's processes, and its default memory of evaluations (CONTRACT 2.6)."""
PYTHON = "/opt/venv/bin/python"
CALLER = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", 4743, timeout=100)
connection.request(sys.argv[1], sys.argv[2])
reply = connection.getresponse()
print(json.dumps([reply.status, reply.read().decode()]))
"""
"""Runs inside the container: without a network it can be called from nowhere else, and the platform does just that."""


@dataclass(frozen=True)
class Evaluation:
    """An image of the evaluation and the ground truth of its phase; `model` is mounted at /opt/ml/model."""

    image: str
    truth: Path
    model: Path | None = None

    def run(self, source: Path, output: Path, **environment: str) -> Ended:
        """Score one submission in a container that starts for it and ends (exec)."""
        flags = (*LIMITS, *bind(self.truth, GROUND_TRUTH, read_only=True), *_variables(environment))
        return run_container(self.image, source, output, *flags, model=self.model)


@contextmanager
def open_evaluation(evaluation: Evaluation, source: Path, output: Path, **environment: str) -> Iterator[ScoringServer]:
    """Create a container that the caller starts, of an image of either kind; it is gone afterwards."""
    mounts = [
        *bind(source, "/input", read_only=True),
        *bind(evaluation.truth, GROUND_TRUTH, read_only=True),
        *bind(open_folder(output), "/output"),
    ]
    user = 20_000 + secrets.randbelow(40_000)
    flags = ("--network=none", *WALLS, *LIMITS, f"--user={user}:{user}", *mounts, *_variables(environment))
    with created(evaluation.image, *flags) as container:
        yield ScoringServer(container.name)


class ScoringServer(Container):
    """A container that is called from inside."""

    def call(self, method: str, path: str) -> tuple[int, str]:
        """Send a request with an empty body; return the status and the text."""
        result = execute(self.name, CALLER, method, path)
        if result.returncode != 0:
            raise ConnectionError(result.stderr.strip().splitlines()[-1])
        status, text = json.loads(result.stdout)
        return int(status), str(text)

    def wait_until_healthy(self) -> None:
        """Poll /health until it says 200."""
        end = time.monotonic() + PATIENCE
        last = ""
        while time.monotonic() < end:
            try:
                status, last = self.call("GET", "/health")
            except ConnectionError as error:  # it does not listen yet
                status, last = 0, str(error)
            if status == 200:
                return
        raise TimeoutError(f"/health: {last}; {self.lines()}")


def execute(name: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program inside a running container, as its own user."""
    command = ["docker", "exec", name, PYTHON, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def read_strict(output: Path) -> dict[str, Any]:
    """Read metrics.json; NaN and Infinity are no JSON (CONTRACT 2.6)."""
    text = (output / "metrics.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    return content


def require_refusal(lines: list[str], output: Path, *words: str) -> None:
    """One sentence with these words as the last line on stderr, which is all that the platform shows; nothing left."""
    assert lines[-1].startswith("error: "), lines
    assert [word for word in words if word not in lines[-1]] == [], lines[-1]
    assert len(lines[-1]) < 1024
    assert [line for line in lines if "Traceback" in line] == []
    assert files_below(output) == []


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in environment.items()]
