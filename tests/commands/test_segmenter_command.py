"""`synthct segmenter`: the check of a segmenter on a labelled CT, and the filling of a ground truth."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import synthct

from benchmarks.random_network import write_random_checkpoint
from evaluation.segmenters import describe_segmenter
from synthct.volume import Geometry, Volume, read_volume, write_volume

GRID = Geometry((20, 16, 12), (2.0, 2.5, 3.0), (5.0, -7.0, 11.0))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_random_checkpoint(folder, small=True)
    return folder


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    z, y, x = np.meshgrid(*(np.arange(edge) for edge in GRID.shape), indexing="ij")
    voxels = np.rint(600 * np.sin(z / 2) * np.cos(y / 3) + 300 * np.sin(x / 2)).astype(np.int16)
    return write_volume(Volume(voxels, GRID), tmp_path / "1ABA001.mha")


def save_labels(path: Path, **boxes: tuple[slice, slice, slice]) -> Path:
    labels = np.zeros(GRID.shape, np.uint8)
    for name, box in boxes.items():
        labels[box] = int(name.removeprefix("label"))
    path.parent.mkdir(exist_ok=True)
    return write_volume(Volume(labels, GRID), path)


def test_check_prints_dice_and_millilitres_of_each_label(ct: Path, tmp_path: Path) -> None:
    whole, half = slice(None), slice(0, 8)
    reference = save_labels(
        tmp_path / "reference.mha",
        label5=(slice(0, 4), whole, whole),
        label51=(slice(4, 8), whole, whole),
        label90=(slice(8, 10), whole, whole),
    )
    save_labels(
        tmp_path / "labels" / "1ABA001.mha",
        label5=(slice(0, 4), half, whole),
        label51=(slice(4, 8), whole, whole),
        label117=(slice(11, 12), whole, whole),
    )
    outcome = synthct("segmenter", "check", ct, reference, "--segmenter", f"precomputed:{tmp_path / 'labels'}")
    assert outcome.code == 0, outcome.err
    rows = [re.split(r"\s*[│┃|]\s*", line)[1:-1] for line in outcome.out.splitlines() if line.startswith("│")]
    # 1280 voxels of 15 mm3 are 19.2 mL; half of label 5 found: 2 * 640 / (1280 + 640).
    assert rows == [
        ["5", "liver", "19.20", "0.6667"],
        ["51", "heart", "19.20", "1.0000"],
        ["90", "brain", "9.60", "0.0000"],
    ]
    assert "mean Dice 0.5556 of 3 labels; 1 of them missed" in outcome.out
    assert re.search(r"^\d+\.\d s; weights none$", outcome.out, re.MULTILINE)


def test_check_with_a_network_names_its_weights(ct: Path, tmp_path: Path, results: Path) -> None:
    spec = f"totalsegmentator:{results}"
    reference = save_labels(tmp_path / "reference.mha", label5=(slice(0, 4), slice(None), slice(None)))
    outcome = synthct("segmenter", "check", ct, reference, "--segmenter", spec, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert f"weights {describe_segmenter(spec)[1]}" in outcome.out
    assert outcome.err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--segmenter", "vista"], 2, "segmenter 'vista' is unknown; expected totalsegmentator"),
        (["--segmenter", "tissue", "--device", "gpu"], 2, "device 'gpu' is unknown"),
        (["--segmenter", "totalsegmentator"], 4, "TotalSegmentator's weights"),
        (["--segmenter", "nnunet:absent"], 4, "absent: no such model"),
        (["--segmenter", "precomputed:absent"], 3, "absent: no such folder"),
    ],
)
def test_check_ends_with_the_code_of_its_error(
    arguments: list[str], code: int, reason: str, ct: Path, tmp_path: Path
) -> None:
    reference = save_labels(tmp_path / "reference.mha", label5=(slice(0, 4), slice(None), slice(None)))
    outcome = synthct("segmenter", "check", ct, reference, *arguments, HOME=str(tmp_path))
    assert (outcome.code, outcome.out) == (code, "")
    assert reason in outcome.reason


def test_check_needs_labels_to_compare_with(ct: Path, tmp_path: Path) -> None:
    empty = save_labels(tmp_path / "empty.mha")
    outcome = synthct("segmenter", "check", ct, empty, "--segmenter", "tissue")
    assert (outcome.code, "empty.mha: holds no label" in outcome.reason) == (3, True)


@pytest.fixture
def ground_truth(ct: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "truth"
    for kind in ("ct", "mask"):
        (folder / kind).mkdir(parents=True)
    mask = Volume(np.ones(GRID.shape, np.uint8), GRID)
    for name in ("1ABA001.mha", "1ABA002.mha"):
        shutil.copy(ct, folder / "ct" / name)
        write_volume(mask, folder / "mask" / name)
    return folder


def test_fill_segments_what_has_no_segmentation(ground_truth: Path, results: Path) -> None:
    given = save_labels(ground_truth / "segmentation" / "1ABA001.mha", label5=(slice(0, 4), slice(None), slice(None)))
    before = given.read_bytes()
    outcome = synthct("segmenter", "fill", ground_truth, "--segmenter", f"totalsegmentator:{results}")
    assert outcome.code == 0, outcome.err
    assert "1 of 2 CTs segmented by totalsegmentator" in outcome.out
    assert given.read_bytes() == before
    made = read_volume(ground_truth / "segmentation" / "1ABA002.mha")
    assert made.voxels.dtype == np.uint8
    assert made.geometry.difference(GRID) is None
    assert np.unique(made.voxels).size > 5
    note = json.loads((ground_truth / "dataset.json").read_text())
    assert note["segmented_by"][1:] == ["unknown"]  # the one that was there before
    assert len(note["segmented_by"][0]) == 64
    again = synthct("segmenter", "fill", ground_truth, "--segmenter", f"totalsegmentator:{results}")
    assert "0 of 2 CTs segmented" in again.out


def test_fill_packs_the_tarball_anew(ground_truth: Path, results: Path) -> None:
    (ground_truth / "ground_truth.tar.gz").write_bytes(b"of before")
    outcome = synthct("segmenter", "fill", ground_truth, "--segmenter", f"totalsegmentator:{results}")
    assert "packed anew" in outcome.out
    cases = ("1ABA001", "1ABA002")
    expected = [f"{folder}/{case}.mha" for folder in ("ct", "mask", "segmentation") for case in cases]
    with tarfile.open(ground_truth / "ground_truth.tar.gz") as archive:
        assert sorted(archive.getnames()) == sorted([*expected, "dataset.json"])
    note = json.loads((ground_truth / "dataset.json").read_text())
    assert note["segmented_by"] == [describe_segmenter(f"totalsegmentator:{results}")[1]]


def test_fill_notes_its_judge_before_the_first_label_map(ground_truth: Path, results: Path) -> None:
    """A run that ends half-way has said whose labels lie there; the next one adds nobody unknown."""
    spec = f"totalsegmentator:{results}"
    weights = describe_segmenter(spec)[1]
    whole = {name: (ground_truth / "ct" / name).read_bytes() for name in ("1ABA001.mha", "1ABA002.mha")}
    for name, made in (("1ABA001.mha", []), ("1ABA002.mha", ["1ABA001.mha"])):
        (ground_truth / "ct" / name).write_bytes(b"broken")
        outcome = synthct("segmenter", "fill", ground_truth, "--segmenter", spec)
        assert (outcome.code, name in outcome.reason) == (3, True)
        assert [path.name for path in (ground_truth / "segmentation").iterdir()] == made
        assert json.loads((ground_truth / "dataset.json").read_text())["segmented_by"] == [weights]
        (ground_truth / "ct" / name).write_bytes(whole[name])
    outcome = synthct("segmenter", "fill", ground_truth, "--segmenter", spec)
    assert "1 of 2 CTs segmented by totalsegmentator" in outcome.out
    assert json.loads((ground_truth / "dataset.json").read_text())["segmented_by"] == [weights]


def test_fill_writes_no_labels_of_another_kind(ground_truth: Path) -> None:
    outcome = synthct("segmenter", "fill", ground_truth, "--segmenter", "tissue")
    assert outcome.code == 2
    assert "segmenter tissue has labels of its own" in outcome.reason
    assert not (ground_truth / "segmentation").exists()


def test_fill_needs_a_ground_truth(tmp_path: Path) -> None:
    outcome = synthct("segmenter", "fill", tmp_path, "--segmenter", "tissue")
    assert outcome.code == 3
    assert "ct: no such folder; expected a ground truth with ct/ and mask/" in outcome.reason


def test_help_names_both_commands() -> None:
    outcome = synthct("segmenter", "--help")
    assert outcome.code == 0
    assert "check" in outcome.out
    assert "fill" in outcome.out
    assert synthct("segmenter", "chek").code == 2
