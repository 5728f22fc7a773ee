"""What the check leaves on disk: the table, the summary, the pictures; and the worker processes."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import save_case, save_image
from PIL import Image
from textured_limb import limb_ct, limb_mr, motion_of, shifted

from synthct.dataset import CaseFiles, find_cases
from synthct.errors import DiskFullError, InputError, SynthCTError
from synthct.training.alignment_cases import CheckTask, Repaired, check_case, check_headers, load_pair, work_through
from synthct.training.alignment_check import PairScore
from synthct.training.alignment_repair import Verdict
from synthct.training.alignment_table import COLUMNS, AlignmentRow, write_summary, write_table
from synthct.training.overlay import BONE_COLOUR, OUTLINE_COLOUR, TILE, draw_overlay
from synthct.training.thresholds import Thresholds


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    """A case of a tiny data set."""
    (found,) = find_cases(save_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001"))
    return found


def rows() -> list[AlignmentRow]:
    moved = Repaired("rigid", (), Verdict(0.95, 3.0), Verdict(0.97, None))
    return [
        AlignmentRow("1EXA001", PairScore(0.9612, 0.51234, 4.567, 2.345, None), ()),
        AlignmentRow("1EXA002", PairScore(0.8, 0.2, None, None, None), ("no rigid motion could be found",)),
        AlignmentRow("1EXA003", PairScore(0.9, 0.3, 5.0, 1.0, None), (), moved),
        AlignmentRow("1EXA004", PairScore(0.9, 0.1, 5.0, 1.0, None), ("a", "b"), Repaired("dropped", ("a", "b"))),
    ]


def test_table_holds_every_case_and_leaves_undefined_figures_empty(tmp_path: Path) -> None:
    with write_table(tmp_path / "alignment.csv", rows()).open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == COLUMNS
    assert COLUMNS[:6] == ("case", "body_dice", "mutual_information", "residual_mm", "residual_deg", "flagged")
    assert [row["case"] for row in table] == ["1EXA001", "1EXA002", "1EXA003", "1EXA004"]
    assert (table[0]["body_dice"], table[0]["residual_mm"], table[0]["flagged"]) == ("0.9612", "4.57", "no")
    assert (table[0]["action"], table[0]["body_dice_after"]) == ("", "")
    assert (table[1]["residual_mm"], table[1]["flagged"]) == ("", "yes")
    assert (table[2]["action"], table[2]["body_dice_after"], table[2]["bone_edge_mm_before"]) == (
        "rigid",
        "0.9700",
        "3.00",
    )
    assert table[2]["bone_edge_mm_after"] == ""
    assert (table[3]["action"], table[3]["reasons"]) == ("dropped", "a; b")


def test_summary_counts_and_names(tmp_path: Path) -> None:
    path = write_summary(tmp_path / "summary.json", rows(), {"mri EX": ("shipped", Thresholds())}, seed=3)
    summary = json.loads(path.read_text())
    assert summary["cases"] == 4
    assert summary["actions"] == {"dropped": 1, "rigid": 1}
    assert summary["dropped"] == ["1EXA004"]
    assert sorted(summary["flagged"]) == ["1EXA002", "1EXA004"]
    assert summary["thresholds"]["mri EX"]["source"] == "shipped"
    assert summary["thresholds"]["mri EX"]["max_residual_mm"] == Thresholds().max_residual_mm
    assert summary["seed"] == 3
    assert summary["unchecked"] == []
    assert set(summary["versions"]) == {"synthct", "SimpleITK", "numpy", "scipy"}


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()}


def test_overlay_draws_outline_and_bone_in_three_planes() -> None:
    ct = limb_ct()
    picture = draw_overlay("1EXA001", limb_mr(ct), [("as it is", ct)])
    assert picture.width >= 3 * TILE
    assert {OUTLINE_COLOUR, BONE_COLOUR} <= colours(picture)
    planes = [np.asarray(picture)[:, start : start + TILE] for start in range(0, 3 * TILE, TILE)]
    assert all((plane == OUTLINE_COLOUR).all(axis=2).any() for plane in planes)


def test_overlay_of_two_cts_has_two_rows_that_differ() -> None:
    ct = limb_ct()
    moved = shifted(ct, motion_of(ct, mm=(8.0, 0.0, 0.0)))
    one = draw_overlay("1EXA001", limb_mr(ct), [("before", ct)])
    two = np.asarray(draw_overlay("1EXA001", limb_mr(ct), [("before", ct), ("after", moved)]))
    assert two.shape[0] == 2 * one.height
    assert (two[18 : one.height] == np.asarray(one)[18:]).all()
    assert (two[one.height + 18 :] != two[18 : one.height]).any()


def test_overlay_without_bone_shows_the_middle() -> None:
    ct = limb_ct()
    soft = ct.with_voxels(np.minimum(ct.voxels, 100))
    found = colours(draw_overlay("1EXA001", limb_mr(ct), [("as it is", soft)]))
    assert OUTLINE_COLOUR in found
    assert BONE_COLOUR not in found


def test_a_case_without_ct_is_refused_by_name(tmp_path: Path) -> None:
    (files,) = find_cases(save_case(tmp_path / "Task1" / "EX" / "1EXA007", reference=False))
    with pytest.raises(InputError, match="case 1EXA007 has no CT"):
        load_pair(files)


@pytest.mark.parametrize(
    ("stem", "told"),
    [
        ("ct", r"case 1EXA001 has no CT; expected .*ct\.mha"),
        ("mask", r"case 1EXA001 has no mask; expected .*mask\.mha$"),
    ],
)
def test_headers_of_a_pair_that_lacks_a_file(files: CaseFiles, stem: str, told: str) -> None:
    check_headers(files)
    (files.image.parent / f"{stem}.mha").unlink()
    with pytest.raises(InputError, match=told):
        check_headers(find_cases(files.image.parent)[0])


@pytest.mark.parametrize("stem", ["ct", "mask"])
def test_headers_of_a_pair_of_two_sizes(files: CaseFiles, stem: str) -> None:
    save_image(files.image.parent / f"{stem}.mha", np.ones((3, 4, 6), np.uint8))
    with pytest.raises(InputError, match=rf"{stem}\.mha"):
        check_headers(files)


def test_an_error_in_a_worker_comes_back_as_it_is(files: CaseFiles, tmp_path: Path) -> None:
    files.image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"mr\.mha"):
        list(work_through(check_case, [CheckTask(files, tmp_path / "a.png", 1)], workers=1))


def told_work(task: tuple[float, str]) -> str:
    """Wait, then do as the name says: fail for a bad file, for a full disk, or not at all."""
    seconds, name = task
    time.sleep(seconds)
    if name.startswith("bad"):
        raise InputError(name)
    if name.startswith("full"):
        raise DiskFullError(name)
    return name


def worked_through(tasks: Sequence[tuple[float, str]], *, workers: int) -> tuple[list[str], str]:
    """Results as they came, and what was raised after them; workers=1 is strictly in order."""
    results: list[str] = []
    steps = work_through(told_work, tasks, workers=workers)
    with pytest.raises(SynthCTError) as failure:
        results.extend(result for _, result in steps)
    return results, str(failure.value)


def test_bad_cases_do_not_keep_the_others_from_being_done_and_the_first_is_told() -> None:
    tasks = [(0.6, "bad a"), (0.0, "bad b"), (0.0, "good"), (0.0, "better")]
    results, told = worked_through(tasks, workers=2)
    assert sorted(results) == ["better", "good"]
    assert told == "bad a"  # bad b failed first


def test_a_full_disk_ends_the_work_early() -> None:
    results, told = worked_through([(0.0, "full"), *[(0.05, f"good {index}") for index in range(30)]], workers=1)
    assert told == "full"
    assert len(results) < 15


def test_a_worker_that_dies_ends_the_run() -> None:
    with pytest.raises(SynthCTError, match="a worker process died"):
        list(work_through(os._exit, [1], workers=1))
