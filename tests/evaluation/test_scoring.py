"""One case's row worked out by hand, and the aggregates of a few numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from builders import save_image

from evaluation.metrics import masked_ms_ssim
from evaluation.scoring import aggregate, score_case
from evaluation.submission import ScoringCase
from synthct.anatomy import CaseId
from synthct.errors import GeometryError, InputError

Array = npt.NDArray[Any]

# Twelve voxels inside the mask: two of air, fat and soft tissue each, three of spongy and compact bone each.
REFERENCE = [-1000, -1000, -100, -100, 40, 40, 300, 300, 300, 1000, 1000, 1000]
PREDICTED = [-1000, -1000, -100, 0, 40, 200, 300, 300, 700, 1000, 900, 500]
# absolute: 0     0     0     100  0   160   0    0    400   0     100   500 = 1260
OUTSIDE = 4
SHAPE = (2, 2, 4)


def voxels(values: list[int], outside: int, dtype: type = np.int16) -> Array:
    return np.array([*[outside] * OUTSIDE, *values], dtype=dtype).reshape(SHAPE)


MASK = voxels([1] * 12, 0, np.uint8)


def save_scoring_case(folder: Path, reference: Array, predicted: Array, mask: Array = MASK) -> ScoringCase:
    return ScoringCase(
        id=CaseId.parse("1ABA001"),
        ct=save_image(folder / "ct" / "1ABA001.mha", reference),
        mask=save_image(folder / "mask" / "1ABA001.mha", mask),
        prediction=save_image(folder / "sct_1ABA001.mha", predicted),
    )


STRUCTURE_COLUMNS = ("HD95", "nsd", "nsd_surfel", "nsd_voxel", "DICE_strict", "HD95_strict", "n_structures", "n_missed")
STRUCTURE_COLUMNS += ("n_spurious",)
"""Columns of ARCHITECTURE that need a judge of structures: there, and null."""


def test_row_by_hand(tmp_path: Path) -> None:
    reference, predicted = voxels(REFERENCE, -1000), voxels(PREDICTED, 3000)
    row = score_case(save_scoring_case(tmp_path, reference, predicted))
    mse = (100**2 + 160**2 + 400**2 + 100**2 + 500**2) / 12
    dice = {"air": 1.0, "fat": 2 / 3, "soft_tissue": 1 / 2, "spongy_bone": 4 / 7, "compact_bone": 4 / 6}
    expected = {
        "case": "1ABA001",
        "region": "AB",
        "task": "mri",
        "mae": 1260 / 12,
        "psnr": 10 * math.log10(4095**2 / mse),
        "ms_ssim": masked_ms_ssim(reference, predicted, MASK, (-1024.0, 3071.0)),
        "DICE": sum(dice.values()) / 5,
        **dict.fromkeys(STRUCTURE_COLUMNS),
        **{f"dice_{tissue}": score for tissue, score in dice.items()},
        "dice_bone": 2 * 6 / (6 + 7),
        "mae_bone": (400 + 600) / 6,
        "mae_compact_bone": 600 / 3,
    }
    assert list(row) == list(expected)
    assert row == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()}
    assert 0.0 < row["ms_ssim"] < 1.0


def test_protocol_of_2023_clips_at_3000(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels([0] * 12, 0), voxels([3071] * 12, 0))
    assert score_case(case)["psnr"] == pytest.approx(20 * math.log10(4095 / 3071))
    with pytest.warns(UserWarning, match="1ABA001: ssim is undefined"):
        row = score_case(case, protocol="synthrad2023")
    assert row["psnr"] == pytest.approx(20 * math.log10(4024 / 3000))
    assert row["mae"] == 3071.0
    assert row["ssim"] is None  # an axis is shorter than the window
    assert "ssim" not in score_case(case)


def test_structure_of_the_prediction_alone_costs_nothing_in_dice(tmp_path: Path) -> None:
    predicted = [40] * 10 + [300, -100]
    row = score_case(save_scoring_case(tmp_path, voxels([40] * 12, 40), voxels(predicted, 40)))
    assert row["DICE"] == row["dice_soft_tissue"] == 2 * 10 / (12 + 10)
    assert (row["dice_fat"], row["dice_spongy_bone"], row["dice_bone"]) == (0.0, 0.0, 0.0)
    assert (row["dice_air"], row["dice_compact_bone"]) == (None, None)
    assert (row["mae_bone"], row["mae_compact_bone"]) == (None, None)


def test_structure_that_the_prediction_misses_counts_zero(tmp_path: Path) -> None:
    row = score_case(save_scoring_case(tmp_path, voxels([40] * 9 + [1000] * 3, 40), voxels([40] * 12, 40)))
    assert (row["dice_compact_bone"], row["dice_bone"]) == (0.0, 0.0)
    assert row["DICE"] == pytest.approx(np.mean([2 * 9 / (9 + 12), 0.0]))
    assert row["mae_bone"] == row["mae_compact_bone"] == 960.0


def test_identical_images_warn_of_the_undefined_psnr(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, -1000), voxels(REFERENCE, -1000))
    with pytest.warns(UserWarning, match="case 1ABA001: psnr is undefined"):
        row = score_case(case)
    assert row["psnr"] is None
    assert (row["mae"], row["ms_ssim"], row["DICE"], row["dice_bone"], row["mae_bone"]) == (0.0, 1.0, 1.0, 1.0, 0.0)


def test_no_mask_voxel_in_the_middle_warns_of_the_undefined_ms_ssim(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0), MASK[::-1, ::-1])
    with pytest.warns(UserWarning, match="case 1ABA001: ms_ssim is undefined"):
        assert score_case(case)["ms_ssim"] is None


def test_other_size_names_both_files(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(REFERENCE, 0)[:1])
    with pytest.raises(InputError, match=r"sct_1ABA001\.mha.*ct/1ABA001\.mha"):
        score_case(case)


@pytest.mark.parametrize("more", [{"spacing": (1.0, 1.0, 3.1)}, {"origin": (0.0, 5.0, 0.0)}])
@pytest.mark.parametrize("name", ["sct_1ABA001.mha", "mask/1ABA001.mha"])
def test_other_grid_names_both_files(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    save_image(tmp_path / name, MASK, **more)
    with pytest.raises(GeometryError, match=rf"{name}: .*grid.*ct/1ABA001\.mha: {next(iter(more))}"):
        score_case(case)


@pytest.mark.parametrize("name", ["sct_1ABA001.mha", "ct/1ABA001.mha"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(tmp_path: Path, name: str, value: float) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    broken = voxels(PREDICTED, 0).astype(np.float32)
    broken[0, 1, 2] = value
    save_image(tmp_path / name, broken)
    with pytest.raises(InputError, match=rf"{name}: 1 voxels are NaN or infinite"):
        score_case(case)


def test_empty_mask_and_missing_prediction_are_refused(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0), MASK * 0)
    with pytest.raises(InputError, match=r"mask/1ABA001\.mha: all voxels are zero"):
        score_case(case)
    with pytest.raises(InputError, match="1ABA001 has no prediction"):
        score_case(ScoringCase(case.id, case.ct, case.mask))


def test_aggregates_by_hand() -> None:
    rows = [
        {"case": "1ABA001", "region": "AB", "task": "mri", "mae": 10.0, "dice": 4.0, "HD95": None},
        {"case": "1ABA002", "region": "AB", "task": "mri", "mae": 60.0, "dice": None, "HD95": None},
        {"case": "1HNA001", "region": "HN", "task": "mri", "mae": 20.0, "dice": 8.0, "HD95": None},
    ]
    columns = aggregate(rows)
    assert list(columns) == ["mae", "dice", "HD95"]
    assert columns["mae"] == {
        "mean": 30.0,
        "max": 60.0,
        "min": 10.0,
        "std": pytest.approx(math.sqrt((20**2 + 30**2 + 10**2) / 3)),
        "25pc": 15.0,
        "50pc": 20.0,
        "75pc": 40.0,
        "count": 3,
    }
    assert columns["dice"] == {
        "mean": 6.0, "max": 8.0, "min": 4.0, "std": 2.0, "25pc": 5.0, "50pc": 6.0, "75pc": 7.0, "count": 2,
    }  # fmt: skip
    assert columns["HD95"] == {**dict.fromkeys(["mean", "max", "min", "std", "25pc", "50pc", "75pc"]), "count": 0}


def test_first_row_without_a_value_hides_no_column() -> None:
    columns = aggregate([{"case": "a", "psnr": None}, {"case": "b", "psnr": 30.0}])
    assert (columns["psnr"]["mean"], columns["psnr"]["std"], columns["psnr"]["count"]) == (30.0, 0.0, 1)


def test_no_rows_have_no_aggregates() -> None:
    assert aggregate([]) == {}
