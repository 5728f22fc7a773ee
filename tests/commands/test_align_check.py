"""`synthct align-check` as a real command on small made limbs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import files_below, synthct
from commands.limb_cases import save_limb

from synthct.volume import read_volume, write_volume


def save_data(root: Path) -> Path:
    """Two limbs; the CT of the second lies 18 mm too far along y, with real noise where nothing is known."""
    for name, seed in (("1EXA001", 1), ("1EXA002", 2)):
        save_limb(root / "Task1" / "EX" / name, seed=seed)
    path = root / "Task1" / "EX" / "1EXA002" / "ct.mha"
    ct = read_volume(path)
    write_volume(ct.with_voxels(np.roll(ct.voxels, 6, axis=1)), path)
    return root


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "alignment.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_check_writes_table_summary_and_pictures(tmp_path: Path) -> None:
    data, output = save_data(tmp_path / "data"), tmp_path / "out"
    run = synthct("align-check", data, "--output", output, "--min-body-dice", "0.9", "--workers", "1")
    assert run.code == 0, run.err
    assert "1 of 2 pairs flagged" in run.out
    assert "1EXA002: flagged, body Dice" in run.err
    assert files_below(output) == [
        "alignment.csv",
        "overlays",
        "overlays/1EXA001.png",
        "overlays/1EXA002.png",
        "summary.json",
    ]
    rows = table(output)
    assert (rows["1EXA001"]["flagged"], rows["1EXA002"]["flagged"]) == ("no", "yes")
    summary = json.loads((output / "summary.json").read_text())
    assert summary["thresholds"]["mri EX"]["min_body_dice"] == 0.9
    assert "options" in summary["thresholds"]["mri EX"]["source"]


def test_drop_leaves_flagged_pairs_out_and_the_others_unchanged(tmp_path: Path) -> None:
    data, new = save_data(tmp_path / "data"), tmp_path / "new"
    run = synthct(
        *("align-check", data, "--output", tmp_path / "out", "--repair", "drop", "--repaired", new),
        *("--min-body-dice", "0.9", "--workers", "1"),
    )
    assert run.code == 0, run.err
    kept = new / "Task1" / "EX" / "1EXA001"
    assert [path.name for path in kept.parent.iterdir()] == ["1EXA001"]
    for path in kept.iterdir():
        assert path.read_bytes() == (data / "Task1" / "EX" / "1EXA001" / path.name).read_bytes()
    assert {name: row["action"] for name, row in table(tmp_path / "out").items()} == {
        "1EXA001": "kept",
        "1EXA002": "dropped",
    }


@pytest.mark.slow
def test_rigid_repair_moves_the_shifted_pair_whatever_the_workers(tmp_path: Path) -> None:
    data = save_data(tmp_path / "data")
    tables = []
    for workers in ("1", "2"):
        new, output = tmp_path / f"new{workers}", tmp_path / f"out{workers}"
        run = synthct(
            *("align-check", data, "--output", output, "--repair", "rigid", "--repaired", new),
            *("--max-residual-mm", "30", "--min-information", "0", "--min-body-dice", "0.5", "--workers", workers),
        )
        assert run.code == 0, run.err
        tables.append((output / "alignment.csv").read_bytes())
        row = table(output)["1EXA002"]
        assert row["action"] == "rigid"
        assert float(row["body_dice_after"]) > float(row["body_dice_before"])
        moved = read_volume(new / "Task1" / "EX" / "1EXA002" / "ct.mha")
        given = read_volume(data / "Task1" / "EX" / "1EXA002" / "ct.mha")
        assert moved.geometry == given.geometry
        assert moved.voxels.dtype == np.int16
        assert (moved.voxels != given.voxels).any()
    assert tables[0] == tables[1]


def test_a_bad_case_leaves_the_others_their_rows_and_the_repaired_folder_empty(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("1EXA001", "1EXA002"):
        save_limb(data / "Task1" / "EX" / name)
    path = data / "Task1" / "EX" / "1EXA001" / "mr.mha"
    image = read_volume(path)
    write_volume(image.with_voxels(np.where(image.voxels > 0, np.nan, 0).astype(np.float32)), path)
    (data / "dataset.json").write_text("{}")
    output, new = tmp_path / "out", tmp_path / "new"
    run = synthct("align-check", data, "--output", output, "--repair", "drop", "--repaired", new, "--workers", "1")
    assert run.code == 3
    assert "1EXA001/mr.mha" in run.reason
    assert "are NaN or infinite" in run.reason
    assert "warning: 1 of 2 cases were not checked" in run.err
    assert list(table(output)) == ["1EXA002"]
    assert json.loads((output / "summary.json").read_text())["unchecked"] == ["1EXA001"]
    assert list(new.iterdir()) == []  # so that the same command can be given again


def test_a_repair_that_fails_leaves_the_table_and_says_that_the_folder_is_unfinished(tmp_path: Path) -> None:
    folder = save_limb(tmp_path / "data" / "Task1" / "EX" / "1EXA001")
    (folder / "segmentation.mha").write_bytes(bytes(2 << 20))  # carried over unread, and too large to be written
    output, new = tmp_path / "out", tmp_path / "new"
    run = synthct(
        *("align-check", tmp_path / "data", "--output", output, "--repair", "drop", "--repaired", new),
        *("--min-information", "0", "--min-body-dice", "0", "--workers", "1"),
        prefix=["bash", "-c", 'ulimit -f 1024; exec "$@"', "bash"],
    )
    assert run.code == 3
    assert "segmentation.mha: cannot be written" in run.reason
    assert f"warning: {new}: is unfinished" in run.err
    assert table(output)["1EXA001"]["action"] == ""


def test_a_faulty_header_is_told_before_any_case_is_worked_on(tmp_path: Path) -> None:
    for name in ("1EXA001", "1EXA002"):
        save_limb(tmp_path / "data" / "Task1" / "EX" / name)
    (tmp_path / "data" / "Task1" / "EX" / "1EXA002" / "mask.mha").write_bytes(b"no image")
    run = synthct(
        *("align-check", "data", "--output", "out", "--repair", "drop", "--repaired", "new"),
        cwd=tmp_path,
    )
    assert run.code == 3
    assert "1EXA002/mask.mha" in run.reason
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "new").exists()


def test_a_case_without_ct_is_bad_input(tmp_path: Path) -> None:
    save_limb(tmp_path / "Task1" / "EX" / "1EXA001", reference=False)
    run = synthct("align-check", tmp_path / "Task1", "--output", tmp_path / "out")
    assert run.code == 3
    assert "case 1EXA001 has no CT" in run.reason
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--repair", "rigid"), "--repair needs --repaired DIR"),
        (("--repaired", "new"), "--repaired needs --repair MODE"),
        (("--link",), "--link needs --repair MODE"),
        (("--repair", "rigid", "--repaired", "data/new"), "expected a folder apart from it"),
        (("--repair", "rigid", "--repaired", "out"), "expected a folder apart from it"),
    ],
)
def test_options_that_cannot_be_meant(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    save_limb(tmp_path / "data" / "Task1" / "EX" / "1EXA001")
    run = synthct("align-check", "data", "--output", "out", *words, cwd=tmp_path)
    assert run.code == 2
    assert reason in run.reason
    assert not (tmp_path / "out").exists()


def test_a_repaired_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    save_limb(tmp_path / "data" / "Task1" / "EX" / "1EXA001")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "note.txt").write_text("mine")
    run = synthct("align-check", "data", "--output", "out", "--repair", "drop", "--repaired", "new", cwd=tmp_path)
    assert run.code == 3
    assert "new: is not empty" in run.reason


def test_few_cases_of_another_kind_get_a_warning(tmp_path: Path) -> None:
    save_limb(tmp_path / "data" / "Task2" / "EX" / "2EXA001")
    run = synthct("align-check", tmp_path / "data", "--output", tmp_path / "out", "--workers", "1")
    assert run.code == 0, run.err
    assert "1 cases of cbct EX are too few to fit limits to" in run.err
