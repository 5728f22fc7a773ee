"""`synthct sample` and `synthct prepare`: phantoms as a data set, and data sets as the platform lays them out."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.command_line import files_below, synthct
from commands.limb_cases import limb, save_limb

from synthct.dataset import find_cases, load_case
from synthct.volume import read_volume

STEMS = ("ct", "mask", "segmentation")

# kind, layout, task -> case folder
ALLOWED = {
    ("limb", "2025", "cbct"): "Task2/EX/2EXA001",
    ("head", "2025", "mri"): "Task1/HN/1HNA001",
    ("abdomen", "2025", "cbct"): "Task2/AB/2ABA001",
    ("thorax", "2025", "mri"): "Task1/TH/1THA001",
    ("pelvis", "2025", "cbct"): "Task2/P/2PA001",
    ("head", "2023", "cbct"): "Task2/brain/2BA001",
    ("pelvis", "2023", "mri"): "Task1/pelvis/1PA001",
}


def files_only(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if (folder / name).is_file()]


@pytest.mark.parametrize(("kind", "layout", "task"), ALLOWED)
def test_sample_writes_the_tree_of_its_layout(kind: str, layout: str, task: str, tmp_path: Path) -> None:
    outcome = synthct("sample", tmp_path / "data", "--kind", kind, "--layout", layout, "--task", task, "--seed", "3")
    assert (outcome.code, outcome.err) == (0, "")
    folder, suffix = ALLOWED[kind, layout, task], ".mha" if layout == "2025" else ".nii.gz"
    stems = [*STEMS, "mr" if task == "mri" else "cbct"]
    assert files_only(tmp_path / "data") == sorted(["dataset.json", *(f"{folder}/{stem}{suffix}" for stem in stems)])
    note = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert (note["simulated"], note["kind"], note["task"], note["seed"]) == (True, kind, task, 3)
    (files,) = find_cases(tmp_path / "data")
    case = load_case(files)
    assert (case.id, case.task) == (Path(folder).name, task)
    assert case.reference is not None
    assert case.reference.voxels[case.mask.voxels > 0].std() > 50
    assert 0.02 < case.mask.voxels.mean() < 0.98


def test_sample_repeats_itself_byte_for_byte(tmp_path: Path) -> None:
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert synthct("sample", tmp_path / name, "--cases", "2", "--seed", seed).code == 0
    names = files_only(tmp_path / "a")
    assert len(names) == 1 + 2 * 4
    assert "Task1/EX/1EXA002/mr.mha" in names
    first, again, other = ({name: (tmp_path / run / name).read_bytes() for name in names} for run in "abc")
    assert first == again
    assert [name for name in names if first[name] == other[name]] == []
    assert first["Task1/EX/1EXA002/ct.mha"] == other["Task1/EX/1EXA001/ct.mha"]  # the seed counts up


@pytest.mark.parametrize("kind", ["limb", "abdomen", "thorax"])
def test_sample_refuses_what_2023_has_not(kind: str, tmp_path: Path) -> None:
    outcome = synthct("sample", tmp_path / "data", "--kind", kind, "--layout", "2023")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.reason.startswith(f"error: --kind {kind} is not part of layout 2023")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--kind", "nose", "'nose'"),
        ("--task", "pet", "'pet'"),
        ("--layout", "2024", "'2024'"),
        ("--cases", "0", "equal to 1"),
    ],
)
def test_sample_says_what_it_refuses(option: str, value: str, word: str, tmp_path: Path) -> None:
    outcome = synthct("sample", tmp_path / "data", option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert option in outcome.reason
    assert word in outcome.reason
    assert files_below(tmp_path) == []


class Laid:
    """Two simulated limbs, the second as NIfTI, prepared both ways and predicted."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, root / "a" / "data"
        save_limb(self.data / "Task1" / "EX" / "1EXA001", seed=1)
        save_limb(self.data / "Task1" / "EX" / "1EXA002", seed=2, suffix=".nii.gz")
        (self.data / "dataset.json").write_text('{"simulated": true, "seed": 1}')
        self.platform, self.truth, self.predictions = root / "platform", root / "truth", root / "predictions"
        for target, to in ((self.platform, "platform"), (self.truth, "ground-truth")):
            outcome = synthct("prepare", self.data, target, "--to", to)
            assert outcome.code == 0, outcome.err
        outcome = synthct("predict", "lookup-table", self.data, self.predictions, "--starter")
        assert outcome.code == 0, outcome.err


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    return Laid(tmp_path_factory.mktemp("prepare"))


def single(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize(("case", "seed"), [("1EXA001", 1), ("1EXA002", 2)])
def test_platform_input_has_uuid_names_and_the_same_images(laid: Laid, case: str, seed: int) -> None:
    folder = laid.platform / case
    paths = {name: single(folder / "images" / name) for name in ("mri", "body")}
    names = [str(uuid.UUID(path.stem)) for path in paths.values()]
    assert len(set(names)) == 2
    expected = [f"images/body/{names[1]}.mha", f"images/mri/{names[0]}.mha", "inputs.json", "region.json"]
    assert files_only(folder) == expected
    for path, volume in ((paths["mri"], limb(seed=seed).image), (paths["body"], limb(seed=seed).mask)):
        written = read_volume(path)
        np.testing.assert_array_equal(written.voxels, volume.voxels)
        assert written.voxels.dtype == volume.voxels.dtype
        assert written.geometry.difference(volume.geometry) is None


def test_platform_input_tells_region_and_upload_names(laid: Laid) -> None:
    folder = laid.platform / "1EXA001"
    assert json.loads((folder / "region.json").read_text()) == "Extremity"
    entries: list[dict[str, Any]] = json.loads((folder / "inputs.json").read_text())
    assert {frozenset(entry) for entry in entries} == {
        frozenset({"socket", "interface", "image", "file", "value", "pk"})
    }
    by_path = {entry["socket"]["relative_path"]: entry for entry in entries}
    assert set(by_path) == {"images/mri", "images/body", "region.json"}
    for path, upload in (("images/mri", "mr_1EXA001.mha"), ("images/body", "mask_1EXA001.mha")):
        entry = by_path[path]
        assert entry["interface"] == entry["socket"]
        assert entry["socket"]["super_kind"] == "Image"
        assert entry["image"] == {"pk": single(folder / path).stem, "name": upload}
        assert (entry["value"], entry["file"]) == (None, None)
    assert by_path["images/body"]["socket"]["slug"] == "body"
    assert (by_path["region.json"]["value"], by_path["region.json"]["image"]) == ("Extremity", None)
    assert len({entry["pk"] for entry in entries}) == 3


def test_run_on_the_platform_input_equals_predict(laid: Laid, tmp_path: Path) -> None:
    source = laid.platform / "1EXA001"
    variables = {"INPUT_FOLDER": str(source), "OUTPUT_FOLDER": str(tmp_path / "output"), "SYNTHCT_STARTER": "1"}
    outcome = synthct("run", "lookup-table", cwd=tmp_path, **variables)
    assert outcome.code == 0, outcome.err
    assert "case 1EXA001" in outcome.err
    written = single(tmp_path / "output" / "images" / "synthetic-ct")
    assert written.name == single(source / "images" / "mri").name
    sct, expected = read_volume(written), read_volume(laid.predictions / "1EXA001.mha")
    np.testing.assert_array_equal(sct.voxels, expected.voxels)
    assert sct.voxels.dtype == expected.voxels.dtype == np.int16
    assert sct.geometry == expected.geometry


def test_ground_truth_is_laid_out_by_id(laid: Laid) -> None:
    cases = ("1EXA001", "1EXA002")
    expected = ["dataset.json", "ground_truth.tar.gz", *(f"{stem}/{case}.mha" for stem in STEMS for case in cases)]
    assert files_only(laid.truth) == sorted(expected)
    for case, seed in zip(cases, (1, 2), strict=True):
        phantom = limb(seed=seed)
        volumes = {"ct": phantom.reference, "mask": phantom.mask, "segmentation": phantom.segmentation}
        for stem, volume in volumes.items():
            written = read_volume(laid.truth / stem / f"{case}.mha")
            np.testing.assert_array_equal(written.voxels, volume.voxels)
            assert written.geometry.difference(volume.geometry) is None


def test_ground_truth_scores_as_the_data_set_and_stays_simulated(laid: Laid, tmp_path: Path) -> None:
    content = []
    for truth in (laid.truth, laid.data):
        output = tmp_path / truth.name
        outcome = synthct("evaluate", laid.predictions, truth, output, "--segmenter", "tissue")
        assert outcome.code == 0, outcome.err
        content.append(json.loads((output / "metrics.json").read_text()))
    assert content[0]["results"] == content[1]["results"]
    assert [row["case"] for row in content[0]["results"]] == ["1EXA001", "1EXA002"]
    assert [(scores["simulated"], scores["starter"]) for scores in content] == [(True, True), (True, True)]
    note = {"simulated": True, "seed": 1}
    assert content[0]["manifest"]["dataset"] == {**note, "reference": "ct", "registration": "none"}
    assert content[1]["manifest"]["dataset"] == note


def test_prepare_repeats_its_uuids_and_tells_cbct(laid: Laid, tmp_path: Path) -> None:
    save_limb(tmp_path / "2EXA001", reference=False)
    for target in ("a", "b"):
        assert synthct("prepare", tmp_path / "2EXA001", tmp_path / target, "--to", "platform").code == 0
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    upload = json.loads((tmp_path / "a" / "2EXA001" / "inputs.json").read_text())[0]
    assert (upload["socket"]["relative_path"], upload["image"]["name"]) == ("images/cbct", "cbct_2EXA001.mha")
    assert {path.name for path in (tmp_path / "a" / "2EXA001" / "images").iterdir()} == {"cbct", "body"}


@pytest.mark.parametrize(("reference", "word"), [("ct", "no ct.mha"), ("ct_def", "no ct_def.mha")])
def test_ground_truth_without_a_ct_is_refused(reference: str, word: str, tmp_path: Path) -> None:
    save_limb(tmp_path / "data" / "1EXA001", reference=reference != "ct")
    options = ("--to", "ground-truth", "--reference", reference)
    outcome = synthct("prepare", tmp_path / "data", tmp_path / "truth", *options)
    assert (outcome.code, outcome.out) == (3, "")
    assert word in outcome.reason
    assert "1EXA001" in outcome.reason
    assert files_below(tmp_path / "truth") == []
