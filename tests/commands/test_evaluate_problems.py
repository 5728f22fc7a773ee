"""`synthct evaluate` where something is wrong: one line each, the exit code, and the other cases kept all the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands.command_line import Outcome, files_below, synthct
from commands.limb_cases import limb

from synthct.volume import write_volume

CASES = ("1ABA001", "1EXA001", "1EXA002", "1EXA003")
GOOD = "1ABA001"
JUDGE = ("--segmenter", "tissue")


def save_scts(folder: Path) -> Path:
    """The CT itself as each case's sCT, 10 HU brighter."""
    phantom = limb().reference
    write_volume(phantom.with_voxels(phantom.voxels + 10), folder / f"{GOOD}.mha")
    for case in CASES[1:]:
        shutil.copy(folder / f"{GOOD}.mha", folder / f"{case}.mha")
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for case in CASES:
        write_volume(limb().reference, folder / "ct" / f"{case}.mha")
        write_volume(limb().mask, folder / "mask" / f"{case}.mha")
    return folder


def read_metrics(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


def lines_about(outcome: Outcome, word: str) -> list[str]:
    """Lines on stderr that hold a word; the last one, which repeats the first reason, is left out."""
    return [line for line in outcome.err.splitlines()[:-1] if word in line]


def test_each_problem_is_one_line_and_the_other_cases_are_kept(truth: Path, tmp_path: Path) -> None:
    scts = save_scts(tmp_path / "scts")
    (scts / "1EXA001.mha").unlink()
    shutil.copy(scts / f"{GOOD}.mha", scts / "sct_1EXA002.mha")
    phantom = limb().reference
    x, y, z = phantom.geometry.size
    short = replace(phantom, voxels=phantom.voxels[1:], geometry=replace(phantom.geometry, size=(x, y, z - 1)))
    write_volume(short, scts / "1EXA003.mha")
    output = tmp_path / "output"
    outcome = synthct("evaluate", scts, truth, output, *JUDGE, "--workers", "1")

    assert outcome.code == 3
    assert outcome.reason == (
        "error: 3 of 4 cases could not be scored; first: case 1EXA001 has no prediction; "
        "expected its sCT as 1EXA001.mha"
    )
    assert lines_about(outcome, "1EXA001") == [
        "warning: case 1EXA001 has no prediction; expected its sCT as 1EXA001.mha"
    ]
    (twice,) = lines_about(outcome, "1EXA002")
    assert twice.startswith("warning: ")
    assert twice.endswith("case 1EXA002 stands twice, as 1EXA002.mha and sct_1EXA002.mha; expected one file")
    (other_size,) = lines_about(outcome, "1EXA003")
    assert other_size.startswith("warning: case 1EXA003 is not scored: ")
    assert "scts/1EXA003.mha" in other_size
    assert "ct/1EXA003.mha" in other_size
    assert len(outcome.err.splitlines()) == 4

    content = read_metrics(output)
    assert [(row["case"], row["mae"]) for row in content["results"]] == [(GOOD, 10.0)]
    assert content["aggregates"]["mae"]["count"] == 1
    assert [failure["case"] for failure in content["failures"]] == ["1EXA001", "1EXA002", "1EXA003"]
    for failure, line in zip(content["failures"], outcome.err.splitlines(), strict=False):
        assert failure["reason"] in line
    assert files_below(output) == ["metrics.json", "rows", f"rows/{GOOD}.json"]
    assert outcome.out.startswith("1 case, judged by tissue: mae 10,")


def test_where_no_case_can_be_scored_there_is_no_result(truth: Path, tmp_path: Path) -> None:
    write_volume(limb().reference, tmp_path / "scts" / "1THA001.mha")
    outcome = synthct("evaluate", tmp_path / "scts", truth, tmp_path / "output", *JUDGE)
    assert outcome.code == 3
    assert outcome.reason.startswith("error: none of 4 cases can be scored; first: case 1ABA001 has no prediction")
    assert files_below(tmp_path / "output") == []


def test_another_grid_is_scored_with_a_warning_and_gets_no_picture(truth: Path, tmp_path: Path) -> None:
    scts = save_scts(tmp_path / "scts")
    moved = limb().reference
    write_volume(replace(moved, geometry=replace(moved.geometry, origin=(1.0, 2.0, 3.0))), scts / "1EXA001.mha")
    output = tmp_path / "output"
    outcome = synthct("evaluate", scts, truth, output, *JUDGE, "--workers", "1", "--pictures")
    assert outcome.code == 0, outcome.err
    (warned, undefined, pictured) = [line for line in outcome.err.splitlines() if "1EXA001" in line]
    assert "scts/1EXA001.mha lies on another grid than " in warned
    assert "origin (1, 2, 3) against " in warned
    assert "psnr is undefined" in undefined
    assert pictured.startswith("warning: case 1EXA001 gets no picture: ")
    flags = {row["case"]: row["geometry_differs"] for row in read_metrics(output)["results"]}
    assert [case for case, flag in flags.items() if flag is not None] == ["1EXA001"]
    assert flags["1EXA001"].startswith("origin (1, 2, 3) against ")
    assert [name for name in files_below(output) if name.endswith(".png")] == [
        "1ABA001.png",
        "1EXA002.png",
        "1EXA003.png",
    ]


def test_the_default_judge_without_weights_names_those_that_need_none(
    truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    scts = save_scts(tmp_path / "scts")
    outcome = synthct("evaluate", scts, truth, tmp_path / "output", HOME=str(tmp_path / "home"))
    assert outcome.code == 4
    assert len(outcome.err.splitlines()) == 1
    for word in ("error: TotalSegmentator's weights", "totalsegmentator:PATH", "precomputed:DIR", "tissue"):
        assert word in outcome.reason
    assert files_below(tmp_path / "output") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--segmenter", "eyes"), "segmenter 'eyes' is unknown; expected totalsegmentator[:PATH]"),
        (("--segmenter", "tissue", "--segmenter", "tissue"), "two judges bear one name"),
        ((*JUDGE, "--nsd-tolerance", "0"), "--nsd-tolerance 0: expected a distance above 0 mm"),
    ],
)
def test_options_that_cannot_be_meant(truth: Path, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    scts = save_scts(tmp_path / "scts")
    outcome = synthct("evaluate", scts, truth, tmp_path / "output", *options)
    assert outcome.code == 2
    assert words in outcome.reason
    assert files_below(tmp_path / "output") == []


def test_the_same_command_completes_what_failed(truth: Path, tmp_path: Path) -> None:
    scts = save_scts(tmp_path / "scts")
    good = (scts / "1EXA002.mha").read_bytes()
    (scts / "1EXA002.mha").write_bytes(b"no image")
    output = tmp_path / "output"
    first = synthct("evaluate", scts, truth, output, *JUDGE, "--workers", "1")
    assert first.code == 3
    assert "1 of 4 cases could not be scored; case 1EXA002: " in first.reason
    assert "scts/1EXA002.mha" in first.reason
    (scts / "1EXA002.mha").write_bytes(good)
    second = synthct("evaluate", scts, truth, output, *JUDGE, "--workers", "1")
    assert (second.code, second.err) == (0, "3 of 4 cases taken over from an earlier run\n")
    content = read_metrics(output)
    assert content["failures"] == []
    assert [row["case"] for row in content["results"]] == list(CASES)
