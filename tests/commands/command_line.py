"""Running the real command in a real process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Outcome", "files_below", "synthct", "without_privileges"]

PROGRAM = "from synthct.cli import main; main()"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last line on stderr: what Grand Challenge would show."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def synthct(*arguments: str | Path, cwd: Path | None = None, prefix: Sequence[str] = (), **environment: str) -> Outcome:
    """Run `synthct` with arguments, behind a prefix command; `environment` is added to this process's own."""
    result = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=300,
    )
    return Outcome(result.returncode, result.stdout, result.stderr)


def without_privileges() -> list[str]:
    """A command prefix that takes away root's right to write where the permissions forbid it; empty for other users.

    A user id of its own would not do: root's Python is often not readable to others.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv to drop root's privileges")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search,-fowner"]


def files_below(folder: Path) -> list[str]:
    """Every file and folder below a folder, as relative names; none where it does not exist."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []
