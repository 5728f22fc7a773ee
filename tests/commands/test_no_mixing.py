"""What one run leaves must not pass for another's, and nothing of a user's is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands.command_line import files_below, synthct
from commands.limb_cases import save_limb


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in (1, 2):
        save_limb(tmp_path / "data" / f"1EXA00{number}", seed=number)
    return tmp_path / "data"


def spoil(case: Path) -> None:
    """Put one NaN into a case's MR."""
    image = sitk.ReadImage(str(case / "mr.mha"), sitk.sitkFloat32)
    voxels = sitk.GetArrayFromImage(image)
    voxels[0, 0, 0] = np.nan
    broken = sitk.GetImageFromArray(voxels)
    broken.CopyInformation(image)
    sitk.WriteImage(broken, str(case / "mr.mha"))


def test_a_bad_second_case_is_found_before_the_first_is_written(data: Path, tmp_path: Path) -> None:
    spoil(data / "1EXA002")
    outcome = synthct("predict", "lookup-table", data, tmp_path / "out", "--starter")
    assert outcome.code == 3
    assert "1EXA002" in outcome.reason
    assert files_below(tmp_path / "out") == []


def test_a_second_run_describes_its_own_files_only(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert synthct("predict", "lookup-table", data, out, "--starter").code == 0
    single = synthct("predict", "lookup-table", data / "1EXA001", out, "--starter")
    assert single.code == 0, single.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert [row["case"] for row in manifest["cases"]] == ["1EXA001"]
    scored = synthct("evaluate", out, data, tmp_path / "scores", "--segmenter", "tissue")
    assert scored.code == 0, scored.err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["starter"] is True


def test_sample_never_touches_a_folder_of_real_cases(data: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(data.rglob("*.mha"))}
    outcome = synthct("sample", data)
    assert outcome.code == 3
    assert str(data) in outcome.reason
    assert {path: path.read_bytes() for path in sorted(data.rglob("*.mha"))} == before
    assert not (data / "dataset.json").exists()


@pytest.mark.parametrize("target", ["data", "data/inner", "."])
def test_prepare_writes_apart_from_its_source(data: Path, tmp_path: Path, target: str) -> None:
    before = files_below(tmp_path)
    outcome = synthct("prepare", data, tmp_path / target, "--to", "platform")
    assert outcome.code == 2
    assert "apart" in outcome.reason
    assert files_below(tmp_path) == before


def test_a_case_without_its_mr_still_has_to_be_predicted(data: Path, tmp_path: Path) -> None:
    """The reference decides what is complete, not what happens to be predictable (CONTRACT 3.6, item 6)."""
    assert synthct("predict", "lookup-table", data / "1EXA001", tmp_path / "out", "--starter").code == 0
    (data / "1EXA002" / "mr.mha").unlink()
    outcome = synthct("evaluate", tmp_path / "out", data, tmp_path / "scores", "--segmenter", "tissue")
    assert outcome.code == 3
    assert "1 of 2 cases could not be scored; case 1EXA002 has no prediction" in outcome.reason


def test_a_drawn_outline_is_announced(data: Path, tmp_path: Path) -> None:
    (data / "1EXA001" / "mask.mha").unlink()
    outcome = synthct("predict", "lookup-table", data / "1EXA001", tmp_path / "out", "--starter", "--mask", "auto")
    assert outcome.code == 0, outcome.err
    assert "1EXA001: body outline drawn from the image (" in outcome.err
