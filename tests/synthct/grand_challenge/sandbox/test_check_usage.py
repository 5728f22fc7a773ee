"""`synthct check` where there is nothing to check: one clear line and the right exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run_check(*arguments: str | Path, host: str = "unix:///nonexistent") -> tuple[int, list[str]]:
    """Run the command without an engine; return its exit code and the lines of stderr."""
    code = f"import os; os.environ['DOCKER_HOST'] = {host!r}; from synthct.cli import main; main()"
    words = [sys.executable, "-c", code, "check", *map(str, arguments)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.stdout == ""
    return result.returncode, result.stderr.splitlines()


@pytest.mark.parametrize("host", ["unix:///nonexistent", "tcp://127.0.0.1:1", "nonsense://x"])
def test_no_engine(host: str) -> None:
    code, lines = run_check("image", host=host)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {host}: no container engine answers (")
    assert lines[0].endswith("expected one that runs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--memory", "1g"), "--memory 1g is too little; expected 2g or more"),
        (("--memory", "lots"), "--memory lots is no size; expected one like 16g"),
        (("--region", "foot"), "--region foot is not known; expected AB, HN, TH, B, P or EX"),
        (("--budget", "0"), "--budget 0 cannot be meant; expected 1 to 604800 seconds"),
        (("--budget", "inf"), "--budget inf cannot be meant; expected 1 to 604800 seconds"),
        (("--budget", "nan"), "--budget nan cannot be meant; expected 1 to 604800 seconds"),
        (("--budget", "604801"), "--budget 604801 cannot be meant; expected 1 to 604800 seconds"),
        (("--ground-truth", "x"), "--ground-truth x is for --kind evaluation; expected it there only"),
    ],
)
def test_options_that_cannot_be_meant(options: tuple[str, ...], words: str) -> None:
    assert run_check("image", *options) == (2, [f"error: {words}"])


@pytest.mark.parametrize("options", [("--kind", "both"), ("--gpus", "2"), ("--api", "rest"), ("--budget", "long")])
def test_values_out_of_range(options: tuple[str, ...]) -> None:
    code, lines = run_check("image", *options)
    assert code == 2
    assert options[0] in lines[-1]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    code, lines = run_check("image", "--model", tmp_path / "absent")
    assert (code, lines) == (
        3,
        [f"error: {tmp_path / 'absent'}: no such file or folder; expected a folder or a tarball"],
    )


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    code, lines = run_check(tmp_path)
    assert code == 3
    assert lines == [f"error: {tmp_path}: is a folder; expected a tarball or the name of an image"]


def test_help_explains_itself() -> None:
    words = [sys.executable, "-c", "from synthct.cli import main; main()", "check", "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    options = ("--kind", "--task", "--region", "--model", "--ground-truth", "--api", "--budget", "--memory", "--gpus")
    assert [option for option in (*options, "--skip-largest", "--json", "--keep") if option not in shown] == []
    assert "Exit code 6" in shown


def test_importing_the_command_is_quick() -> None:
    code = (
        "import sys; import synthct.cli.check; "
        "sys.stderr.write(repr([n for n in ('docker', 'torch', 'SimpleITK', 'scipy', 'requests') if n in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert found == "[]"
