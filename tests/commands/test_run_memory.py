"""`synthct run` under RLIMIT_DATA, as the platform sets it: it succeeds, or exit 5 and one line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from commands.command_line import Outcome, files_below, synthct

from synthct.phantom import make_phantom
from synthct.volume import write_volume

MEGABYTE = 1 << 20
REFUSED_AT_START = "the memory limit (RLIMIT_DATA) is"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An /input of 256 x 256 x 60 voxels: 7.5 MiB as it is stored, 15 MiB as float32."""
    case = make_phantom("limb", task="mri", seed=1, size=(256, 256, 60), spacing=(1.5, 1.5, 3.0))
    folder = tmp_path_factory.mktemp("memory") / "input"
    for name, volume in (("mri", case.image), ("body", case.mask)):
        (folder / "images" / name).mkdir(parents=True)
        write_volume(volume, folder / "images" / name / f"{name}.mha")
    (folder / "region.json").write_text('"Extremity"')
    return folder


def run(algorithm: str, source: Path, output: Path, limit: int) -> Outcome:
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("needs prlimit")
    return synthct(
        *("run", algorithm),
        prefix=[prlimit, f"--data={limit * MEGABYTE}"],
        INPUT_FOLDER=str(source),
        OUTPUT_FOLDER=str(output),
        SYNTHCT_STARTER="1",
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
    )


@pytest.mark.parametrize("limit", [48, 200, 326])
def test_too_little_to_start(source: Path, tmp_path: Path, limit: int) -> None:
    outcome = run("lookup-table", source, tmp_path / "output", limit)
    assert outcome.code == 5
    assert outcome.reason == (
        f"error: {REFUSED_AT_START} {limit} MiB; expected at least 328 MiB, and more for the images"
    )
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "limit"),
    [
        *(("lookup-table", limit) for limit in (328, 336, 344, 352, 360)),
        ("pix2pix-pelvis", 336),
        ("pix2pix-pelvis", 480),
    ],
)
def test_every_limit_ends_well_or_is_told_in_one_line(source: Path, tmp_path: Path, algorithm: str, limit: int) -> None:
    outcome = run(algorithm, source, tmp_path / "output", limit)
    assert REFUSED_AT_START not in outcome.err
    assert "Traceback" not in outcome.err
    images = files_below(tmp_path / "output" / "images")
    if outcome.code == 0:
        assert algorithm == "lookup-table"
        assert images == ["synthetic-ct", "synthetic-ct/mri.mha"]
    else:
        assert outcome.code == 5, outcome.err
        assert outcome.reason.startswith("error: ")
        assert "memory" in outcome.reason.casefold()
        assert images == []


def test_enough_memory(source: Path, tmp_path: Path) -> None:
    assert run("lookup-table", source, tmp_path / "output", 512).code == 0


def test_threads_of_a_large_host_are_capped(tmp_path: Path) -> None:
    """Without a variable of the user's, no library gets more threads than there are cores, nor than 16."""
    cores = str(min(len(os.sched_getaffinity(0)), 16))
    code = (
        "import os, sys\nfrom synthct.cli import run\nrun._limit_threads()\n"
        "print(*(os.environ[name] for name in run.THREAD_VARIABLES), 'numpy' in sys.modules)"
    )
    import subprocess
    import sys

    for told, expected in (({}, [cores] * 4), ({"OMP_NUM_THREADS": "3"}, ["3"] * 4)):
        kept = {name: value for name, value in os.environ.items() if "THREADS" not in name}
        result = subprocess.run(
            [sys.executable, "-c", code], env={**kept, **told}, capture_output=True, text=True, check=True
        )
        assert result.stdout.split() == [*expected, "False"]
