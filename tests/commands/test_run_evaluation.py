"""`synthct run evaluation`: /input and a ground truth to metrics.json and nothing else, in a process of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.command_line import Outcome, files_below, synthct, without_privileges
from commands.evaluation_phase import (
    CASES,
    OFFSETS,
    TISSUE,
    evaluate,
    read_metrics,
    run_evaluation,
    save_flat,
    save_platform_jobs,
    save_truth,
)
from commands.limb_cases import save_limb
from submission_files import forge_job, serializer_job

from benchmarks.random_network import write_random_checkpoint

OFFICIAL = ("mae", "psnr", "ms_ssim", "DICE", "HD95")


@pytest.fixture(autouse=True)
def _no_weights_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR", "GROUND_TRUTH_FOLDER"):
        monkeypatch.delenv(name, raising=False)


class Scene:
    """A ground truth, a flat submission, and what `synthct evaluate` makes of it."""

    def __init__(self, root: Path) -> None:
        self.truth = save_truth(root / "truth", TISSUE)
        self.flat = save_flat(root / "flat")
        self.expected = evaluate(self.flat, self.truth, root / "evaluated", "--segmenter", "tissue")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("phase"))


@pytest.fixture(scope="module")
def flat_run(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A prediction phase: inputs.json lies beside the sCTs, an earlier result in the output."""
    root = tmp_path_factory.mktemp("flat run")
    shutil.copytree(scene.flat, root / "input")
    (root / "input" / "inputs.json").write_text("[]")
    (root / "output").mkdir()
    (root / "output" / "metrics.json").write_text("of an earlier run")
    return run_evaluation(root / "input", scene.truth, root / "output", TMPDIR=str(root)), root


def test_a_flat_submission_gives_the_bytes_of_evaluate_and_no_other_file(
    scene: Scene, flat_run: tuple[Outcome, Path]
) -> None:
    outcome, root = flat_run
    assert outcome.code == 0, outcome.err
    assert files_below(root / "output") == ["metrics.json"]
    assert (root / "output" / "metrics.json").read_bytes() == scene.expected
    rows = read_metrics(root / "output")["results"]
    assert {row["case"]: row["mae"] for row in rows} == OFFSETS
    assert sorted(path.name for path in root.iterdir()) == ["input", "output"]  # temporary files are gone too


def test_one_plain_line_per_case_and_one_about_the_processes(flat_run: tuple[Outcome, Path]) -> None:
    first, *rest = flat_run[0].err.splitlines()
    assert re.fullmatch(r"scoring 3 cases with (1 process|[23] processes)", first)
    assert sorted(line.split()[1] for line in rest) == sorted(CASES)
    assert [line.partition(" is scored ")[2] for line in rest] == ["(1 of 3)", "(2 of 3)", "(3 of 3)"]
    assert flat_run[0].out.startswith("3 cases, judged by tissue: mae 10, psnr ")


def test_every_mean_of_a_healthy_submission_is_a_number(flat_run: tuple[Outcome, Path]) -> None:
    aggregates = read_metrics(flat_run[1] / "output")["aggregates"]
    assert set(OFFICIAL) <= set(aggregates)
    for name, summary in aggregates.items():
        assert "." not in name
        assert type(summary["mean"]) in (int, float), name
    assert aggregates["mae"]["mean"] == 10.0


def jobs_of(kind: str) -> list[dict[str, Any]]:
    names = [f"{number:08d}-0000-4000-8000-{number:012d}" for number in (3, 1, 2)]
    if kind == "full":
        return [serializer_job(name, case) for name, case in zip(names, CASES, strict=True)]
    keys = {"socket": ("socket",), "both, shuffled": ("socket", "interface")}.get(kind, ("interface",))
    jobs = [forge_job(name, case, keys=keys) for name, case in zip(names, CASES, strict=True)]
    return jobs[::-1] if kind == "both, shuffled" else jobs


@pytest.mark.parametrize("kind", ["interface", "socket", "both, shuffled", "full"])
def test_an_algorithm_phase_gives_the_bytes_of_evaluate(scene: Scene, tmp_path: Path, kind: str) -> None:
    source = save_platform_jobs(tmp_path / "jobs", scene.flat, jobs_of(kind))
    (tmp_path / "input").symlink_to(source, target_is_directory=True)  # as on the platform's machines
    outcome = run_evaluation(tmp_path / "input", scene.truth, tmp_path / "output")
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path / "output") == ["metrics.json"]
    assert (tmp_path / "output" / "metrics.json").read_bytes() == scene.expected


@pytest.mark.parametrize("layout", ["one top folder", ".nii.gz"])
def test_what_a_zip_may_hold(scene: Scene, tmp_path: Path, layout: str) -> None:
    inner = tmp_path / "input" / "my submission" if layout == "one top folder" else tmp_path / "input"
    save_flat(inner, suffix=".nii.gz" if layout == ".nii.gz" else ".mha")
    outcome = run_evaluation(tmp_path / "input", scene.truth, tmp_path / "output")
    assert outcome.code == 0, outcome.err
    assert {row["case"]: row["mae"] for row in read_metrics(tmp_path / "output")["results"]} == OFFSETS


@pytest.mark.parametrize(
    ("wanted", "line"), [("1", "with 1 process"), (" 2 ", "with 2 processes"), ("99", "with 3 processes")]
)
def test_nprocs_sets_the_number_of_processes(scene: Scene, tmp_path: Path, wanted: str, line: str) -> None:
    outcome = run_evaluation(scene.flat, scene.truth, tmp_path, NPROCS=wanted)
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[0] == f"scoring 3 cases {line}"
    assert (tmp_path / "metrics.json").read_bytes() == scene.expected


def test_the_settings_of_a_phase_are_those_of_the_options(scene: Scene, tmp_path: Path) -> None:
    settings = {
        "protocol": "synthrad2023",
        "segmenters": ["tissue", "precomputed:labels/by us"],
        "nsd_tolerance_mm": 1.5,
    }
    truth = save_truth(tmp_path / "truth", settings)
    labels = tmp_path / "truth" / "labels" / "by us"
    for folder in (labels, truth / "segmentation"):
        shutil.copytree(truth / "mask", folder)  # label 1 of TotalSegmentator's
    options = ("--protocol", "synthrad2023", "--nsd-tolerance", "1.5")
    judges = ("--segmenter", "tissue", "--segmenter", f"precomputed:{labels}")
    expected = evaluate(scene.flat, truth, tmp_path / "evaluated", *options, *judges)
    outcome = run_evaluation(scene.flat, truth, tmp_path / "output")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "output" / "metrics.json").read_bytes() == expected
    content = read_metrics(tmp_path / "output")
    assert (content["protocol"], content["nsd_tolerance_mm"]) == ("synthrad2023", 1.5)
    assert [judge["name"] for judge in content["segmenters"]] == ["tissue", "precomputed"]
    assert "ssim" in content["aggregates"]


@pytest.fixture
def read_only(scene: Scene, tmp_path: Path) -> Iterator[Path]:
    """A copy of ground truth and submission into which nobody may write."""
    root = tmp_path / "read only"
    shutil.copytree(scene.truth, root / "truth")
    shutil.copytree(scene.flat, root / "flat")
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in (path for path in [root, *root.rglob("*")] if path.is_dir()):
        path.chmod(0o755)


def test_read_only_folders_and_no_home(scene: Scene, read_only: Path, tmp_path: Path) -> None:
    prefix = (*without_privileges(), "env", "-u", "HOME")
    output = tmp_path / "output"
    outcome = run_evaluation(read_only / "flat", read_only / "truth", output, prefix=prefix)
    assert outcome.code == 0, outcome.err
    assert (output / "metrics.json").read_bytes() == scene.expected
    assert files_below(output) == ["metrics.json"]


@pytest.mark.slow
def test_the_default_judge_finds_weights_in_the_ground_truth_also_for_a_user_without_a_name(
    scene: Scene, tmp_path: Path
) -> None:
    truth = save_truth(tmp_path / "truth", None)
    expected_weights = tmp_path / "weights"
    write_random_checkpoint(expected_weights, small=True)
    shutil.copytree(expected_weights, truth / "totalsegmentator")
    judge = ("--segmenter", f"totalsegmentator:{expected_weights}")
    expected = evaluate(scene.flat, truth, tmp_path / "evaluated", *judge)
    namespace = ("unshare", "--user", "--map-user=65532")
    usable = shutil.which("unshare") and subprocess.run([*namespace, "true"], capture_output=True, check=False)
    prefix = (*namespace, "env", "-u", "HOME") if usable and usable.returncode == 0 else ()
    outcome = run_evaluation(scene.flat, truth, tmp_path / "output", prefix=prefix)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "output" / "metrics.json").read_bytes() == expected
    content = read_metrics(tmp_path / "output")
    assert (content["segmenter"], content["segmenter_weights"]) == (
        "totalsegmentator",
        content["segmenters"][0]["weights"],
    )
    assert len(content["segmenter_weights"]) == 64
    assert files_below(tmp_path / "output") == ["metrics.json"]


def test_prepare_leaves_the_settings_of_a_phase_alone(tmp_path: Path) -> None:
    for case in CASES:
        save_limb(tmp_path / "data" / "Task1" / "EX" / case)
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "evaluation.json").write_text('{"segmenters": ["tissue"]}')
    for _ in range(2):
        outcome = synthct("prepare", tmp_path / "data", truth, "--to", "ground-truth")
        assert outcome.code == 0, outcome.err
    assert (truth / "evaluation.json").read_text() == '{"segmenters": ["tissue"]}'
    assert sorted(path.name for path in (truth / "ct").iterdir()) == [f"{case}.mha" for case in CASES]
