"""Which limits apply to which cases, and what becomes of a case in a worker: every branch on made scores and limbs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import make_volume
from textured_limb import limb_ct, limb_mask, limb_mr, motion_of, shifted

from synthct.anatomy import Region, Task
from synthct.cli.align_check import _choose_limits, _closing_line
from synthct.dataset import CaseFiles, find_cases, load_case
from synthct.training.alignment_cases import CheckTask, Repaired, RepairTask, check_case, repair_case
from synthct.training.alignment_check import PairScore, score_pair
from synthct.training.alignment_repair import judge_pair
from synthct.training.alignment_table import AlignmentRow
from synthct.training.alignment_tree import start_tree
from synthct.training.thresholds import FEWEST_PAIRS, Thresholds, fit_thresholds
from synthct.volume import Volume, write_volume

ANYTHING_GOES = Thresholds(0.0, 0.0, 1000.0)
NOTHING_GOES = Thresholds(1.0, 100.0, 0.0)


def kinds(task: Task, region: Region | None, count: int) -> tuple[list[CaseFiles], dict[str, PairScore]]:
    """Cases of one kind that were never on disk, with scores that spread."""
    names = [f"{task.number}{region or 'XX'}A{index:03d}" for index in range(count)]
    cases = [CaseFiles(name, task, region, Path(f"{name}/image.mha")) for name in names]
    rng = np.random.default_rng(count)
    scores = {name: PairScore(1 - 0.02 * np.exp(rng.normal(0, 0.2)), 0.9, 3.0, 1.0, None) for name in names}
    return cases, scores


def save_limb_case(folder: Path, reference: Volume) -> CaseFiles:
    """A case folder of the textured limb with a CT of one's own."""
    folder.mkdir(parents=True)
    for name, volume in (("mr", limb_mr(limb_ct())), ("ct", reference), ("mask", limb_mask())):
        write_volume(volume, folder / f"{name}.mha")
    (files,) = find_cases(folder)
    return files


def test_mr_limbs_have_the_shipped_limits_however_many_there_are() -> None:
    cases, scores = kinds(Task.MRI, Region.EXTREMITY, 20)
    assert _choose_limits(cases, scores, "auto") == {"mri EX": ("shipped", Thresholds())}


def test_other_kinds_are_fitted_each_for_itself() -> None:
    pelvis, pelvis_scores = kinds(Task.MRI, Region.PELVIS, FEWEST_PAIRS)
    limbs, limb_scores = kinds(Task.CBCT, Region.EXTREMITY, FEWEST_PAIRS + 1)
    chosen = _choose_limits([*pelvis, *limbs], pelvis_scores | limb_scores, "auto")
    assert chosen["mri P"] == ("fitted", fit_thresholds(list(pelvis_scores.values())))
    assert chosen["cbct EX"] == ("fitted", fit_thresholds(list(limb_scores.values())))
    assert chosen["mri P"] != chosen["cbct EX"]


def test_limits_can_be_asked_for() -> None:
    limbs, limb_scores = kinds(Task.MRI, Region.EXTREMITY, FEWEST_PAIRS)
    source, limits = _choose_limits(limbs, limb_scores, "fitted")["mri EX"]
    assert (source, limits) == ("fitted", fit_thresholds(list(limb_scores.values())))
    pelvis, pelvis_scores = kinds(Task.MRI, Region.PELVIS, FEWEST_PAIRS)
    assert _choose_limits(pelvis, pelvis_scores, "shipped")["mri P"] == ("shipped", Thresholds())


def test_too_few_of_another_kind_fall_back_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    cases, scores = kinds(Task.CBCT, None, FEWEST_PAIRS - 1)
    assert _choose_limits(cases, scores, "auto") == {"cbct unknown": ("shipped", Thresholds())}
    assert f"{FEWEST_PAIRS - 1} cases of cbct unknown are too few" in capsys.readouterr().err


def test_closing_line_counts_flagged_and_written_pairs(tmp_path: Path) -> None:
    score = PairScore(0.9, 0.5, 1.0, 1.0, None)
    rows = [
        AlignmentRow("1EXA001", score, (), Repaired("kept", ())),
        AlignmentRow("1EXA002", score, ("far off",), Repaired("rigid", ())),
        AlignmentRow("1EXA003", score, ("far off",), Repaired("dropped", ("far off",))),
    ]
    assert _closing_line(rows, tmp_path, None).startswith("2 of 3 pairs flagged; ")
    assert _closing_line(rows, tmp_path, tmp_path / "new").endswith(f"2 pairs in {tmp_path / 'new'}")


def test_a_checked_case_gets_its_score_and_its_picture(tmp_path: Path) -> None:
    files = save_limb_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001", limb_ct())
    score = check_case(CheckTask(files, tmp_path / "1EXA001.png", 1))
    case = load_case(files)
    assert case.reference is not None
    assert score == score_pair(case.image, case.reference, case.mask)
    assert (tmp_path / "1EXA001.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("millimetres", "limits", "action", "is_written"),
    [
        (0.0, ANYTHING_GOES, "kept", True),
        (0.0, NOTHING_GOES, "dropped", False),
        (6.0, ANYTHING_GOES, "rigid", True),
        (6.0, NOTHING_GOES, "dropped", False),
        (6.0, Thresholds(0.0, 0.0, 3.0), "rigid", True),  # flagged as it was, sound once it is moved
    ],
)
def test_what_becomes_of_a_case(
    tmp_path: Path, millimetres: float, limits: Thresholds, action: str, is_written: bool
) -> None:
    ct = limb_ct() if millimetres == 0 else shifted(limb_ct(), motion_of(limb_ct(), mm=(millimetres, 0.0, 0.0)))
    files = save_limb_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001", ct)
    tree = start_tree(tmp_path / "new", files)
    score = check_case(CheckTask(files, tmp_path / "1EXA001.png", 1))
    checked = (tmp_path / "1EXA001.png").read_bytes()
    done = repair_case(RepairTask(files, score, limits, "rigid", tree, tmp_path / "1EXA001.png", 1))
    assert done.action == action
    assert bool(done.reasons) == (action == "dropped")
    target = tmp_path / "new" / "Task1" / "EX" / "1EXA001"
    assert target.exists() == is_written
    moves = millimetres > 0
    assert ((tmp_path / "1EXA001.png").read_bytes() != checked) == moves  # before and after where it was moved
    if is_written:
        same = (target / "ct.mha").read_bytes() == (files.image.parent / "ct.mha").read_bytes()
        assert same != moves
        assert (target / "mr.mha").read_bytes() == files.image.read_bytes()
        again = load_case(find_cases(target)[0])
        assert again.reference is not None
        assert judge_pair(again, again.reference, again.mask).body_dice >= 0.9


def test_a_sound_pair_whose_move_would_be_flagged_stays_as_it_was(tmp_path: Path) -> None:
    """The judges take the move, but after it the pair would miss a limit that it met before."""
    ct = shifted(limb_ct(), motion_of(limb_ct(), mm=(6.0, 0.0, 0.0)))
    files = save_limb_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001", ct)
    tree = start_tree(tmp_path / "new", files)
    score = check_case(CheckTask(files, tmp_path / "1EXA001.png", 1))
    told = replace(score, mutual_information=9.0)  # more than any move can reach
    done = repair_case(RepairTask(files, told, Thresholds(0.0, 5.0, 99.0), "rigid", tree, tmp_path / "1EXA001.png", 1))
    assert (done.action, done.reasons) == ("kept", ())
    assert done.before == done.after
    target = tmp_path / "new" / "Task1" / "EX" / "1EXA001"
    assert (target / "ct.mha").read_bytes() == (files.image.parent / "ct.mha").read_bytes()


def test_a_written_mask_holds_no_voxel_without_data(tmp_path: Path) -> None:
    ct = shifted(limb_ct(), motion_of(limb_ct(), mm=(6.0, 0.0, 0.0)))
    files = save_limb_case(tmp_path / "data" / "Task1" / "EX" / "1EXA001", ct)
    score = check_case(CheckTask(files, tmp_path / "a.png", 1))
    repair_case(
        RepairTask(files, score, ANYTHING_GOES, "rigid", start_tree(tmp_path / "new", files), tmp_path / "a.png", 1)
    )
    given, written = load_case(files), load_case(find_cases(tmp_path / "new")[0])
    assert written.reference is not None
    lost = (given.mask.voxels > 0) & (written.mask.voxels == 0)
    assert lost.any()
    assert (written.reference.voxels[lost] == -1000).all()
    assert written.reference.voxels.dtype == np.int16
    assert written.reference.voxels.min() >= -1000


def test_a_score_of_two_flat_scans_is_flagged_and_not_an_error() -> None:
    flat = make_volume(np.full((8, 20, 20), -1000, np.int16))
    score = score_pair(flat, flat, flat.with_voxels(np.ones((8, 20, 20), np.uint8)))
    assert score.body_dice == 0.0
    assert score.motion is None
    assert len(Thresholds().flags(score)) == 3
