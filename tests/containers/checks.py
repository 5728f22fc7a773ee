"""Running `synthct check` as a user does, on stand-in images that need no package but Python's own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
from containers.images import BASE, require_success

__all__ = ["NOTHING", "STAND_IN", "Outcome", "engine_contents", "run_check", "stand_in_image"]

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


def run_check(*arguments: str | Path, as_json: bool = True, limits: bool = True) -> Outcome:
    """Run the command in a process of its own, without the largest case."""
    words = [sys.executable, "-c", "from synthct.cli import main; main()", "check", *map(str, arguments)]
    words += ["--skip-largest", "--memory", "4g"] if limits else []
    words += ["--json"] if as_json else []
    result = subprocess.run(words, capture_output=True, text=True, check=False)
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
            "containers": [item.id for item in client.containers.list(all=True, filters=label)],
            "volumes": [item.name for item in client.volumes.list(filters=label)],
            "networks": [item.name for item in client.networks.list(filters=label)],
            "images": [item["Id"] for item in client.api.images(all=True, filters=label)],
        }
    finally:
        client.close()
