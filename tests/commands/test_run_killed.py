"""`synthct run` that is killed or runs out of disk: nothing lies below /output/images unless the run succeeded."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands.command_line import files_below, synthct
from commands.limb_cases import save_platform_input
from mounts import mounted_disk

KILLED_AT = """
import os, signal, sys
wanted, seen, rename = int(sys.argv.pop(1)), [], os.replace

def replace(source, target):
    if ".partial" not in str(target):
        seen.append(target)
        if len(seen) == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = replace
from synthct.cli import main
main()
"""
"""The command, which kills itself just before it moves the n-th file to its place."""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `run` reads from the environment; returns the output folder."""
    monkeypatch.setenv("INPUT_FOLDER", str(save_platform_input(tmp_path / "input")))
    monkeypatch.setenv("OUTPUT_FOLDER", str(tmp_path / "output"))
    monkeypatch.setenv("SYNTHCT_STARTER", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "output"


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_killed_while_the_files_move_to_their_place(environment: Path, moved: int) -> None:
    command = [sys.executable, "-c", KILLED_AT, str(moved), "run", "lookup-table"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert [name for name in files_below(environment / "images") if name != "synthetic-ct"] == []
    assert len([name for name in files_below(environment) if ".partial" in name]) > 1
    assert synthct("run", "lookup-table").code == 0
    assert files_below(environment) == [
        "images",
        "images/synthetic-ct",
        "images/synthetic-ct/scan-of-mri.mha",
        "manifest.json",
        "results.json",
    ]


def test_full_disk_is_exit_1_and_one_line(environment: Path) -> None:
    with mounted_disk(environment, size=8 << 10):
        outcome = synthct("run", "lookup-table")
        assert outcome.code == 1
        assert outcome.reason.startswith("error: ")
        assert "images/synthetic-ct/scan-of-mri.mha: cannot be written" in outcome.reason
        assert "expected room for it on the disk" in outcome.reason
        assert files_below(environment) == []
