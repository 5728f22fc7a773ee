"""`synthct run`: the platform's /input to /output, in a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import Outcome, files_below, synthct
from commands.limb_cases import limb, save_platform_input

from synthct.volume import Volume, read_volume
from synthct.weights import file_sha256


def run(source: Path, output: Path, *arguments: str, starter: bool = True, **environment: str) -> Outcome:
    return synthct(
        *("run", "lookup-table", *arguments),
        cwd=source.parent,  # no .env of the developer's
        INPUT_FOLDER=str(source),
        OUTPUT_FOLDER=str(output),
        SYNTHCT_STARTER="1" if starter else "",
        **environment,
    )


def require_refusal(outcome: Outcome, code: int, *words: str) -> None:
    """The last line on stderr, all that a platform user sees, is one sentence with these words."""
    assert outcome.code == code, outcome.err
    assert outcome.reason.startswith("error: ")
    assert [word for word in words if word not in outcome.reason] == []
    assert "Traceback" not in outcome.err


def warnings_about(outcome: Outcome, word: str) -> list[str]:
    return [line for line in outcome.err.splitlines() if line.startswith("warning: ") and word in line]


@dataclass(frozen=True)
class Run:
    """A run that succeeded."""

    source: Path
    output: Path
    outcome: Outcome
    sct: Volume


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("run")
    source, output = save_platform_input(root / "input"), root / "output"
    outcome = run(source, output)
    assert outcome.code == 0, outcome.err
    return Run(source, output, outcome, read_volume(output / "images" / "synthetic-ct" / "scan-of-mri.mha"))


def test_one_image_below_output_images(good: Run) -> None:
    assert files_below(good.output) == [
        "images",
        "images/synthetic-ct",
        "images/synthetic-ct/scan-of-mri.mha",
        "manifest.json",
        "results.json",
    ]


def test_voxels_are_int16_and_air_outside_the_mask(good: Run) -> None:
    voxels, mask = good.sct.voxels, limb().mask.voxels > 0
    assert voxels.dtype == np.int16
    assert set(np.unique(voxels[~mask])) == {-1000}
    assert np.unique(voxels[mask]).size > 20
    assert voxels.min() >= -1024
    assert voxels.max() <= 3071


def test_geometry_is_that_of_the_input(good: Run) -> None:
    assert good.sct.geometry == limb().image.geometry
    assert good.sct.geometry.spacing == (3.0, 3.0, 5.0)


def test_results_json_is_the_template_s(good: Run) -> None:
    images = good.source / "images"
    assert json.loads((good.output / "results.json").read_text()) == [
        {
            "outputs": [
                {"type": "metaio_image", "filename": str(good.output / "images" / "synthetic-ct" / "scan-of-mri.mha")}
            ],
            "inputs": [
                {"type": "metaio_image", "filename": str(images / "mri" / "scan-of-mri.mha")},
                {"type": "metaio_image", "filename": str(images / "body" / "scan-of-body.mha")},
                {"type": "String", "filename": str(good.source / "region.json")},
            ],
            "error_messages": [],
        }
    ]


def test_manifest_says_what_ran(good: Run) -> None:
    report = json.loads((good.output / "manifest.json").read_text())
    (row,) = report["cases"]
    (path, model) = next(iter(report["models"].items()))
    assert (row["case"], row["region"], row["algorithm"], row["model"]) == ("scan-of-mri", "EX", "lookup-table", path)
    assert model["sha256"] == file_sha256(Path(path) / "weights.safetensors")
    assert model["starter"] is True
    assert 0 <= row["seconds"] < 60
    assert 50 < report["peak_memory_mb"] < 50_000
    assert report["device"] in ("cpu", "cuda")


def test_starter_weights_are_not_silent(good: Run) -> None:
    assert len(warnings_about(good.outcome, "STARTER")) == 1


@pytest.mark.parametrize(
    ("region", "suffix", "word"), [('"Left Foot"', ".nii.gz", "Left Foot"), (None, ".mha", "is missing")]
)
def test_region_that_cannot_be_told_warns_once(
    good: Run, tmp_path: Path, region: str | None, suffix: str, word: str
) -> None:
    source = save_platform_input(tmp_path / "input", region=region, suffix=suffix)
    outcome = run(source, tmp_path / "output")
    assert outcome.code == 0, outcome.err
    about_region = warnings_about(outcome, "region.json")
    assert len(about_region) == 1
    assert word in about_region[0]
    assert len(warnings_about(outcome, "")) == 2  # the other one is about the starter weights
    images = [name for name in files_below(tmp_path / "output") if Path(name).suffix]
    assert images == ["images/synthetic-ct/scan-of-mri.mha", "manifest.json", "results.json"]
    sct = read_volume(tmp_path / "output" / images[0])
    np.testing.assert_array_equal(sct.voxels, good.sct.voxels)
    assert sct.geometry.difference(good.sct.geometry) is None


def test_task_outside_the_model_is_refused(tmp_path: Path) -> None:
    outcome = run(save_platform_input(tmp_path / "input", task="cbct"), tmp_path / "output")
    require_refusal(outcome, 4, "mri", "cbct")
    assert files_below(tmp_path / "output") == []


def test_region_outside_the_model_is_refused(tmp_path: Path) -> None:
    outcome = run(save_platform_input(tmp_path / "input", region='"Abdomen"'), tmp_path / "output")
    require_refusal(outcome, 4, "EX", "AB")
    assert files_below(tmp_path / "output") == []


def test_no_weights_is_refused(tmp_path: Path) -> None:
    outcome = run(save_platform_input(tmp_path / "input"), tmp_path / "output", starter=False)
    require_refusal(outcome, 4, "no weights for lookup-table", "/opt/ml/model")
    assert files_below(tmp_path / "output") == []


def test_two_input_images_break_the_contract(tmp_path: Path) -> None:
    source = save_platform_input(tmp_path / "input")
    (source / "images" / "mri" / "second.mha").write_bytes(b"")
    require_refusal(run(source, tmp_path / "output"), 6, "images/mri", "2 images")


def test_image_left_in_the_output_breaks_the_contract(good: Run, tmp_path: Path) -> None:
    left = tmp_path / "output" / "images" / "other" / "left.mha"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    require_refusal(run(good.source, tmp_path / "output"), 6, "left.mha", "another image is in the output")
    assert [name for name in files_below(tmp_path / "output") if name.endswith((".mha", ".json"))] == [
        "images/other/left.mha"
    ]


def test_usage_that_cannot_be_meant(tmp_path: Path) -> None:
    source = save_platform_input(tmp_path / "input")
    require_refusal(run(source, tmp_path / "output", "another"), 2, "'another'", "lookup-table")
    require_refusal(run(source, tmp_path / "output", "lookup-table"), 2, "twice", "lookup-table lookup-table")
    require_refusal(synthct("run", "unet", INPUT_FOLDER=str(source)), 2, "'unet'", "lookup-table", "pix2pix-pelvis")
    wrong = run(source, tmp_path / "output", "--api", "soap")
    assert wrong.code == 2
    assert "'--api'" in wrong.reason
    assert "'soap'" in wrong.reason
    assert files_below(tmp_path / "output") == []
