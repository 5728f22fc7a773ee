"""demo.sh and setup.sh as a newcomer runs them, from a clone of what is committed or about to be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from synthct.phantom import make_phantom
from synthct.volume import write_volume

ROOT = Path(__file__).resolve().parents[1]
ENTRANTS = ("creps-cgan", "lookup-table", "nnresunet-afp", "pix2pix-pelvis", "spade-afp")


def demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [ROOT / "demo.sh", *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="module")
def user_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SynthRAD-style folder of one small case, as a user would hand it to --data."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "Task1" / "EX" / "1EXA004"
    folder.mkdir(parents=True)
    phantom = make_phantom("limb", seed=5, size=(64, 64, 16), spacing=(2.0, 2.0, 6.0))
    for stem, volume in (("mr", phantom.image), ("ct", phantom.reference), ("mask", phantom.mask)):
        write_volume(volume, folder / f"{stem}.mha")
    return root


@pytest.mark.slow
def test_demo_ranks_all_entrants_on_a_users_folder(user_data: Path, tmp_path: Path) -> None:
    result = demo("--data", user_data, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr[-2000:]
    board = json.loads((tmp_path / "out" / "leaderboard" / "leaderboard.json").read_text())
    assert sorted(entry["entry"] for entry in board["entries"]) == sorted(ENTRANTS)
    assert all(entry["starter"] for entry in board["entries"])
    for entrant in ENTRANTS:
        assert entrant in result.stdout
        assert (tmp_path / "out" / "predictions" / entrant / "1EXA004.mha").is_file()
        assert (tmp_path / "out" / "scores" / entrant / "metrics.json").is_file()
        assert (tmp_path / "out" / "scores" / entrant / "1EXA004.png").read_bytes().startswith(b"\x89PNG")
        page = tmp_path / "out" / "leaderboard" / "entries" / entrant / "report" / "1EXA004.html"
        assert page.stat().st_size > 1 << 20  # the volumes and the viewer lie in it
    site = (tmp_path / "out" / "leaderboard" / "index.html").read_text()
    assert all(entrant in site for entrant in ENTRANTS)
    last = result.stdout.strip().splitlines()[-1]
    assert "done in" in last
    assert "not a medical device" in last
    assert result.stderr.count("STARTER weights") == len(ENTRANTS)


@pytest.mark.slow
def test_demo_passes_a_bad_folder_on_as_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = demo("--data", tmp_path / "empty", "--output", tmp_path / "out")
    assert result.returncode == 3
    assert result.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path / 'empty'}: holds no case")
    assert not (tmp_path / "out").exists()


def test_demo_help_and_unknown_option() -> None:
    shown = demo("--help")
    assert shown.returncode == 0
    assert "--data DIR" in shown.stdout
    refused = demo("--dat")
    assert refused.returncode == 2
    assert "--dat" in refused.stderr


def test_setup_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = subprocess.run(
        ["bash", "-c", f". {ROOT / 'setup.sh'}; setup_venv evaluation"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": str(old)},
    )
    assert result.returncode == 1
    assert str(old) in result.stderr
    assert "3.11" in result.stderr


def test_setup_is_done_once(tmp_path: Path) -> None:
    """With the notes of an earlier run in place, nothing is installed: no network is needed."""
    for name in ("pyproject.toml", "constraints.txt", "setup.sh"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    key = subprocess.run(
        ["bash", "-c", "cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (tmp_path / ".venv").mkdir()
    for extra in ("evaluation", "report"):
        (tmp_path / ".venv" / f"installed-{key}-{extra}").touch()
    result = subprocess.run(
        ["bash", "-c", ". ./setup.sh; setup_venv evaluation report; echo $PATH"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{tmp_path}/.venv/bin:")


def test_ci_calls_test_sh_and_nothing_cleverer() -> None:
    lines = [
        line
        for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#") and not line.startswith(("set ", "cd "))
    ]
    assert lines == ["./test.sh"]


@pytest.mark.parametrize("name", ["demo.sh", "test.sh", ".ci/run"])
def test_scripts_are_executable_and_well_formed(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / name], check=False).returncode == 0
