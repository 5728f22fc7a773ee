"""Building the images that the tests run, each once for all test processes, by build.sh as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

__all__ = ["BASE", "ROOT", "WHEELHOUSE", "build_image", "engine_answers", "require_success"]

ROOT = Path(__file__).resolve().parents[2]
BASE = os.environ.get("SYNTHCT_TEST_BASE", "synthct-base:bookworm")
"""Base image of every image under test; it is made by docker/base.sh where the engine has none of that name."""
WHEELHOUSE = ROOT / "build" / "wheelhouse"
"""The CPU build of torch, as pip is led to it on this machine."""


def engine_answers() -> bool:
    """Tell whether a Docker engine answers."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def require_success(*command: str | Path, **options: str) -> str:
    """Run a command and return its stdout; a failure shows the end of its stderr."""
    result = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, **options},
    )
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]} left with {result.returncode}: {result.stderr[-3000:]}")
    return result.stdout


def build_image(tag: str, *arguments: str) -> str:
    """Build an image by build.sh on the base for tests, its packages from the wheelhouse first; layers are reused."""
    WHEELHOUSE.mkdir(parents=True, exist_ok=True)
    with FileLock(WHEELHOUSE / ".lock"):
        if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False).returncode:
            require_success(ROOT / "docker" / "base.sh", BASE)
        if not list(WHEELHOUSE.glob("torch-*.whl")):
            require_success(ROOT / "docker" / "wheelhouse.sh", WHEELHOUSE, "torch")
        options = ("--base", BASE, "--wheelhouse", str(WHEELHOUSE), "--torch-index", "", "--tag", tag)
        require_success(ROOT / "build.sh", *arguments, *options)
    return tag
