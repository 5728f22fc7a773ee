"""`synthct evaluate`: predictions and ground truth in, metrics.json out, in a process of its own."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.command_line import files_below, synthct
from commands.limb_cases import limb, save_limb

from synthct.volume import write_volume

CASES = ("1ABA001", "1EXA001", "1EXA002")
JUDGE = ("--segmenter", "tissue")
OFFICIAL = ("mae", "psnr", "ms_ssim", "DICE", "HD95")
STRICT = ("mae_strict", "psnr_strict", "ms_ssim_strict", "DICE_strict", "HD95_strict")
SUMMARY = ["mean", "max", "min", "std", "25pc", "50pc", "75pc", "count"]
OFFSETS = {"1ABA001": 0, "1EXA001": 50, "1EXA002": 100}
"""HU added to the CT to make each sCT; the MAE, then, in HU."""


def reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def read_metrics(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text(), parse_constant=reject_constant)
    return content


class Scene:
    """Three simulated limbs with sCTs of starter weights, and the same ground truth as ct/ and mask/; both scored."""

    def __init__(self, root: Path) -> None:
        self.data, self.truth = root / "a" / "data", root / "b" / "truth"
        self.predictions, self.bare = root / "predictions", root / "bare"
        for folder in (self.truth / "ct", self.truth / "mask", self.predictions):
            folder.mkdir(parents=True)
        for number, case in enumerate(CASES):
            phantom = limb(seed=number)
            folder = save_limb(self.data / "Task1" / case[1:3] / case, seed=number)
            for stem in ("ct", "mask"):
                shutil.copy(folder / f"{stem}.mha", self.truth / stem / f"{case}.mha")
            sct = phantom.reference.with_voxels((phantom.reference.voxels + OFFSETS[case]).astype(np.int16))
            write_volume(sct, self.predictions / f"{case}.mha")
        shutil.copytree(self.predictions, self.bare)
        (self.data / "dataset.json").write_text('{"simulated": true, "kind": "limb"}')
        (self.predictions / "manifest.json").write_text('{"algorithm": "x", "models": {"m": {"starter": true}}}')
        self.output, self.output_of_truth = root / "output", root / "output of truth"
        self.outcome = synthct("evaluate", self.predictions, self.data, self.output, *JUDGE, "--pictures")
        self.outcome_of_truth = synthct("evaluate", self.bare, self.truth, self.output_of_truth, *JUDGE)
        assert self.outcome.code == 0, self.outcome.err
        assert self.outcome_of_truth.code == 0, self.outcome_of_truth.err


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("evaluate"))


def test_both_layouts_give_identical_scores(scene: Scene) -> None:
    by_data, by_truth = read_metrics(scene.output), read_metrics(scene.output_of_truth)
    for key in ("results", "aggregates", "aggregates_by_region", "protocol", "segmenter"):
        assert by_data[key] == by_truth[key], key


def test_keys_are_those_of_the_architecture(scene: Scene) -> None:
    content = read_metrics(scene.output)
    keys = {"results", "aggregates", "aggregates_by_region", "protocol", "segmenter", "segmenter_weights"}
    assert keys | {"registration", "manifest", "segmenters", "judge_is_extractor", "failures"} <= set(content)
    assert (content["failures"], content["judge_is_extractor"]) == ([], False)
    assert content["protocol"] == "synthrad2025"
    assert (content["segmenter"], content["segmenter_weights"], content["registration"]) == ("tissue", None, "none")
    for row in content["results"]:
        assert {"case", *OFFICIAL, *STRICT, "nsd", "n_missed", "n_spurious", "structures"} <= set(row)
        assert row["nsd_tolerance_mm"] == 6.0  # twice the limb's 3 mm voxels
    for name in (*OFFICIAL, *STRICT):
        assert list(content["aggregates"][name]) == SUMMARY
    assert content["manifest"]["prediction"]["algorithm"] == "x"
    assert content["manifest"]["dataset"]["kind"] == "limb"


def test_rows_by_hand(scene: Scene) -> None:
    rows = {row["case"]: row for row in read_metrics(scene.output)["results"]}
    assert tuple(rows) == CASES
    for case, offset in OFFSETS.items():
        assert rows[case]["mae"] == offset
        expected = 20 * math.log10(4095 / offset) if offset else None
        assert rows[case]["psnr"] == (expected and pytest.approx(expected))
        assert rows[case]["mae_compact_bone"] == offset
    assert rows["1ABA001"]["DICE"] == rows["1ABA001"]["ms_ssim"] == rows["1ABA001"]["dice_bone"] == 1.0
    assert (rows["1ABA001"]["HD95"], rows["1ABA001"]["nsd"]) == (0.0, 1.0)
    assert rows["1ABA001"]["psnr_strict"] == pytest.approx(10 * math.log10(4095**2 * 12))
    assert 1.0 > rows["1EXA001"]["DICE"] > rows["1EXA002"]["DICE"] > 0.0
    assert 1.0 > rows["1EXA001"]["ms_ssim"] > rows["1EXA002"]["ms_ssim"] > 0.0


def test_aggregates_by_hand(scene: Scene) -> None:
    content = read_metrics(scene.output)
    mae = content["aggregates"]["mae"]
    assert [mae[name] for name in SUMMARY] == [50, 100, 0, pytest.approx(math.sqrt(5000 / 3)), 25, 50, 75, 3]
    assert content["aggregates"]["psnr"]["count"] == 2
    assert content["aggregates"]["psnr_strict"]["count"] == 3
    assert (content["aggregates"]["HD95"]["min"], content["aggregates"]["HD95"]["count"]) == (0.0, 3)
    regions = content["aggregates_by_region"]
    assert set(regions) == {"AB", "EX"}
    assert (regions["EX"]["mae"]["mean"], regions["EX"]["mae"]["std"], regions["EX"]["mae"]["count"]) == (75, 25, 2)
    assert regions["AB"]["psnr"] == {**dict.fromkeys(SUMMARY), "count": 0}


def test_what_is_undefined_is_warned_of(scene: Scene) -> None:
    assert [line for line in scene.outcome.err.splitlines() if "psnr" in line] == [
        "warning: case 1ABA001: psnr is undefined (null), and so is its mean over the cases"
    ]


def test_flags_are_carried(scene: Scene) -> None:
    marked, bare = read_metrics(scene.output), read_metrics(scene.output_of_truth)
    assert (marked["simulated"], marked["starter"]) == (True, True)
    assert (bare["simulated"], bare["starter"]) == (False, None)


def test_pictures_only_where_asked_for(scene: Scene) -> None:
    scores = ["metrics.json", "rows", *(f"rows/{case}.json" for case in CASES)]
    assert files_below(scene.output) == [*(f"{case}.png" for case in CASES), *scores]
    assert files_below(scene.output_of_truth) == scores


def test_the_summary_names_judge_and_place(scene: Scene) -> None:
    assert scene.outcome.out.startswith("3 cases, judged by tissue: mae 50, ms_ssim ")
    assert scene.outcome.out.endswith(f"; details in {scene.output / 'metrics.json'}\n")


def test_part_of_the_tree_and_the_range_of_2023(scene: Scene, tmp_path: Path) -> None:
    folder = scene.data / "Task1" / "EX" / "1EXA001"
    outcome = synthct("evaluate", scene.predictions, folder, tmp_path, "--protocol", "synthrad2023", *JUDGE)
    assert outcome.code == 0, outcome.err
    assert "2 predictions have no reference and are not scored: 1ABA001, 1EXA002" in outcome.err
    content = read_metrics(tmp_path)
    assert [row["case"] for row in content["results"]] == ["1EXA001"]
    assert content["results"][0]["psnr"] == pytest.approx(20 * math.log10(4024 / 50))
    assert 0.0 < content["aggregates"]["ssim"]["mean"] < 1.0
    assert (content["protocol"], content["simulated"]) == ("synthrad2023", True)
