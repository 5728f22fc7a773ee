"""Whether the phantoms are bodies: tissues, ids, sides, heights, and how MR and CT show them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from phantom_cases import EXPECTED_IDS, LUNGS, REQUIRED_IDS, RIBS, VERTEBRAE, phantom
from scipy import ndimage

from synthct.phantom import PHANTOM_KINDS, PhantomCase, PhantomKind, make_phantom
from synthct.phantom.structures import Structure, rib, vertebra

# Bounds of the share of each HU class within the body, in percent.
BONE = (800, 3072)
SPONGY = (150, 700)
SOFT = (-20, 120)
FAT = (-150, -40)
SHARES: dict[PhantomKind, dict[tuple[int, int], tuple[float, float]]] = {
    "limb": {BONE: (2, 8), FAT: (15, 55), SOFT: (25, 75)},
    "head": {BONE: (3, 10), SPONGY: (4, 16), FAT: (7, 30), SOFT: (40, 75)},
    "pelvis": {BONE: (0.8, 6), SPONGY: (3, 12), FAT: (20, 60), SOFT: (25, 60)},
    "abdomen": {BONE: (0.3, 4), SPONGY: (1, 6), FAT: (20, 60), SOFT: (25, 65)},
    "thorax": {BONE: (0.5, 5), SPONGY: (1.5, 8), FAT: (10, 40), SOFT: (25, 60), (-950, -600): (10, 40)},
}
BONES = VERTEBRAE | RIBS | {25, 71, 72, 73, 74, 75, 76, 77, 78, 91, 116}
MUSCLES = frozenset(range(80, 90))
SOFT_ORGANS = frozenset({1, 2, 3, 5, 7, 15, 17, 18, 19, 22, 51, 52, 62, 63, 79, 90})


@cache
def body_of(kind: PhantomKind, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Return the mask without its margin, as a threshold finds it: holes such as lungs and gas are filled."""
    case = phantom(kind, "mri", seed)
    tissue = ndimage.uniform_filter(case.reference.voxels, size=(1, 3, 3)) > -500
    return np.stack([ndimage.binary_fill_holes(slice_) for slice_ in tissue]) & (case.mask.voxels > 0)


def centroid(case: PhantomCase, label: int) -> npt.NDArray[np.float64]:
    """Return the mean position x, y, z in mm of a structure."""
    found = np.argwhere(case.segmentation.voxels == label)
    assert found.size, f"id {label} is absent"
    position: npt.NDArray[np.float64] = (
        found.mean(axis=0)[::-1] * case.image.geometry.spacing + case.image.geometry.origin
    )
    return position


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_shares_of_tissue_are_plausible(kind: PhantomKind, seed: int) -> None:
    case = phantom(kind, "mri", seed)
    hu = case.reference.voxels[body_of(kind, seed)]
    for (low, high), (least, most) in SHARES[kind].items():
        share = 100 * np.mean((hu >= low) & (hu < high))
        assert least < share < most, f"{share:.1f} % of the body lies in [{low}, {high}) HU"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_segmentation_holds_what_the_region_holds(kind: PhantomKind, seed: int) -> None:
    found = set(np.unique(phantom(kind, "mri", seed).segmentation.voxels).tolist()) - {0}
    assert found <= EXPECTED_IDS[kind], sorted(found - EXPECTED_IDS[kind])
    assert found >= REQUIRED_IDS[kind], sorted(REQUIRED_IDS[kind] - found)


def test_limb_is_thigh_or_lower_leg_by_seed() -> None:
    assert np.isin([75, 76], phantom("limb").segmentation.voxels).sum() == 1
    assert not phantom("limb", "mri", 1).segmentation.voxels.any()
    sides = {int(make_phantom("limb", seed=s, size=(64, 64, 8)).segmentation.voxels.max()) for s in range(0, 24, 2)}
    assert sides == {75, 76}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_mean_hu_of_each_structure_is_its_tissues(kind: PhantomKind, seed: int) -> None:
    case = phantom(kind, "mri", seed)
    labels, hu = case.segmentation.voxels, case.reference.voxels
    for label in set(np.unique(labels).tolist()) - {0}:
        mean = float(hu[labels == label].mean())
        if label in BONES:
            assert 100 < mean < 1400, (label, mean)
        elif label in LUNGS:
            assert -900 < mean < -600, (label, mean)
        elif label == Structure.TRACHEA:
            assert mean < -700, mean
        elif label in MUSCLES:
            assert 35 < mean < 80, (label, mean)
        elif label in SOFT_ORGANS:
            assert 10 < mean < 75, (label, mean)
        elif label in (Structure.COLON, Structure.STOMACH):
            assert -500 < mean < 70, (label, mean)
        elif label in (Structure.BLADDER, Structure.GALLBLADDER):
            assert 0 < mean < 40, (label, mean)
        else:
            assert label == Structure.COSTAL_CARTILAGES
            assert 40 < mean < 130, mean


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("kind", "right", "left"),
    [
        ("abdomen", Structure.LIVER, Structure.SPLEEN),
        ("abdomen", Structure.LIVER, Structure.STOMACH),
        ("abdomen", Structure.KIDNEY_RIGHT, Structure.KIDNEY_LEFT),
        ("abdomen", Structure.INFERIOR_VENA_CAVA, Structure.AORTA),
        ("abdomen", Structure.AUTOCHTHON_RIGHT, Structure.AUTOCHTHON_LEFT),
        ("abdomen", Structure.LUNG_LOWER_RIGHT, Structure.LUNG_LOWER_LEFT),
        ("abdomen", rib(11, -1), rib(11, +1)),
        ("thorax", Structure.LUNG_LOWER_RIGHT, Structure.LUNG_LOWER_LEFT),
        ("thorax", Structure.LUNG_UPPER_RIGHT, Structure.LUNG_UPPER_LEFT),
        ("thorax", Structure.TRACHEA, Structure.HEART),
        ("thorax", Structure.SUPERIOR_VENA_CAVA, Structure.AORTA),
        ("thorax", Structure.SCAPULA_RIGHT, Structure.SCAPULA_LEFT),
        ("thorax", rib(5, -1), rib(5, +1)),
        ("pelvis", Structure.FEMUR_RIGHT, Structure.FEMUR_LEFT),
        ("pelvis", Structure.HIP_RIGHT, Structure.HIP_LEFT),
        ("pelvis", Structure.GLUTEUS_MAXIMUS_RIGHT, Structure.GLUTEUS_MAXIMUS_LEFT),
        ("pelvis", Structure.ILIOPSOAS_RIGHT, Structure.ILIOPSOAS_LEFT),
    ],
)
def test_right_is_at_smaller_x(kind: PhantomKind, right: int, left: int, seed: int) -> None:
    case = phantom(kind, "mri", seed)
    assert centroid(case, right)[0] < centroid(case, left)[0]


@pytest.mark.parametrize(
    ("kind", "front", "back"),
    [
        ("abdomen", Structure.STOMACH, Structure.KIDNEY_LEFT),
        ("abdomen", Structure.AORTA, Structure.SPINAL_CORD),
        ("thorax", Structure.STERNUM, Structure.HEART),
        ("thorax", Structure.TRACHEA, Structure.OESOPHAGUS),
        ("thorax", Structure.LUNG_MIDDLE_RIGHT, Structure.LUNG_LOWER_RIGHT),
        ("pelvis", Structure.BLADDER, Structure.SACRUM),
        ("head", Structure.TRACHEA, Structure.SPINAL_CORD),
    ],
)
def test_front_is_at_smaller_y(kind: PhantomKind, front: int, back: int) -> None:
    assert centroid(phantom(kind), front)[1] < centroid(phantom(kind), back)[1]


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("abdomen", vertebra("L3"), vertebra("L1")),
        ("abdomen", Structure.COLON, Structure.SPLEEN),
        ("thorax", vertebra("T9"), vertebra("T4")),
        ("thorax", Structure.LIVER, Structure.LUNG_UPPER_RIGHT),
        ("thorax", Structure.HEART, Structure.TRACHEA),
        ("pelvis", Structure.PROSTATE, Structure.BLADDER),
        ("pelvis", Structure.FEMUR_LEFT, Structure.HIP_LEFT),
        ("head", vertebra("C3"), vertebra("C1")),
        ("head", Structure.TRACHEA, Structure.BRAIN),
    ],
)
def test_up_is_at_larger_z(kind: PhantomKind, low: int, high: int) -> None:
    assert centroid(phantom(kind), low)[2] < centroid(phantom(kind), high)[2]


def test_ids_follow_totalsegmentator() -> None:
    assert [vertebra(name) for name in ("S1", "L5", "L1", "T12", "T1", "C7", "C1")] == [26, 27, 31, 32, 43, 44, 50]
    assert [rib(1, 1), rib(12, 1), rib(1, -1), rib(12, -1)] == [92, 103, 104, 115]


def test_longer_head_shows_the_throat() -> None:
    # 320 mm instead of 192: thyroid, oesophagus and the upper thoracic spine come into the field.
    case = make_phantom("head", size=(80, 96, 80), spacing=(2.4, 2.4, 4.0))
    found = set(np.unique(case.segmentation.voxels).tolist()) - {0}
    assert {15, 16, 17, vertebra("C7"), vertebra("T1")} <= found <= EXPECTED_IDS["head"]


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_mr_shows_fat_over_muscle_over_compact_bone(kind: PhantomKind) -> None:
    case = phantom(kind)
    mr, hu = case.image.voxels, case.reference.voxels
    inside = body_of(kind)
    fat = np.median(mr[inside & (hu > -115) & (hu < -85)])
    # Water and muscle overlap in noise, so muscle is taken from the upper half of its range.
    muscle = np.median(mr[inside & (hu > 55) & (hu < 75)])
    compact = np.median(mr[inside & (hu > 1250)])
    assert 800 < fat < 1000
    assert 250 < muscle < 450
    assert compact < 150
    assert fat > 1.8 * muscle > 3 * compact


def test_compact_bone_and_gas_are_both_dark_in_mr() -> None:
    case = phantom("head")
    mr, hu, inside = case.image.voxels, case.reference.voxels, body_of("head")
    assert np.median(mr[inside & (hu < -970)]) < 60
    assert np.median(mr[inside & (hu > 1280)]) < 150


def test_some_limbs_have_a_tumour() -> None:
    # A mass shows as a large region of 370 to 450 in MR; muscle is darker, fat far brighter.
    shares = []
    for seed in range(0, 16, 2):
        case = make_phantom("limb", seed=seed, size=(64, 64, 12), spacing=(2.0, 2.0, 3.0))
        smooth = ndimage.uniform_filter(case.reference.voxels.astype(float), (1, 3, 3))
        soft = ndimage.binary_erosion((smooth > 15) & (smooth < 80), np.ones((1, 5, 5)))
        mr = ndimage.uniform_filter(case.image.voxels.astype(float), (1, 3, 3))[soft]
        shares.append(float(np.mean((mr > 370) & (mr < 470))))
    assert max(shares) > 0.25
    assert min(shares) < 0.1
