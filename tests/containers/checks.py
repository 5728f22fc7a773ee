"""Running `synthct check` as a user does, on stand-in images that need no package but Python's own."""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
from containers.images import BASE, require_success

__all__ = ["NOTHING", "STAND_IN", "Outcome", "engine_contents", "engine_over_tcp", "run_check", "stand_in_image"]

NOTHING: dict[str, list[str]] = {"containers": [], "volumes": [], "networks": [], "images": []}
STAND_IN = Path(__file__).parent / "stand_in"


@dataclass(frozen=True)
class Outcome:
    """What `synthct check` printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    @cached_property
    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.stdout)
        return content

    @property
    def broken(self) -> dict[str, str]:
        """What fails or would be refused: verdicts by rule."""
        checks = self.report["checks"]
        return {check["id"]: check["verdict"] for check in checks if check["verdict"] in ("fail", "would be refused")}

    @property
    def unchecked(self) -> list[str]:
        return [check["id"] for check in self.report["checks"] if check["verdict"] == "not checked"]

    def found(self, rule: str) -> str:
        """What the first finding of a rule says."""
        text: str = next(check["found"] for check in self.report["checks"] if check["id"] == rule)
        return text


def run_check(
    *arguments: str | Path, as_json: bool = True, limits: bool = True, before: str = "", **variables: str
) -> Outcome:
    """Run the command in a process of its own, without the largest case.

    Args:
        *arguments: of the command.
        as_json: ask for JSON.
        limits: leave out the largest case, and give a run 4 GB.
        before: code that the process runs first.
        **variables: of the environment.
    """
    words = [sys.executable, "-c", f"{before}\nfrom synthct.cli import main; main()", "check", *map(str, arguments)]
    words += ["--skip-largest", "--memory", "4g"] if limits else []
    words += ["--json"] if as_json else []
    result = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    return Outcome(result.returncode, result.stdout, result.stderr)


def stand_in_image(script: str = "algorithm.py", fault: str = "", **settings: str) -> str:
    """Build a stand-in; layers are reused, so that one with a fault costs a second.

    Args:
        script: algorithm.py, server.py or judge.py.
        fault: what it does wrong.
        **settings: further lines of the Dockerfile, by instruction.
    """
    settled = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    tag = f"synthct-test/stand-in:{script.partition('.')[0]}-{fault or 'sound'}-{settled}"
    require_success(
        "docker", "build", "--quiet", "--build-arg", f"BASE={BASE}", "--tag", "synthct-test/stand-in:base", STAND_IN
    )
    lines = ["FROM synthct-test/stand-in:base", f"ENV SCRIPT={script} FAULT={fault}"]
    if script == "server.py" and "LABEL" not in settings:
        lines.append("LABEL org.grand-challenge.api-method=invoke")
    lines += [f"{instruction} {words}" for instruction, words in settings.items()]
    text = "\n".join(lines) + "\n"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, "-"], input=text, text=True, check=True, capture_output=True
    )
    return tag


def engine_contents(image: str) -> dict[str, list[str]]:
    """What the engine holds that a check of this image made."""
    client = docker.from_env()
    try:
        label = {"label": f"synthct-check={client.images.get(image).id}"}
        return {
            "containers": [item.id for item in client.containers.list(all=True, filters=label, sparse=True)],
            "volumes": [item.name for item in client.volumes.list(filters=label)],
            "networks": [item.name for item in client.networks.list(filters=label)],
            "images": [item["Id"] for item in client.api.images(all=True, filters=label)],
        }
    finally:
        client.close()


@contextmanager
def engine_over_tcp() -> Iterator[str]:
    """The engine of this machine, as if it were another's: its socket passed on by TCP. Yields a DOCKER_HOST."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect("/var/run/docker.sock")
                ways = {engine: self.request, self.request: engine}
                while True:
                    for ready in select.select(list(ways), [], [])[0]:
                        content = ready.recv(1 << 16)
                        if not content:
                            return
                        ways[ready].sendall(content)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
