"""CONTRACT 6.B against running containers of the evaluation, line by line.

Every run has no network, no capability, a read-only root, a user that nobody knows, 128 processes and 128 MB of shared
memory; input and ground truth are mounted read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.command_line import files_below
from commands.evaluation_phase import CASES, OFFSETS, TISSUE, evaluate, save_flat, save_platform_jobs, save_truth
from containers.running import DATA, Ended, link_input, run_container
from containers.scoring import LIMITS, Evaluation, execute, open_evaluation, read_strict, require_refusal
from submission_files import forge_job, serializer_job

from synthct.phantom import make_phantom
from synthct.volume import read_volume, write_volume

pytestmark = pytest.mark.container

OFFICIAL = ("mae", "psnr", "ms_ssim", "DICE", "HD95")
OURS = ("DICE_strict", "HD95_strict", "nsd", "nsd_surfel", "nsd_voxel", "n_missed", "n_spurious", "mae_bone")
PKS = [f"{number:08d}-0000-4000-8000-{number:012d}" for number in (3, 1, 2)]
WORKERS = """
import os, pathlib
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdecimal() and folder.name != str(os.getpid()):
        if b"spawn_main" in (folder / "cmdline").read_bytes():
            print(folder.name)
"""
"""Runs inside the container: the process ids of its workers."""


class Scene:
    """A ground truth, the sCTs of its three limbs, and the bytes that `synthct evaluate` makes of them on the host."""

    def __init__(self, root: Path, image: str) -> None:
        self.evaluation = Evaluation(image, save_truth(root / "truth", TISSUE))
        self.flat = save_flat(root / "flat")
        self.expected = evaluate(self.flat, self.evaluation.truth, root / "evaluated", "--segmenter", "tissue")

    def run(self, source: Path, output: Path, **environment: str) -> Ended:
        return self.evaluation.run(source, output, **environment)


@pytest.fixture(scope="module")
def scene(evaluation_image: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"), evaluation_image)


def jobs_of(kind: str) -> list[dict[str, Any]]:
    if kind == "minimal":
        return [forge_job(pk, case) for pk, case in zip(PKS, CASES, strict=True)]
    jobs = [serializer_job(pk, case) for pk, case in zip(PKS, CASES, strict=True)]
    other = {"interface only": "socket", "socket only": "interface"}.get(kind)
    for entry in (entry for job in jobs for entry in job["inputs"] + job["outputs"] if other):
        del entry[other]
    return [jobs[1], jobs[2], jobs[0]] if kind == "shuffled" else jobs


@pytest.mark.parametrize("kind", ["minimal", "full", "interface only", "socket only", "shuffled"])
def test_3_predictions_json_in_each_of_its_forms(scene: Scene, tmp_path: Path, kind: str) -> None:
    """The bytes of the host, so the aggregates in whatever order the jobs stand."""
    source = save_platform_jobs(tmp_path / "input", scene.flat, jobs_of(kind))
    ended = scene.run(source, tmp_path / "output")
    assert ended.code == 0, ended.lines
    assert files_below(tmp_path / "output") == ["metrics.json"]
    assert (tmp_path / "output" / "metrics.json").read_bytes() == scene.expected
    assert ended.owners == {ended.user}
    rows = read_strict(tmp_path / "output")["results"]
    assert {row["case"]: row["mae"] for row in rows} == OFFSETS


def test_3_input_may_be_a_link_as_on_the_machines_of_the_platform(scene: Scene, tmp_path: Path) -> None:
    data = tmp_path / "data"
    save_platform_jobs(data / "job-input", scene.flat, jobs_of("full"))
    (data / "input").symlink_to("job-input")
    shutil.copytree(scene.evaluation.truth, data / "ground_truth")
    ended = run_container(
        link_input(scene.evaluation.image), data, tmp_path / "output", *LIMITS, model=None, place=DATA
    )
    assert ended.code == 0, ended.lines
    assert (ended.output / "metrics.json").read_bytes() == scene.expected


def as_it_is(source: Path) -> None:
    """Flat, beside what the platform and a Mac leave there."""
    (source / "inputs.json").write_text("[]")
    (source / "__MACOSX").mkdir()
    (source / "__MACOSX" / "._1EXA001.mha").write_bytes(b"no image")
    (source / ".DS_Store").write_bytes(b"no image")


def one_top_folder(source: Path) -> None:
    (source / "my sCTs").mkdir()
    for path in source.glob("*.mha"):
        path.rename(source / "my sCTs" / path.name)


def nested(source: Path) -> None:
    one_top_folder(source)
    (source / "my team").mkdir()
    (source / "my sCTs").rename(source / "my team" / "my sCTs")


def as_nifti(source: Path) -> None:
    for path in source.glob("*.mha"):
        write_volume(read_volume(path), source / f"{path.stem}.nii.gz")
        path.unlink()


def missing(source: Path) -> None:
    (source / "1EXA002.mha").unlink()


def duplicate(source: Path) -> None:
    shutil.copy(source / "1EXA002.mha", source / "sct_1EXA002.mha")


@pytest.mark.parametrize("layout", [as_it_is, one_top_folder, as_nifti])
def test_4_a_zip_that_can_be_scored(scene: Scene, tmp_path: Path, layout: Callable[[Path], None]) -> None:
    shutil.copytree(scene.flat, tmp_path / "input")
    layout(tmp_path / "input")
    ended = scene.run(tmp_path / "input", tmp_path / "output")
    assert ended.code == 0, ended.lines
    assert (tmp_path / "output" / "metrics.json").read_bytes() == scene.expected


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (nested, ["my team/my sCTs/1EXA001.mha lies too deep", "at its top level, or in one folder there"]),
        (missing, ["1 of 3 cases could not be scored; case 1EXA002 has no prediction"]),
        (duplicate, ["case 1EXA002 stands twice, as 1EXA002.mha and sct_1EXA002.mha; expected one file"]),
    ],
)
def test_4_a_zip_that_cannot_be_scored(
    scene: Scene, tmp_path: Path, layout: Callable[[Path], None], words: list[str]
) -> None:
    shutil.copytree(scene.flat, tmp_path / "input")
    layout(tmp_path / "input")
    ended = scene.run(tmp_path / "input", tmp_path / "output")
    assert ended.code == 3
    require_refusal(ended.lines, ended.output, *words)


def test_5_a_shape_mismatch_names_the_case_and_both_shapes(scene: Scene, tmp_path: Path) -> None:
    shutil.copytree(scene.flat, tmp_path / "input")
    cut = make_phantom("limb", seed=1, size=(40, 38, 12), spacing=(3.0, 3.0, 5.0)).reference
    write_volume(cut, tmp_path / "input" / "1EXA002.mha")
    ended = scene.run(tmp_path / "input", tmp_path / "output")
    assert ended.code == 3
    require_refusal(ended.lines, ended.output, "case 1EXA002", "40 x 38 x 12; expected 40 x 40 x 12")


def test_6_a_killed_worker_ends_the_run_within_seconds_and_8_nprocs_sets_their_number(
    evaluation_image: str, tmp_path: Path
) -> None:
    phantom = make_phantom("limb", seed=4, size=(144, 144, 40), spacing=(1.5, 1.5, 3.0))
    truth, source, output = tmp_path / "truth", tmp_path / "input", tmp_path / "output"
    sct = phantom.reference.with_voxels(np.roll(phantom.reference.voxels, 1, axis=2))
    for folder, volume in ((truth / "ct", phantom.reference), (truth / "mask", phantom.mask), (source, sct)):
        first = write_volume(volume, folder / "1EXA001.mha")
        for number in range(2, 61):
            os.link(first, folder / f"1EXA{number:03d}.mha")
    (truth / "evaluation.json").write_text(json.dumps(TISSUE))
    with open_evaluation(Evaluation(evaluation_image, truth), source, output, NPROCS="3") as container:
        container.start()
        container.wait_for_line("is scored")
        workers = execute(container.name, WORKERS).stdout.split()
        execute(container.name, "import os, sys; os.kill(int(sys.argv[1]), 9)", workers[-1])
        killed = time.monotonic()
        code, lines = container.wait(), container.lines()
        seconds = time.monotonic() - killed
    assert (code, lines[0]) == (1, "scoring 60 cases with 3 processes")
    assert len(workers) == 3
    require_refusal(lines, output, "a worker process died after ", "of 60 cases", "there is no metrics.json")
    assert seconds < 15


def test_7_and_9_metrics_json_is_strict_json_and_every_mean_a_number(scene: Scene, tmp_path: Path) -> None:
    jobs = save_platform_jobs(tmp_path / "input", scene.flat, jobs_of("full"))
    assert scene.run(jobs, tmp_path / "output").code == 0
    metrics = read_strict(tmp_path / "output")
    assert {*OFFICIAL, *OURS} <= set(metrics["aggregates"])
    for name, summary in metrics["aggregates"].items():
        assert type(summary["mean"]) in (int, float), name
        assert "." not in name
    assert metrics["aggregates"]["mae"]["mean"] == 10.0
    assert [type(row[name]) for row in metrics["results"] for name in OFFICIAL] == [float] * 15


@pytest.mark.parametrize(
    ("wanted", "told"), [("1", "with 1 process"), ("2", "with 2 processes"), ("64", "with 3 processes")]
)
def test_8_nprocs_changes_no_number(scene: Scene, tmp_path: Path, wanted: str, told: str) -> None:
    ended = scene.run(scene.flat, tmp_path / "output", NPROCS=wanted)
    assert ended.code == 0, ended.lines
    assert ended.lines[0] == f"scoring 3 cases {told}"
    assert (tmp_path / "output" / "metrics.json").read_bytes() == scene.expected


def test_8_nprocs_that_is_no_number(scene: Scene, tmp_path: Path) -> None:
    ended = scene.run(scene.flat, tmp_path / "output", NPROCS="-2")
    assert ended.code == 2
    require_refusal(ended.lines, ended.output, "NPROCS=-2: expected a whole number of processes above 0")


def test_several_submissions_to_one_invoke_server(scene: Scene, evaluation_invoke_image: str, tmp_path: Path) -> None:
    jobs = save_platform_jobs(tmp_path / "jobs", scene.flat, jobs_of("shuffled"))
    shutil.copytree(scene.flat, tmp_path / "bad")
    duplicate(tmp_path / "bad")
    source, output = tmp_path / "input", tmp_path / "output"
    source.mkdir()
    with open_evaluation(Evaluation(evaluation_invoke_image, scene.evaluation.truth), source, output) as server:
        server.start()
        server.wait_until_healthy()
        assert files_below(output) == []
        for submission, status in ((jobs, 201), (tmp_path / "bad", 500), (scene.flat, 201)):
            shutil.copytree(submission, source, dirs_exist_ok=True)
            found, text = server.call("POST", "/invoke")
            assert found == status, text
            if status == 201:
                assert (output / "metrics.json").read_bytes() == scene.expected
            else:
                assert "case 1EXA002 stands twice" in text
                assert files_below(output) == []  # the earlier result is gone: it must not pass for this one's
            for path in source.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert len([line for line in server.lines() if line.startswith("scoring ")]) == 3
