"""Ten cases spread over processes and over a real Dask cluster: the same bytes, and no row lost with a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import PROGRAM, files_below, synthct
from dask_cluster import Cluster, dask_cluster

from synthct.phantom import make_phantom
from synthct.volume import Volume, write_volume

CASES = tuple(f"1EXA{number:03d}" for number in range(1, 11))
JUDGE = ("--segmenter", "tissue")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten limbs and their sCTs: one phantom, each time moved and made wrong by another number of HU."""
    root = tmp_path_factory.mktemp("ten")
    phantom = make_phantom("limb", seed=4, size=(144, 144, 40), spacing=(1.5, 1.5, 3.0))
    for number, case in enumerate(CASES):
        moved = {name: shifted(getattr(phantom, name), number) for name in ("reference", "mask")}
        write_volume(moved["reference"], root / "truth" / "ct" / f"{case}.mha")
        write_volume(moved["mask"], root / "truth" / "mask" / f"{case}.mha")
        wrong = shifted(moved["reference"], 1)
        sct = wrong.with_voxels((wrong.voxels + 5 * number).astype(np.int16))
        write_volume(sct, root / "predictions" / f"{case}.mha")
    return root


def shifted(volume: Volume, voxels: int) -> Volume:
    return volume.with_voxels(np.roll(volume.voxels, voxels, axis=2))


def evaluate(data: Path, output: Path, *options: str) -> bytes:
    outcome = synthct("evaluate", data / "predictions", data / "truth", output, *JUDGE, *options)
    assert outcome.code == 0, outcome.err
    return (output / "metrics.json").read_bytes()


def rows_of(output: Path) -> set[str]:
    return {path.stem for path in (output / "rows").glob("*.json")}


def start_and_kill(data: Path, output: Path, cluster: Cluster) -> tuple[int, str, float]:
    """Start the command, kill a worker once some rows are there; exit code, stderr, and the seconds it then took."""
    arguments = ["evaluate", data / "predictions", data / "truth", output, *JUDGE, "--dask", cluster.address]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while len(rows_of(output)) < 3 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    cluster.kill_worker()
    killed = time.monotonic()
    _, err = process.communicate(timeout=120)
    return process.returncode, err, time.monotonic() - killed


@pytest.mark.slow
def test_cluster_gives_the_bytes_of_this_machine_and_survives_a_killed_worker(data: Path, tmp_path: Path) -> None:
    local = evaluate(data, tmp_path / "local", "--workers", "1")
    assert [row["case"] for row in json.loads(local)["results"]] == list(CASES)
    (tmp_path / "cluster").mkdir()
    with dask_cluster(tmp_path / "cluster") as cluster:
        assert evaluate(data, tmp_path / "dask", "--dask", cluster.address) == local

        broken = tmp_path / "broken"
        code, err, seconds = start_and_kill(data, broken, cluster)
        reason = err.splitlines()[-1]
        assert code == 1, err
        assert reason.startswith("error: the Dask worker tcp://")
        assert "the same command goes on from there" in reason
        assert seconds < 20
        kept = rows_of(broken)
        assert 3 <= len(kept) < len(CASES)
        assert not (broken / "metrics.json").exists()

        stamps = {case: (broken / "rows" / f"{case}.json").read_text() for case in kept}
        cluster.add_worker()
        assert evaluate(data, broken, "--dask", cluster.address) == local
        assert {case: (broken / "rows" / f"{case}.json").read_text() for case in kept} == stamps
    assert evaluate(data, tmp_path / "two", "--workers", "2") == local


@pytest.mark.slow
def test_an_interrupted_run_says_so_at_once_and_goes_on_later(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = ["evaluate", data / "predictions", data / "truth", output, *JUDGE, "--workers", "2"]
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        end = time.monotonic() + 120
        while not rows_of(output) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers hear it too
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == [
        "error: interrupted; the cases that were finished are kept, and the same command goes on from there"
    ]
    assert time.monotonic() - began < 20
    kept = rows_of(output)
    assert 1 <= len(kept) < len(CASES)
    again = synthct(*arguments)
    assert again.code == 0
    assert f"{len(kept)} of 10 cases taken over from an earlier run" in again.err


def test_a_rerun_scores_only_what_has_changed(data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for case in CASES[:3]:
        for folder in ("truth/ct", "truth/mask", "predictions"):
            (few / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(data / folder / f"{case}.mha", few / folder / f"{case}.mha")
    output = tmp_path / "output"
    first = evaluate(few, output)
    row = output / "rows" / f"{CASES[0]}.json"
    content = json.loads(row.read_text())
    content["row"]["mae"] = 12345.0  # a mark: whatever is taken over carries it
    row.write_text(json.dumps(content))
    shutil.copy(data / "predictions" / f"{CASES[5]}.mha", few / "predictions" / f"{CASES[1]}.mha")
    second = {row["case"]: row for row in json.loads(evaluate(few, output))["results"]}
    before = {row["case"]: row for row in json.loads(first)["results"]}
    assert second[CASES[0]]["mae"] == 12345.0
    assert second[CASES[1]]["mae"] != before[CASES[1]]["mae"]
    assert second[CASES[2]] == before[CASES[2]]
    third = {row["case"]: row for row in json.loads(evaluate(few, output, "--protocol", "synthrad2023"))["results"]}
    assert third[CASES[0]]["mae"] == before[CASES[0]]["mae"]  # another protocol: nothing is taken over
    row.write_text("{")
    assert json.loads(evaluate(few, output))["results"][0]["mae"] == before[CASES[0]]["mae"]


def test_both_places_to_work_exclude_each_other(data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", data / "predictions", data / "truth", tmp_path / "o", *JUDGE)
    outcome = synthct(*arguments, "--workers", "2", "--dask", "tcp://127.0.0.1:1")
    assert (outcome.code, files_below(tmp_path / "o")) == (2, [])
    assert "exclude each other" in outcome.reason
    silent = synthct(*arguments, "--dask", "tcp://127.0.0.1:1")
    assert silent.code == 2
    assert "no scheduler answers" in silent.reason
