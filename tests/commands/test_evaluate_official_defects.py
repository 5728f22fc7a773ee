"""The official program's defects through the real command: its values in its columns, what they hide beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from commands.command_line import Outcome, files_below, synthct
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from synthct.volume import Geometry, Volume, write_volume

Array = npt.NDArray[Any]
SHAPE = (16, 16, 40)
DIAGONAL = math.sqrt(16**2 + 16**2 + 40**2)
LOW, HIGH = -1024.0, 3071.0
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

LIVER, HEART, BRAIN, RIB = 5, 51, 90, 92
ALL_MISSED, ONE_OF_EACH, IDENTICAL, NONE_LISTED, NAN, FLIPPED = CASES = (
    "1ABA001",
    "1ABA002",
    "1ABA003",
    "1HNA001",
    "1THB001",
    "1THB002",
)
FLIP = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

_Z, _Y, _X = np.indices(SHAPE)
CT = np.rint(400 * np.sin(_X / 3.0) * np.cos(_Y / 4.0) + 20 * _Z).astype(np.int16)
SCT = (CT + 200 + 30 * ((_X + _Y + _Z) % 3)).astype(np.int16)
MASK = np.zeros(SHAPE, dtype=np.uint8)
MASK[1:-1, 1:-1, 1:-1] = 1


def save(path: Path, voxels: Array, direction: tuple[float, ...] = Geometry((1, 1, 1)).direction) -> None:
    """Write an image of 1 mm voxels."""
    z, y, x = voxels.shape
    write_volume(Volume(voxels, Geometry((x, y, z), direction=direction)), path)


def cubes(*placed: tuple[int, int]) -> Array:
    """Label map with cubes of 8 x 8 x 8 voxels, each a label and where it begins in x."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for label, start in placed:
        labels[4:12, 4:12, start : start + 8] = label
    return labels


class Scene:
    """Six cases with one defect each, judged by ready label maps and by tissue classes in one run."""

    def __init__(self, root: Path) -> None:
        self.output = root / "output"
        broken = CT.astype(np.float32)
        broken[8, 8, 20] = np.nan
        scts = dict.fromkeys(CASES, SCT) | {IDENTICAL: CT, NAN: broken}
        liver = cubes((LIVER, 1))
        expected = dict.fromkeys(CASES, liver)
        found = dict.fromkeys(CASES, liver)
        expected[ALL_MISSED], found[ALL_MISSED] = cubes((LIVER, 1), (HEART, 13)), cubes()
        expected[ONE_OF_EACH] = cubes((LIVER, 1), (HEART, 13), (RIB, 29))
        found[ONE_OF_EACH] = cubes((LIVER, 1), (HEART, 17))
        found[NONE_LISTED] = cubes((BRAIN, 1))  # the head's list has the brain, and no liver
        for case in CASES:
            save(root / "truth" / "ct" / f"{case}.mha", CT)
            save(root / "truth" / "mask" / f"{case}.mha", MASK)
            save(root / "truth" / "segmentation" / f"{case}.mha", expected[case])
            save(root / "labels" / f"{case}.mha", found[case])
            save(root / "scts" / f"{case}.mha", scts[case])
        save(root / "scts" / f"{FLIPPED}.mha", SCT, FLIP)
        judges = ("--segmenter", f"precomputed:{root / 'labels'}", "--segmenter", "tissue")
        self.outcome = synthct("evaluate", root / "scts", root / "truth", self.output, *judges, "--workers", "1")
        assert self.outcome.code == 0, self.outcome.err
        text = (self.output / "metrics.json").read_text()
        self.constants: list[str] = []
        self.metrics: dict[str, Any] = json.loads(text, parse_constant=self.constants.append)
        self.rows: dict[str, dict[str, Any]] = {row["case"]: row for row in self.metrics["results"]}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("defects"))


def warnings_of(outcome: Outcome, case: str) -> list[str]:
    return [line for line in outcome.err.splitlines() if case in line]


def test_1_finding_nothing_is_the_best_hd95_officially_and_the_diagonal_strictly(scene: Scene) -> None:
    row = scene.rows[ALL_MISSED]
    assert (row["DICE"], row["HD95"]) == (0.0, 0.0)
    assert (row["DICE_strict"], row["HD95_strict"]) == (0.0, pytest.approx(DIAGONAL))
    assert (row["n_structures"], row["n_missed"], row["nsd"]) == (2, 2, 0.0)


def test_1_a_missed_structure_leaves_the_official_mean(scene: Scene) -> None:
    """Perfect, 4 voxels off, missed: 2.0."""
    row = scene.rows[ONE_OF_EACH]
    assert row["HD95"] == 2.0
    assert row["HD95_strict"] == pytest.approx((0 + 4 + DIAGONAL) / 3)
    assert row["DICE"] == row["DICE_strict"] == pytest.approx((1 + 0.5 + 0) / 3)
    statuses = {name: score["status"] for name, score in row["structures"]["precomputed"].items()}
    assert statuses == {"liver": "found", "heart": "found", "rib_left_1": "missed"}


def test_2_a_case_without_a_listed_class_is_zero_officially_and_null_strictly(scene: Scene) -> None:
    row = scene.rows[NONE_LISTED]
    assert (row["DICE"], row["HD95"]) == (0.0, 0.0)
    assert (row["DICE_strict"], row["HD95_strict"], row["nsd"]) == (None, None, None)
    assert (row["n_structures"], row["n_spurious"], row["spurious_ml"]) == (0, 1, 0.512)
    assert scene.metrics["aggregates"]["DICE"]["count"] == 6
    assert scene.metrics["aggregates"]["DICE_strict"]["count"] == 5


def ms_ssim(*, luminance_everywhere: bool) -> float:
    """CONTRACT 3.2 and 3.6, 2 with SciPy on whole volumes."""
    padding = [((97 - length) // 2, 97 - length - (97 - length) // 2) for length in SHAPE]
    inside = np.pad(MASK, padding, mode="edge")
    images = [np.pad(np.where(MASK > 0, image - LOW, 0.0), padding, mode="edge") for image in (CT, SCT)]
    c1, c2 = (0.01 * (HIGH - LOW)) ** 2, (0.03 * (HIGH - LOW)) ** 2
    inner = (slice(3, -3),) * 3
    result = 1.0
    for level, weight in enumerate(WEIGHTS):
        g, p = images
        mean_g, mean_p, squares, products = (uniform_filter(each, 7) for each in (g, p, g * g + p * p, g * p))
        variances = 343 / 342 * (squares - mean_g**2 - mean_p**2)
        covariance = 343 / 342 * (products - mean_g * mean_p)
        similarity = np.maximum(2 * covariance + c2, 0) / (variances + c2)
        if luminance_everywhere or level == 4:
            similarity = similarity * (2 * mean_g * mean_p + c1) / (mean_g**2 + mean_p**2 + c1)
        result *= float(np.mean((similarity**weight)[inner][inside[inner] > 0]))
        images = [fftconvolve(image, np.full((2, 2, 2), 0.125), mode="same")[::2, ::2, ::2] for image in images]
        inside = inside[::2, ::2, ::2]
    return result


def test_4_luminance_at_every_level_officially_and_at_the_coarsest_strictly(scene: Scene) -> None:
    row = scene.rows[ALL_MISSED]
    assert row["ms_ssim"] == pytest.approx(ms_ssim(luminance_everywhere=True), abs=1e-9)
    assert row["ms_ssim_strict"] == pytest.approx(ms_ssim(luminance_everywhere=False), abs=1e-9)
    assert row["ms_ssim"] < row["ms_ssim_strict"] - 0.001


def test_5_identical_images_have_no_psnr_officially(scene: Scene) -> None:
    row = scene.rows[IDENTICAL]
    assert (row["mae"], row["psnr"], row["ms_ssim"]) == (0.0, None, 1.0)
    assert row["psnr_strict"] == pytest.approx(83.04, abs=0.01)
    assert warnings_of(scene.outcome, IDENTICAL) == [
        f"warning: case {IDENTICAL}: psnr is undefined (null), and so is its mean over the cases"
    ]


def test_5_one_nan_voxel_has_no_image_value_officially_and_counts_strictly(scene: Scene) -> None:
    row = scene.rows[NAN]
    voxels = 14 * 14 * 38
    worst = max(HIGH - int(CT[8, 8, 20]), int(CT[8, 8, 20]) - LOW)
    assert (row["mae"], row["psnr"], row["ms_ssim"], row["n_nonfinite"]) == (None, None, None, 1)
    assert row["mae_strict"] == pytest.approx(worst / voxels)
    assert row["psnr_strict"] == pytest.approx(10 * math.log10((HIGH - LOW) ** 2 / (worst**2 / voxels)))
    assert 0.0 < row["ms_ssim_strict"] < 1.0
    assert (row["DICE"], row["DICE_tissue"] < 1.0) == (1.0, True)
    assert len(warnings_of(scene.outcome, NAN)) == 4
    assert scene.metrics["aggregates"]["mae"]["count"] == 5
    assert scene.metrics["aggregates"]["mae_strict"]["count"] == 6
    assert scene.constants == []


def test_6_a_flipped_sct_is_scored_voxel_by_voxel_and_flagged(scene: Scene) -> None:
    row, upright = scene.rows[FLIPPED], scene.rows[ALL_MISSED]
    for name in ("mae", "psnr", "ms_ssim", "mae_strict", "DICE_tissue", "dice_bone"):
        assert row[name] == upright[name], name
    assert row["geometry_differs"].startswith("direction (-1, 0, 0, 0, 1, 0, 0, 0, 1) against (1, 0, 0,")
    (warning,) = warnings_of(scene.outcome, FLIPPED)
    assert "lies on another grid than" in warning
    assert [case for case, other in scene.rows.items() if other["geometry_differs"]] == [FLIPPED]


def test_6_the_official_leaderboard_takes_it_and_the_strict_one_does_not(scene: Scene, tmp_path: Path) -> None:
    official = synthct("leaderboard", scene.output, "--output", tmp_path / "official")
    assert (official.code, official.err) == (0, "")
    (entry,) = json.loads((tmp_path / "official" / "leaderboard.json").read_text())["entries"]
    assert entry["HD95"] == pytest.approx(2.0 / 6)
    strict = synthct("leaderboard", scene.output, "--output", tmp_path / "strict", "--scores", "strict")
    assert strict.code == 3
    assert f"the sCT of {FLIPPED} lies on another grid than its CT" in strict.reason
    assert files_below(tmp_path / "strict") == []
