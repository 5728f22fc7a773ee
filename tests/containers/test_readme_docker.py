"""README's docker lines run as they stand, behind the lines that make their folders; the image alone is renamed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from containers.images import ROOT

from synthct.volume import read_volume

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
BASH = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NAME = "synthct-lookup-table:0.1.0"
NO_GPU = "could not select device driver"
"""What Docker says where NVIDIA's container toolkit is missing."""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands after README's earlier lines: phantoms, a model trained on them, the platform's folders."""
    folder = tmp_path_factory.mktemp("reader")
    wanted = ("synthct sample phantoms", "synthct train", "to platform\n")
    lines = [line for block in BASH for line in block.splitlines(keepends=True) if any(word in line for word in wanted)]
    assert len(lines) == 3
    result = run("".join(lines), folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.container
def test_three_lines_make_a_synthetic_ct(folder: Path, lookup_image: str) -> None:
    lines = SHELL[0].strip().splitlines()
    assert len(lines) == 3
    result = run(SHELL[0].replace(NAME, lookup_image), folder)
    assert result.returncode == 0, result.stderr
    written = folder / result.stdout.strip().splitlines()[-1]
    assert written.stat().st_uid == os.getuid()
    assert read_volume(written).geometry == read_volume(next((folder / "phantoms").rglob("1EXA001/mr.mha"))).geometry


@pytest.mark.container
def test_the_line_for_a_gpu(folder: Path, lookup_image: str) -> None:
    """It runs where there is one; elsewhere Docker itself refuses, before the container starts."""
    (folder / "sct").mkdir(exist_ok=True)
    result = run(SHELL[1].replace(NAME, lookup_image), folder)
    if result.returncode == 0:
        assert "on cuda" in result.stderr
    else:
        assert NO_GPU in result.stderr
