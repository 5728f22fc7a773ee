"""CONTRACT 6.B, lines 1 and 2, against a running container: golden numbers, and what an absent structure counts for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from builders import make_volume
from containers.scoring import Evaluation, read_strict
from golden_numbers import GOLDEN, golden_pair

from synthct.volume import write_volume

pytestmark = pytest.mark.container

Array = npt.NDArray[Any]
Rows = dict[str, dict[str, Any]]

PAIRS = dict(zip(("1ABA001", "1ABA002", "1ABA003", "1ABA004"), GOLDEN, strict=True))
SSIM_2023 = {
    ("hash", (100, 80, 40)): 0.99674786,
    ("hash", (128, 112, 104)): 0.99615679,
    ("smooth", (100, 80, 40)): 0.98971855,
    ("smooth", (128, 112, 104)): 0.98908279,
}
LIVER, HEART, BRAIN = 5, 51, 90
SHAPE = (20, 40, 40)
"""Of the label maps, (z, y, x); voxels of 1 x 1 x 3 mm."""


def score(image: str, root: Path, settings: dict[str, Any]) -> tuple[Rows, list[str]]:
    """Score root/scts against root/truth in a container; return the rows by case, and the lines of stderr."""
    (root / "truth" / "evaluation.json").write_text(json.dumps(settings))
    ended = Evaluation(image, root / "truth").run(root / "scts", root / "output")
    assert ended.code == 0, ended.lines
    metrics = read_strict(root / "output")
    assert metrics["protocol"] == settings.get("protocol", "synthrad2025")
    return {row["case"]: row for row in metrics["results"]}, ended.lines


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the golden numbers; the formulas have axes (x, y, z), volumes (z, y, x)."""
    root = tmp_path_factory.mktemp("golden")
    for case, (kind, shape) in PAIRS.items():
        reference, prediction, mask = golden_pair(kind, shape)
        for voxels, folder in ((reference, "truth/ct"), (prediction, "scts"), (mask, "truth/mask")):
            write_volume(make_volume(np.ascontiguousarray(voxels.T)), root / folder / f"{case}.mha")
    return root


def test_1_golden_numbers_of_2025(golden: Path, evaluation_image: str) -> None:
    rows, _ = score(evaluation_image, golden, {"segmenters": ["tissue"]})
    assert list(rows) == list(PAIRS)
    for case, pair in PAIRS.items():
        mae, (psnr, ms_ssim), _ = GOLDEN[pair]
        found = [rows[case][name] for name in ("mae", "psnr", "ms_ssim")]
        assert found == pytest.approx([mae, psnr, ms_ssim], rel=0, abs=1e-6), pair


def test_1_golden_numbers_of_2023_and_of_the_metrics_repository(golden: Path, evaluation_image: str) -> None:
    rows, _ = score(evaluation_image, golden, {"segmenters": ["tissue"], "protocol": "synthrad2023"})
    for case, pair in PAIRS.items():
        mae, _, (psnr, ms_ssim) = GOLDEN[pair]
        found = [rows[case][name] for name in ("mae", "psnr", "ms_ssim", "ssim")]
        assert found == pytest.approx([mae, psnr, ms_ssim, SSIM_2023[pair]], rel=0, abs=1e-6), pair


def box(label: int, x: tuple[int, int], y: tuple[int, int], z: tuple[int, int]) -> Array:
    """A label map with one box; each axis from, to (exclusive)."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[slice(*z), slice(*y), slice(*x)] = label
    return labels


def cube(label: int, *, x: int = 4, y: int = 4, z: int = 4, edge: int = 10) -> Array:
    """A label map with a cube of so many voxels that begins at x, y, z."""
    return box(label, (x, x + edge), (y, y + edge), (z, z + edge))


NOTHING = np.zeros(SHAPE, np.uint8)
OFF_BY_2 = 8 / 10
"""Dice of a cube of 10 voxels and the same cube 2 voxels away: 2 x 800 / 2000."""

EDGES: dict[str, tuple[Array, Array, float, float]] = {  # case: CT's labels, sCT's labels, DICE, HD95
    "1ABA001": (cube(LIVER) + cube(HEART, x=24), cube(LIVER, x=6), OFF_BY_2 / 2, 2.0),
    "1ABA002": (cube(LIVER) + cube(HEART, x=24), NOTHING, 0.0, 0.0),
    "1ABA003": (cube(BRAIN), cube(BRAIN), 0.0, 0.0),
    "1ABA004": (cube(LIVER), cube(LIVER) + cube(HEART, x=24), 1.0, 0.0),
    "1THA001": (NOTHING, cube(LIVER), 0.0, 0.0),
    "1HNA001": (cube(BRAIN) + cube(LIVER, x=24), cube(BRAIN, x=6), OFF_BY_2, 2.0),
    "1BA001": (cube(BRAIN), cube(BRAIN, x=6), OFF_BY_2, 2.0),
    "1ABA005": (
        box(LIVER, (10, 20), (10, 20), (5, 12)),
        box(LIVER, (11, 22), (9, 20), (5, 14)),
        0.7043041,
        6.0827627,
    ),
    "1ABA006": (cube(LIVER), cube(LIVER, z=6), OFF_BY_2, 6.0),
    "1ABA007": (cube(LIVER), cube(LIVER, x=6), OFF_BY_2, 2.0),
}
"""Hand-worked, and the last three golden. Liver and heart are listed for AB and TH, the brain for HN."""


@pytest.fixture(scope="module")
def edges(evaluation_image: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, list[str]]:
    """All these cases in one submission, judged by ready label maps from the ground truth."""
    root = tmp_path_factory.mktemp("edges")
    z, y, x = np.indices(SHAPE)
    ct = (5 * x + 7 * y + 11 * z - 300).astype(np.int16)
    for case, (expected, found, _, _) in EDGES.items():
        for voxels, folder in (
            (ct, "truth/ct"),
            (np.ones(SHAPE, np.uint8), "truth/mask"),
            (expected, "truth/segmentation"),
            (found, "truth/labels of sCTs"),
            (ct + np.int16(9), "scts"),
        ):
            write_volume(make_volume(voxels), root / folder / f"{case}.mha")
    return score(evaluation_image, root, {"segmenters": ["precomputed:labels of sCTs"]})


@pytest.mark.parametrize(
    ("case", "about"),
    [
        ("1ABA001", "a class is missing in the prediction: Dice 0, and it leaves the mean of HD95"),
        ("1ABA002", "all classes are missing: Dice 0, and the perfect HD95"),
        ("1ABA003", "no listed class in the CT: 0 and 0, whatever else there is"),
        ("1THA001", "nothing at all in the CT: 0 and 0"),
        ("1ABA004", "what the CT lacks costs nothing"),
        ("1HNA001", "the head has a list of its own: the liver is not in it"),
        ("1BA001", "the official program dies of an id of 2023; ours has lists for its regions"),
    ],
)
def test_2_what_an_absent_structure_counts_for(edges: tuple[Rows, list[str]], case: str, about: str) -> None:
    row = edges[0][case]
    assert (row["DICE"], row["HD95"]) == pytest.approx(EDGES[case][2:], rel=0, abs=1e-6), about


def test_2_the_strict_columns_and_counts_tell_what_the_official_ones_hide(edges: tuple[Rows, list[str]]) -> None:
    rows, said = edges
    diagonal = (40**2 + 40**2 + 60**2) ** 0.5
    assert rows["1ABA001"]["HD95_strict"] == pytest.approx((2.0 + diagonal) / 2)
    assert rows["1ABA002"]["HD95_strict"] == pytest.approx(diagonal)
    assert (rows["1ABA003"]["DICE_strict"], rows["1ABA003"]["HD95_strict"]) == (None, None)
    counts = {"1ABA001": (2, 1, 0), "1ABA002": (2, 2, 0), "1ABA004": (1, 0, 1), "1THA001": (0, 0, 1)}
    for case, expected in counts.items():
        assert tuple(rows[case][f"n_{name}"] for name in ("structures", "missed", "spurious")) == expected, case
    warned = [line.split()[2].rstrip(":") for line in said if "finds no structure of region" in line]
    assert sorted(warned) == ["1ABA003", "1THA001"]


@pytest.mark.parametrize("case", ["1ABA005", "1ABA006", "1ABA007"])
def test_1_golden_structures_and_the_order_of_axes(edges: tuple[Rows, list[str]], case: str) -> None:
    """Boxes of 1 x 1 x 3 mm; two voxels along the last axis, z, are 6 mm, along the first, x, 2 mm."""
    row = edges[0][case]
    assert (row["DICE"], row["HD95"]) == pytest.approx(EDGES[case][2:], rel=0, abs=1e-6)
