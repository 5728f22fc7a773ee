"""The starter through the real command: a head phantom, and a real MR (a limb, by force), on their own grids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import synthct

from synthct.dataset import find_cases, load_case
from synthct.volume import read_volume
from synthct.weights import open_model

STARTER = Path(__file__).resolve().parents[3] / "algorithms" / "ldm_brain" / "starter"

QUICK = ("--set", "sampling.steps=1", "--set", "sampling.layout=whole")


@pytest.mark.slow
def test_a_head_phantom_end_to_end(tmp_path: Path) -> None:
    """The same command twice, the same bits."""
    made = synthct("sample", tmp_path / "heads", "--kind", "head", "--cases", "1", "--layout", "2023")
    assert made.code == 0, made.err
    files = find_cases(tmp_path / "heads")[0]
    for name in ("first", "again"):
        outcome = synthct("predict", "ldm-brain", tmp_path / "heads", tmp_path / name, "--starter", *QUICK)
        assert outcome.code == 0, outcome.err
        assert "STARTER" in outcome.err
    case = load_case(files)
    first, again = (read_volume(tmp_path / name / f"{files.id}.mha") for name in ("first", "again"))
    inside = case.mask.voxels > 0
    assert first.geometry == case.image.geometry
    assert np.all(first.voxels[~inside] == -1000)
    assert np.array_equal(first.voxels, again.voxels)
    assert first.voxels[inside].std() > 100
    manifest = json.loads((tmp_path / "first" / "manifest.json").read_text())
    (model,) = manifest["models"].values()
    assert (model["starter"], model["demonstration_only"]) == (True, False)
    assert "simulated" in model["trained_on"]
    assert manifest["cases"][0]["steps"] == 1


def test_the_starter_is_drawn_as_its_card_says() -> None:
    config = open_model(STARTER, algorithm="ldm-brain").card.config
    assert (config["noise"]["kind"], config["noise"]["shift"]) == ("rectified-flow", 3.0)
    assert {name: config["sampling"][name] for name in ("steps", "samples", "layout", "blend")} == {
        "steps": 2,
        "samples": 1,
        "layout": "tiles",
        "blend": "images",
    }


@pytest.mark.slow
def test_a_real_mr_comes_back_on_its_own_grid(data_root: Path, tmp_path: Path) -> None:
    """No head: what is shown is the way there and back (0.98 x 0.98 x 3.27 mm), not an sCT of any use."""
    case = load_case(find_cases(data_root / "sts" / "Task1" / "EX" / "1EXA045")[0])
    source = data_root / "sts" / "Task1" / "EX" / "1EXA045"
    refused = synthct("predict", "ldm-brain", source, tmp_path / "out", "--starter", *QUICK)
    assert refused.code == 4
    forced = synthct("predict", "ldm-brain", source, tmp_path / "out", "--starter", "--force", *QUICK)
    assert forced.code == 0, forced.err
    sct = read_volume(tmp_path / "out" / "1EXA045.mha")
    inside = case.mask.voxels > 0
    assert sct.geometry == case.image.geometry
    assert np.all(sct.voxels[~inside] == -1000)
    assert sct.voxels[inside].std() > 50
