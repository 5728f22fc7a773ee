"""predictions.json of a stranger through the real command: every bad job is one line, and costs no other its score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import save_image
from commands.command_line import files_below, synthct
from submission_files import SCT_FOLDER, entry, forge_job, save_jobs

FIRST, TWO_FILES, UNKNOWN_SLUGS, ABSOLUTE, TWICE, CLIMBING, MISSING, WRONG_SIZE, EMPTY_MASK, LAST = CASES = tuple(
    f"1ABA{number:03d}" for number in range(1, 11)
)
SHAPE = (4, 5, 6)
CT = (np.arange(np.prod(SHAPE)) * 8).reshape(SHAPE).astype(np.int16)


def sct_file(root: Path, pk: str) -> Path:
    """The one image that `save_jobs` makes for a job."""
    (path,) = (root / pk / SCT_FOLDER).iterdir()
    return path


def outputs(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"outputs": list(entries)}


class Scene:
    """Ten cases, two of which can be scored; their jobs stand last and first, not in the order of the cases."""

    def __init__(self, root: Path) -> None:
        for case in CASES:
            save_image(root / "truth" / "ct" / f"{case}.mha", CT)
            mask = np.full(SHAPE, case != EMPTY_MASK, dtype=np.uint8)
            save_image(root / "truth" / "mask" / f"{case}.mha", mask)
        images = root / "input"
        two = [entry(f"thing-{letter}", f"images/{letter}", name=f"{letter}.mha") for letter in "ab"]
        jobs = [
            forge_job("z-last", LAST),
            forge_job("two-files", TWO_FILES),
            forge_job("unknown-slugs", UNKNOWN_SLUGS, **outputs(*two)),
            forge_job("absolute", ABSOLUTE, **outputs(entry("synthetic-ct-image", "/etc/passwd", name="x.mha"))),
            forge_job("twice-1", TWICE),
            forge_job("twice-2", TWICE),
            forge_job("../outside", CLIMBING),
            forge_job("wrong-size", WRONG_SIZE),
            forge_job("empty-mask", EMPTY_MASK),
            "no job at all",
            forge_job("a-first", FIRST),
        ]
        save_jobs(images, *jobs)
        for pk, offset in {"z-last": 20, "a-first": 10, "two-files": 30, "twice-1": 1, "empty-mask": 1}.items():
            save_image(sct_file(images, pk), (CT + offset).astype(np.int16))
        save_image(images / "two-files" / SCT_FOLDER / "another.mha", CT)
        save_image(sct_file(images, "wrong-size"), CT[1:])
        save_image(root / "outside" / SCT_FOLDER / "secret.mha", CT)
        self.output = root / "output"
        judge = ("--segmenter", "tissue", "--workers", "1")
        self.outcome = synthct("evaluate", images, root / "truth", self.output, *judge)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("hostile"))


def reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def read_metrics(scene: Scene) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((scene.output / "metrics.json").read_text(), parse_constant=reject_constant)
    return content


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (TWO_FILES, "holds 2 images"),
        (UNKNOWN_SLUGS, 'its outputs name 2 places for the sCT ("images/a", "images/b"'),
        (ABSOLUTE, 'the relative_path of its output is "/etc/passwd"; expected one like images/synthetic-ct'),
        (TWICE, "stands 2 times, in jobs twice-1, twice-2; expected one job per case"),
        (CLIMBING, 'its pk is "../outside"; expected a plain name'),
        (MISSING, "has no prediction; expected a job of it in predictions.json"),
        (WRONG_SIZE, f"ct/{WRONG_SIZE}.mha"),
        (EMPTY_MASK, f"mask/{EMPTY_MASK}.mha: all voxels are zero"),
    ],
)
def test_each_bad_job_is_one_line_that_says_what_is_wrong(scene: Scene, case: str, words: str) -> None:
    *lines, _ = scene.outcome.err.splitlines()
    (line,) = [line for line in lines if case in line]
    assert line.startswith("warning: ")
    assert words in line


def test_the_exit_code_is_3_and_the_last_line_counts(scene: Scene) -> None:
    *lines, last = scene.outcome.err.splitlines()
    assert scene.outcome.code == 3
    assert last.startswith("error: 8 of 10 cases could not be scored; first: predictions.json: job 2 of 11")
    assert [line for line in lines if "job 10 of 11: is of type str; expected an object" in line] != []
    assert len(lines) == 9
    assert "root:" not in scene.outcome.err


def test_the_other_cases_are_scored_by_their_own_job(scene: Scene) -> None:
    content = read_metrics(scene)
    assert [(row["case"], row["mae"]) for row in content["results"]] == [(FIRST, 10.0), (LAST, 20.0)]
    assert content["aggregates"]["mae"]["mean"] == 15.0
    failed = [failure["case"] for failure in content["failures"]]
    named = (TWO_FILES, UNKNOWN_SLUGS, ABSOLUTE, TWICE, CLIMBING, MISSING)
    assert failed == [*named, WRONG_SIZE, EMPTY_MASK]
    for failure in content["failures"]:
        assert failure["reason"] in scene.outcome.err
    assert files_below(scene.output) == ["metrics.json", "rows", f"rows/{FIRST}.json", f"rows/{LAST}.json"]


def test_a_leaderboard_refuses_what_is_not_complete(scene: Scene, tmp_path: Path) -> None:
    outcome = synthct("leaderboard", scene.output, "--output", tmp_path / "o")
    assert outcome.code == 3
    assert f"metrics.json: has 8 failures ({TWO_FILES}, " in outcome.reason
    assert files_below(tmp_path / "o") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[NaN]", "NaN is not JSON"),
        ('{"pk": "a"}', "expected an array of jobs"),
        ("[]", "none of 10 cases can be scored"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_list_of_jobs_ends_the_run(scene: Scene, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "predictions.json").write_text(content)
    truth = scene.output.parent / "truth"
    outcome = synthct("evaluate", tmp_path, truth, tmp_path / "output", "--segmenter", "tissue")
    assert outcome.code == 3
    assert words in outcome.reason
    assert len(outcome.err.splitlines()) == 1
    assert files_below(tmp_path / "output") == []
