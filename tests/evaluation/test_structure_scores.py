"""The structure columns of boxes whose scores a person can work out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.segmenters.precomputed import PrecomputedSegmenter
from evaluation.segmenters.tissue import COMPACT_BONE, FAT, TissueSegmenter
from evaluation.structure_scores import OFFICIAL_NAMES, in_plane_tolerance, structure_columns
from evaluation.structures import STRUCTURES
from synthct.anatomy import Region

Array = npt.NDArray[Any]
SHAPE = (16, 16, 40)
MILLIMETRE = (1.0, 1.0, 1.0)
DIAGONAL = math.sqrt(16**2 + 16**2 + 40**2)

LIVER, HEART, BRAIN, LOBE, AUTOCHTHON, RIB = 5, 51, 90, 10, 86, 92
"""Of TotalSegmentator's ids; in an abdomen's list stand liver, heart, lobe and rib."""


@pytest.fixture
def total(tmp_path_factory: pytest.TempPathFactory) -> PrecomputedSegmenter:
    """A judge that speaks TotalSegmentator's ids."""
    return PrecomputedSegmenter(tmp_path_factory.mktemp("labels"))


def cubes(**starts: int) -> Array:
    """Label map with cubes of 8 x 8 x 8 voxels (0.512 mL at 1 mm), each named by label and by where it begins in x."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for name, start in starts.items():
        labels[4:12, 4:12, start : start + 8] = int(name.removeprefix("label"))
    return labels


def cube(label: int, start: int) -> Array:
    return cubes(**{f"label{label}": start})


@pytest.mark.parametrize(
    ("spacing_zyx", "millimetres"),
    [((3.0, 1.0, 1.0), 2.0), ((1.0, 0.6, 0.6), 1.2), ((0.5, 1.5, 1.0), 2.0), ((2.0, 0.75, 0.9), 1.5)],
)
def test_tolerance_is_twice_the_finer_voxel_of_the_plane(spacing_zyx: Any, millimetres: float) -> None:
    assert in_plane_tolerance(spacing_zyx) == pytest.approx(millimetres)


def test_perfect_displaced_and_missed(total: PrecomputedSegmenter) -> None:
    """The mean of 0, 4 mm and nothing is 2.0 officially; strictly the missed one is as far off as the image is long."""
    reference = cube(LIVER, 1) + cube(HEART, 13) + cube(RIB, 29)
    prediction = cube(LIVER, 1) + cube(HEART, 17)
    found = structure_columns(total, Region.ABDOMEN, reference, prediction, MILLIMETRE, tolerance_mm=2.0)
    columns = found.columns
    assert columns["HD95"] == 2.0
    assert columns["HD95_strict"] == pytest.approx((0 + 4 + DIAGONAL) / 3)
    assert columns["DICE"] == columns["DICE_strict"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert (columns["n_structures"], columns["n_missed"], columns["n_missed_small"]) == (3, 1, 0)
    nsd = found.structures["heart"]["nsd"]
    assert 0.0 < nsd < 1.0
    assert columns["nsd"] == columns["nsd_surfel"] == pytest.approx((1 + nsd + 0) / 3)
    assert columns["nsd_voxel"] == pytest.approx((1 + found.structures["heart"]["nsd_voxel"] + 0) / 3)


def test_everything_missed_is_perfect_officially_and_the_diagonal_strictly(total: PrecomputedSegmenter) -> None:
    reference = cube(LIVER, 1) + cube(HEART, 13)
    columns = structure_columns(total, Region.THORAX, reference, cubes(), MILLIMETRE, tolerance_mm=2.0).columns
    assert (columns["DICE"], columns["HD95"]) == (0.0, 0.0)
    assert columns["DICE_strict"] == 0.0
    assert columns["HD95_strict"] == pytest.approx(DIAGONAL)
    assert (columns["nsd"], columns["nsd_voxel"], columns["n_missed"]) == (0.0, 0.0, 2)


def test_the_diagonal_is_in_millimetres(total: PrecomputedSegmenter) -> None:
    columns = structure_columns(
        total, Region.ABDOMEN, cube(LIVER, 1), cubes(), (3.0, 0.5, 2.0), tolerance_mm=2.0
    ).columns
    assert columns["HD95_strict"] == pytest.approx(math.sqrt((16 * 3) ** 2 + (16 * 0.5) ** 2 + (40 * 2) ** 2))


def test_nothing_listed_is_the_worst_dice_and_the_best_hd95_officially(total: PrecomputedSegmenter) -> None:
    found = structure_columns(total, Region.ABDOMEN, cube(BRAIN, 1), cube(LIVER, 1), MILLIMETRE, tolerance_mm=2.0)
    assert [found.columns[name] for name in OFFICIAL_NAMES] == [0.0, 0.0]
    for name in ("DICE_strict", "HD95_strict", "nsd", "nsd_surfel", "nsd_voxel"):
        assert found.columns[name] is None, name
    assert (found.columns["n_structures"], found.columns["n_missed"]) == (0, 0)
    assert (found.columns["n_spurious"], found.columns["spurious_ml"]) == (1, 0.512)


def test_the_region_decides_what_is_scored(total: PrecomputedSegmenter) -> None:
    reference = cube(LIVER, 1) + cube(BRAIN, 13)
    counted = {
        region: structure_columns(total, region, reference, cube(BRAIN, 13), MILLIMETRE, tolerance_mm=2.0).columns
        for region in (Region.ABDOMEN, Region.HEAD_NECK, Region.EXTREMITY)
    }
    assert {region: columns["DICE"] for region, columns in counted.items()} == {
        Region.ABDOMEN: 0.0,  # the liver, missed
        Region.HEAD_NECK: 1.0,  # the brain, found
        Region.EXTREMITY: 0.0,  # neither stands in the list
    }
    assert [columns["n_structures"] for columns in counted.values()] == [1, 1, 0]
    assert LIVER in STRUCTURES[Region.ABDOMEN]
    assert BRAIN not in STRUCTURES[Region.ABDOMEN]


def test_groups_are_scored_whatever_the_region_lists(total: PrecomputedSegmenter) -> None:
    """Rib and spine are bones, the autochthon is a muscle, a lobe a lobe; the muscle is in no list of the abdomen."""
    reference = cube(RIB, 1) + cube(AUTOCHTHON, 13) + cube(LOBE, 29)
    prediction = cube(RIB, 1) + cube(AUTOCHTHON, 17)
    found = structure_columns(total, Region.ABDOMEN, reference, prediction, MILLIMETRE, tolerance_mm=2.0)
    columns = found.columns
    assert (columns["bones_dice"], columns["bones_nsd"]) == (1.0, 1.0)
    (muscle,) = [score for name, score in found.structures.items() if name.startswith("autochthon")]
    assert (columns["muscles_dice"], columns["muscles_nsd"]) == (0.5, muscle["nsd"])
    assert muscle["nsd"] != muscle["dice"]
    assert (columns["lobes_dice"], columns["lobes_nsd"]) == (0.0, 0.0)  # missed
    assert (columns["organs_dice"], columns["organs_nsd"]) == (None, None)  # none there
    assert columns["DICE"] == 0.5  # rib 1, lobe 0


def test_a_judge_of_its_own_labels_is_scored_on_all_of_them_and_has_no_groups() -> None:
    reference = cube(FAT, 1) + cube(COMPACT_BONE, 13)
    found = structure_columns(TissueSegmenter(), Region.HEAD_NECK, reference, reference, MILLIMETRE, tolerance_mm=2.0)
    assert (found.columns["DICE"], found.columns["HD95"], found.columns["n_structures"]) == (1.0, 0.0, 2)
    assert [name for name in found.columns if name.startswith(("bones", "muscles", "organs", "lobes"))] == []
    assert list(found.structures) == ["fat", "compact_bone"]


def test_every_structure_that_occurs_is_listed_with_its_status(total: PrecomputedSegmenter) -> None:
    reference = cube(LIVER, 1) + cube(RIB, 13)
    reference[7, 7, 30] = HEART
    reference[4:12, 4:12, 32:] = LOBE  # the volume's edge cuts it
    prediction = cube(LIVER, 1) + cube(BRAIN, 13)
    structures = structure_columns(
        total, Region.ABDOMEN, reference, prediction, MILLIMETRE, tolerance_mm=2.0
    ).structures
    assert {name: score["status"] for name, score in structures.items()} == {
        "liver": "found",
        "lung_upper_lobe_left": "missed_cut",
        "heart": "missed_small",
        "brain": "spurious",
        "rib_left_1": "missed",
    }
    assert structures["liver"] == {
        "dice": 1.0,
        "hd95": 0.0,
        "nsd": 1.0,
        "nsd_voxel": 1.0,
        "reference_ml": 0.512,
        "prediction_ml": 0.512,
        "status": "found",
    }
    assert (structures["heart"]["reference_ml"], structures["heart"]["hd95"]) == (0.001, None)


@pytest.mark.parametrize(("tolerance", "nsd"), [(3.9, 0.0), (4.0, 1.0)])
def test_the_tolerance_is_handed_on(total: PrecomputedSegmenter, tolerance: float, nsd: float) -> None:
    """Two parallel one-voxel walls across the whole image, 4 mm apart: all of the surface is within 4 mm, or none."""
    wall, other = np.zeros(SHAPE, dtype=np.uint8), np.zeros(SHAPE, dtype=np.uint8)
    wall[:, :, 10] = other[:, :, 14] = LIVER
    columns = structure_columns(total, Region.ABDOMEN, wall, other, MILLIMETRE, tolerance_mm=tolerance).columns
    assert columns["nsd_voxel"] == nsd


def test_the_volumes_edge_excuses_no_missed_tissue(total: PrecomputedSegmenter) -> None:
    reference, prediction = np.full(SHAPE, FAT, np.uint8), np.full(SHAPE, FAT, np.uint8)
    reference[4:12, 4:12, 0:8] = COMPACT_BONE  # 0.512 mL, cut
    found = structure_columns(TissueSegmenter(), Region.EXTREMITY, reference, prediction, MILLIMETRE, tolerance_mm=2.0)
    assert found.structures["compact_bone"]["status"] == "missed"
    assert (found.columns["n_missed"], found.columns["n_missed_small"]) == (1, 0)
    cut = np.where(reference == COMPACT_BONE, LIVER, 0)
    excused = structure_columns(total, Region.ABDOMEN, cut, cut * 0, MILLIMETRE, tolerance_mm=2.0)
    assert excused.structures["liver"]["status"] == "missed_cut"
    assert (excused.columns["n_missed"], excused.columns["n_missed_small"]) == (0, 1)
