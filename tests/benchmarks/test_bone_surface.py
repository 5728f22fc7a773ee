"""Bone as one structure: figures that can be worked out by hand, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.bone_surface import app, bone_row
from synthct.anatomy import Task
from synthct.dataset import Case, find_cases, load_case
from synthct.errors import InputError
from synthct.phantom import make_phantom
from synthct.volume import Geometry, Volume, write_volume

SHAPE = (12, 20, 20)


def _case(ct: np.ndarray) -> Case:
    """A case of 1 mm voxels whose mask leaves the outermost voxels out."""
    geometry = Geometry((SHAPE[2], SHAPE[1], SHAPE[0]), (1.0, 1.0, 1.0))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:-1, 1:-1, 1:-1] = 1
    image = Volume(np.zeros(SHAPE, np.int16), geometry)
    return Case("1BA001", Task.MRI, None, image, image.with_voxels(mask), image.with_voxels(ct))


def _block(hu: int, start: int = 6) -> np.ndarray:
    """Water with a block of 4 x 4 x 4 voxels."""
    voxels = np.zeros(SHAPE, np.int16)
    voxels[4:8, 6:10, start : start + 4] = hu
    return voxels


def test_equal_bone_agrees_wholly_whatever_its_density() -> None:
    case = _case(_block(900))
    row = bone_row(case, case.image.with_voxels(_block(400)))
    inside = 10 * 18 * 18
    assert row == {"case": "1BA001", "mae": pytest.approx(64 * 500 / inside), "dice": 1.0, "nsd": 1.0, "hd95": 0.0}


def test_a_shift_by_one_voxel_costs_dice_and_no_surface_within_two_millimetres() -> None:
    case = _case(_block(900))
    row = bone_row(case, case.image.with_voxels(_block(900, start=7)))
    assert row["dice"] == pytest.approx(3 / 4)
    assert row["nsd"] == 1.0
    assert row["hd95"] == pytest.approx(1.0)


def test_bone_outside_the_mask_or_below_the_threshold_does_not_count() -> None:
    ct = _block(900)
    ct[0] = 900
    case = _case(ct)
    sct = _block(900)
    sct[10, 15] = 149
    assert bone_row(case, case.image.with_voxels(sct))["dice"] == 1.0
    assert bone_row(case, case.image.with_voxels(sct), threshold=100.0)["dice"] != 1.0


def test_an_sct_without_bone_has_none_of_it() -> None:
    case = _case(_block(900))
    row = bone_row(case, case.image.with_voxels(np.zeros(SHAPE, np.int16)))
    assert (row["dice"], row["nsd"], row["hd95"]) == (0.0, 0.0, None)


def test_what_cannot_be_compared_is_refused() -> None:
    case = _case(_block(900))
    sct = case.image.with_voxels(_block(900))
    with pytest.raises(InputError, match="1BA001: has no CT"):
        bone_row(replace(case, reference=None), sct)
    with pytest.raises(InputError, match="no voxel of 150 HU or more"):
        bone_row(_case(_block(100)), sct)
    moved = Volume(sct.voxels, replace(sct.geometry, origin=(1.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="another grid"):
        bone_row(case, moved)


def test_the_command_tells_each_case_and_the_mean(tmp_path: Path) -> None:
    limbs = tmp_path / "limbs"
    for number in (1, 2):
        phantom = make_phantom("limb", seed=number, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
        for name, volume in (("mr", phantom.image), ("mask", phantom.mask), ("ct", phantom.reference)):
            write_volume(volume, limbs / f"1EXA00{number}" / f"{name}.mha")
    cases = [load_case(files) for files in find_cases(limbs)]
    assert len(cases) == 2
    for case in cases:
        assert case.reference is not None
        write_volume(case.reference, tmp_path / "perfect" / f"{case.id}.mha")
        write_volume(case.image.with_voxels(np.zeros_like(case.reference.voxels)), tmp_path / "flat" / f"{case.id}.mha")
    told = tmp_path / "bone.json"
    arguments = [str(limbs), str(tmp_path / "perfect"), str(tmp_path / "flat"), "--output", str(told)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(told.read_text())
    assert [row["dice"] for row in rows[str(tmp_path / "perfect")]] == [1.0] * len(cases)
    assert [row["hd95"] for row in rows[str(tmp_path / "flat")]] == [None] * len(cases)
    assert result.output.count("mean") == 2
    assert "none" in result.output
