"""One case's row worked out by hand, and what is said or refused where a file is odd."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from builders import save_image

from evaluation.metrics import masked_ms_ssim, structure_agreement
from evaluation.metrics.msssim import both_ms_ssim
from evaluation.scoring import ScoringSettings, score_case
from evaluation.segmenters.tissue import tissue_labels
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


def said(caught: pytest.WarningsRecorder) -> list[str]:
    return [str(item.message) for item in caught]


def test_row_by_hand(tmp_path: Path) -> None:
    reference, predicted = voxels(REFERENCE, -1000), voxels(PREDICTED, 3000)
    row = score_case(save_scoring_case(tmp_path, reference, predicted))
    mse = (100**2 + 160**2 + 400**2 + 100**2 + 500**2) / 12
    psnr = 10 * math.log10(4095**2 / mse)
    dice = {"air": 1.0, "fat": 2 / 3, "soft_tissue": 1 / 2, "spongy_bone": 4 / 7, "compact_bone": 4 / 6}
    maps = [tissue_labels(image, MASK) for image in (reference, predicted)]
    agreement = structure_agreement(maps[0], maps[1], range(1, 6), (3.0, 1.0, 1.0), nsd_tolerance_mm=2.0)
    expected = {
        "case": "1ABA001",
        "region": "AB",
        "task": "mri",
        "mae": 1260 / 12,
        "psnr": psnr,
        "ms_ssim": masked_ms_ssim(reference, predicted, MASK, (-1024.0, 3071.0)),
        "mae_strict": 1260 / 12,
        "psnr_strict": psnr,
        "ms_ssim_strict": both_ms_ssim(reference, predicted, MASK, (-1024.0, 3071.0))[1],
        "n_nonfinite": 0,
        "DICE": sum(dice.values()) / 5,
        "HD95": agreement.hd95,
        "nsd": agreement.nsd_surfel,
        "nsd_surfel": agreement.nsd_surfel,
        "nsd_voxel": agreement.nsd_voxel,
        "DICE_strict": sum(dice.values()) / 5,
        "HD95_strict": agreement.hd95,
        "n_structures": 5,
        "n_missed": 0,
        "n_missed_small": 0,
        "n_spurious": 0,
        "spurious_ml": 0.0,
        **{f"dice_{tissue}": score for tissue, score in dice.items()},
        "dice_bone": 2 * 6 / (6 + 7),
        "mae_bone": (400 + 600) / 6,
        "mae_compact_bone": 600 / 3,
        "nsd_tolerance_mm": 2.0,
        "geometry_differs": None,
    }
    structures = row.pop("structures")
    assert list(row) == list(expected)
    assert row == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()}
    assert 0.0 < row["ms_ssim"] < row["ms_ssim_strict"] < 1.0
    assert list(structures) == ["tissue"]
    assert {name: score["dice"] for name, score in structures["tissue"].items()} == pytest.approx(dice)
    assert structures["tissue"]["fat"]["prediction_ml"] == 0.003  # one voxel of 1 x 1 x 3 mm


def test_protocol_of_2023_clips_at_3000(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels([0] * 12, 0), voxels([3071] * 12, 0))
    assert score_case(case)["psnr"] == pytest.approx(20 * math.log10(4095 / 3071))
    with pytest.warns(UserWarning, match="1ABA001: ssim(_strict)? is undefined"):
        row = score_case(case, ScoringSettings(protocol="synthrad2023"))
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
    assert (row["n_structures"], row["n_spurious"], row["spurious_ml"]) == (1, 2, pytest.approx(2 * 0.003))
    assert (row["mae_bone"], row["mae_compact_bone"]) == (None, None)


def test_structure_that_the_prediction_misses_counts_zero(tmp_path: Path) -> None:
    row = score_case(save_scoring_case(tmp_path, voxels([40] * 9 + [1000] * 3, 40), voxels([40] * 12, 40)))
    assert (row["dice_compact_bone"], row["dice_bone"]) == (0.0, 0.0)
    assert row["DICE"] == pytest.approx(np.mean([2 * 9 / (9 + 12), 0.0]))
    assert (row["n_missed"], row["n_missed_small"]) == (0, 1)  # 9 mm3 are too little to be imputed
    assert row["DICE_strict"] == pytest.approx(2 * 9 / (9 + 12))
    assert row["mae_bone"] == row["mae_compact_bone"] == 960.0


def test_identical_images_warn_of_the_undefined_psnr(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, -1000), voxels(REFERENCE, -1000))
    with pytest.warns(UserWarning, match="case 1ABA001: psnr is undefined"):
        row = score_case(case)
    assert row["psnr"] is None
    assert row["psnr_strict"] == pytest.approx(10 * math.log10(4095**2 * 12))
    assert (row["mae"], row["ms_ssim"], row["DICE"], row["dice_bone"], row["mae_bone"]) == (0.0, 1.0, 1.0, 1.0, 0.0)


def test_no_mask_voxel_in_the_middle_warns_of_the_undefined_ms_ssim(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0), MASK[::-1, ::-1])
    with pytest.warns(UserWarning, match="case 1ABA001: ms_ssim is undefined"):
        assert score_case(case)["ms_ssim"] is None


def test_other_size_names_both_files(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(REFERENCE, 0)[:1])
    with pytest.raises(InputError, match=r"sct_1ABA001\.mha.*ct/1ABA001\.mha"):
        score_case(case)


OTHER_GRIDS = [{"spacing": (1.0, 1.0, 3.1)}, {"origin": (0.0, 5.0, 0.0)}]


@pytest.mark.parametrize("more", OTHER_GRIDS)
def test_mask_on_another_grid_names_both_files(tmp_path: Path, more: dict[str, Any]) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    save_image(case.mask, MASK, **more)
    with pytest.raises(GeometryError, match=rf"mask/1ABA001\.mha: .*grid.*ct/1ABA001\.mha: {next(iter(more))}"):
        score_case(case)


@pytest.mark.parametrize("more", OTHER_GRIDS)
def test_sct_on_another_grid_is_scored_and_flagged(tmp_path: Path, more: dict[str, Any]) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    plain = score_case(case)
    save_image(tmp_path / "sct_1ABA001.mha", voxels(PREDICTED, 0), **more)
    name = next(iter(more))
    with pytest.warns(UserWarning, match=rf"sct_1ABA001\.mha lies on another grid than .*: {name} \(") as caught:
        row = score_case(case)
    assert len(caught) == 1
    assert row.pop("geometry_differs").startswith(f"{name} (")
    assert plain.pop("geometry_differs") is None
    assert row == plain


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_voxel_that_is_no_number_is_null_officially_and_counts_strictly(tmp_path: Path, value: float) -> None:
    broken = voxels(REFERENCE, 0).astype(np.float32)
    broken[0, 0, 0] = value  # outside the mask: no concern
    broken[0, 1, 2] = value  # the CT has -100 there; 3071 is the farther end
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), broken)
    with pytest.warns(UserWarning, match="^case 1ABA001: ") as caught:
        row = score_case(case)
    names = ("mae", "psnr", "ms_ssim") if math.isnan(value) else ("mae",)  # clipping makes infinity a number
    assert [text.partition(" (")[0] for text in said(caught)[:-1]] == [
        f"case 1ABA001: {name} is undefined" for name in names
    ]
    assert said(caught)[-1].startswith("case 1ABA001: 1 voxels inside the mask are no HU (NaN, infinite, beyond")
    assert [name for name in ("mae", "psnr", "ms_ssim") if row[name] is None] == list(names)
    assert row["n_nonfinite"] == 1
    assert row["mae_strict"] == 3171 / 12
    assert row["psnr_strict"] == pytest.approx(20 * math.log10(4095 / 3171) + 10 * math.log10(12))
    assert row["dice_fat"] == 2 / 3  # that voxel is compact bone now
    assert row["dice_compact_bone"] == 6 / 7


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_ct_that_holds_no_number_is_refused(tmp_path: Path, value: float) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    broken = voxels(REFERENCE, 0).astype(np.float32)
    broken[0, 1, 2] = value
    save_image(case.ct, broken)
    with pytest.raises(InputError, match=r"ct/1ABA001\.mha: 1 voxels are NaN or infinite"):
        score_case(case)


def test_further_judges_have_their_name_behind_their_columns(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    liver = save_image(tmp_path / "segmentation" / "1ABA001.mha", MASK * 5)
    half = MASK.copy()
    half[1] = 0
    save_image(tmp_path / "labels" / "1ABA001.mha", half * 5)
    judges = (f"precomputed:{tmp_path / 'labels'}", "tissue")
    both = score_case(replace(case, segmentation=liver), ScoringSettings(segmenters=judges, nsd_tolerance_mm=0.5))
    alone = score_case(case, ScoringSettings(nsd_tolerance_mm=0.5))
    assert both["DICE"] == both["DICE_strict"] == both["organs_dice"] == 2 * 4 / (4 + 12)
    for name in ("DICE", "HD95", "nsd", "nsd_voxel", "DICE_strict", "HD95_strict", "n_structures", "spurious_ml"):
        assert both[f"{name}_tissue"] == alone[name], name
    assert "organs_dice_tissue" not in both
    assert list(both["structures"]) == ["precomputed", "tissue"]
    assert list(both["structures"]["precomputed"]) == ["liver"]
    assert both["structures"]["tissue"] == alone["structures"]["tissue"]
    assert both["nsd_tolerance_mm"] == 0.5


def test_judge_that_lacks_its_label_map_is_an_error_of_the_case(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    (tmp_path / "labels").mkdir()
    judge = ScoringSettings(segmenters=(f"precomputed:{tmp_path / 'labels'}",))
    with pytest.raises(InputError, match=r"case 1ABA001 has no segmentation in the ground truth"):
        score_case(case, judge)
    liver = save_image(tmp_path / "segmentation" / "1ABA001.mha", MASK * 5)
    with pytest.raises(InputError, match=r"labels: holds no label map of case 1ABA001"):
        score_case(replace(case, segmentation=liver), judge)


def test_label_map_of_an_sct_may_lie_on_the_scts_own_grid(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0))
    liver = save_image(tmp_path / "segmentation" / "1ABA001.mha", MASK * 5)
    save_image(tmp_path / "labels" / "1ABA001.mha", MASK * 5, spacing=(1.0, 1.0, 2.0))
    judge = ScoringSettings(segmenters=(f"precomputed:{tmp_path / 'labels'}",))
    assert score_case(replace(case, segmentation=liver), judge)["DICE"] == 1.0
    save_image(liver, MASK * 5, spacing=(1.0, 1.0, 2.0))
    with pytest.raises(GeometryError, match=r"segmentation/1ABA001\.mha: lies on another grid than .*ct/1ABA001\.mha"):
        score_case(replace(case, segmentation=liver), judge)


def test_empty_mask_and_missing_prediction_are_refused(tmp_path: Path) -> None:
    case = save_scoring_case(tmp_path, voxels(REFERENCE, 0), voxels(PREDICTED, 0), MASK * 0)
    with pytest.raises(InputError, match=r"mask/1ABA001\.mha: all voxels are zero"):
        score_case(case)
    with pytest.raises(InputError, match="1ABA001 has no prediction"):
        score_case(ScoringCase(case.id, case.ct, case.mask))
