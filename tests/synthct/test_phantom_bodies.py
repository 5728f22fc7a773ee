"""The bodies as anatomy: closed skin, whole organs of adult size, spines and ribs in order, a skull that encloses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from phantom_cases import LUNGS, VERTEBRAE, painted, phantom
from scipy import ndimage

from synthct.phantom import PHANTOM_KINDS, PhantomKind
from synthct.phantom.structures import Structure, rib, vertebra
from synthct.phantom.tissues import Tissue

SIX = ndimage.generate_binary_structure(3, 1)
IN_PLANE = np.ones((1, 3, 3), dtype=bool)
BONE = (Tissue.COMPACT, Tissue.SPONGY, Tissue.TOOTH)
SEEDS = pytest.mark.parametrize("seed", range(2))

# Volumes in mL of organs that lie whole in the field; the brain is its label without fluid, which is drawn small.
ADULT_ML: dict[PhantomKind, dict[int, tuple[float, float]]] = {
    "limb": {},
    "head": {Structure.BRAIN: (800, 1600), Structure.SKULL: (350, 800)},
    "pelvis": {Structure.BLADDER: (70, 500), Structure.PROSTATE: (15, 50), Structure.SACRUM: (120, 280)},
    "abdomen": {
        Structure.LIVER: (1000, 2000),
        Structure.SPLEEN: (80, 350),
        Structure.KIDNEY_LEFT: (80, 220),
        Structure.KIDNEY_RIGHT: (80, 220),
        Structure.GALLBLADDER: (10, 60),
        Structure.PANCREAS: (30, 120),
        Structure.STOMACH: (100, 900),
    },
    "thorax": {Structure.HEART: (350, 850), Structure.TRACHEA: (10, 40), Structure.OESOPHAGUS: (15, 60)},
}
PAIRS: dict[PhantomKind, list[tuple[int, int]]] = {
    "limb": [],
    "head": [],
    "pelvis": [(75, 76), (77, 78), (80, 81), (82, 83), (84, 85), (88, 89)],
    "abdomen": [(2, 3), (86, 87), (88, 89), (rib(11, 1), rib(11, -1)), (rib(12, 1), rib(12, -1))],
    "thorax": [(71, 72), (73, 74), (86, 87), *((rib(n, 1), rib(n, -1)) for n in range(2, 9))],
}


def millilitres(kind: PhantomKind, label: int, seed: int) -> float:
    voxel = float(np.prod(phantom(kind).image.geometry.spacing))
    return np.count_nonzero(painted(kind, seed).labels == label) * voxel / 1000


def heights(kind: PhantomKind, label: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the slices that hold a structure, rising."""
    return np.flatnonzero((painted(kind, seed).labels == label).any(axis=(1, 2)))


@SEEDS
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_skin_closes_the_body(kind: PhantomKind, seed: int) -> None:
    tissues = painted(kind, seed).tissues
    outside = tissues == Tissue.OUTSIDE
    # In the plane: the skin is thinner than a slice, so a sloping surface may show fat to the slice above.
    surface = set(np.unique(tissues[ndimage.binary_dilation(outside, SIX[1:2]) & ~outside]).tolist())
    assert surface == ({Tissue.SKIN, Tissue.AIR} if kind == "head" else {Tissue.SKIN})  # nostrils and ears
    assert not np.isin(tissues[ndimage.binary_dilation(outside, IN_PLANE)], BONE).any()


@SEEDS
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_body_is_one_piece_without_holes(kind: PhantomKind, seed: int) -> None:
    body = painted(kind, seed).tissues != Tissue.OUTSIDE
    pieces = np.bincount(ndimage.label(body, SIX)[0].ravel())[1:]
    assert pieces.max() > 0.9999 * pieces.sum()
    assert ndimage.label(~body, SIX)[1] == 1


@SEEDS
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_organs_have_adult_volumes(kind: PhantomKind, seed: int) -> None:
    for label, (least, most) in ADULT_ML[kind].items():
        assert least < millilitres(kind, label, seed) < most, Structure(label).name


@SEEDS
@pytest.mark.parametrize("kind", ["pelvis", "abdomen", "thorax"])
def test_paired_structures_are_about_equal(kind: PhantomKind, seed: int) -> None:
    for first, second in PAIRS[kind]:
        left, right = (millilitres(kind, label, seed) for label in (first, second))
        assert left == pytest.approx(right, rel=0.3), (first, second)
        assert np.abs(heights(kind, first, seed)[0] - heights(kind, second, seed)[0]) <= 8, (first, second)


@SEEDS
@pytest.mark.parametrize("kind", ["head", "abdomen", "thorax"])
def test_vertebrae_rise_in_order_without_gaps_in_their_names(kind: PhantomKind, seed: int) -> None:
    labels = painted(kind, seed).labels
    found = sorted(set(np.unique(labels).tolist()) & VERTEBRAE)
    assert len(found) >= 3
    assert found == list(range(found[0], found[-1] + 1))
    middles = [float(np.argwhere(labels == label)[:, 0].mean()) for label in found]
    assert middles == sorted(middles)


@SEEDS
@pytest.mark.parametrize("kind", ["head", "abdomen", "thorax"])
def test_cord_is_one_strand_inside_the_vertebral_rings(kind: PhantomKind, seed: int) -> None:
    tissues, labels, _ = painted(kind, seed)
    cord, rings = labels == Structure.SPINAL_CORD, np.isin(labels, list(VERTEBRAE))
    slices = np.flatnonzero(cord.any(axis=(1, 2)))
    assert (np.diff(slices) == 1).all()
    enclosed = 0
    for z in slices:
        assert ndimage.label(cord[z], np.ones((3, 3)))[1] == 1
        canal = ndimage.binary_fill_holes(rings[z]) & ~rings[z]
        enclosed += bool(canal[cord[z]].all())
    assert enclosed > 0.5 * slices.size  # between the arches the canal is open at the sides
    assert not np.isin(tissues[ndimage.binary_dilation(cord, SIX)], BONE).any()  # fluid lies around the cord


@SEEDS
def test_thoracic_ribs_are_counted_on_both_sides(seed: int) -> None:
    labels = painted("thorax", seed).labels
    for side in (1, -1):
        found = [number for number in range(1, 13) if (labels == rib(number, side)).any()]
        assert set(found) >= set(range(2, 9))
        assert found == list(range(found[0], found[-1] + 1))
        tops = [int(heights("thorax", rib(number, side), seed)[-1]) for number in range(3, 10)]
        assert tops == sorted(tops, reverse=True)
        for number in found:
            assert ndimage.label(labels == rib(number, side), np.ones((3, 3, 3)))[1] == 1, number


@SEEDS
def test_ribs_start_at_their_own_vertebra(seed: int) -> None:
    labels = painted("thorax", seed).labels
    for number in range(3, 8):
        body = np.argwhere(labels == vertebra(f"T{number}"))
        for side in (1, -1):
            found = np.argwhere(labels == rib(number, side))
            nearest = found[np.abs(found[:, 2] - body[:, 2].mean()).argmin()]
            assert body[:, 0].min() - 2 <= nearest[0] <= body[:, 0].max() + 2


@SEEDS
def test_lungs_hold_air_and_vessels_alone(seed: int) -> None:
    tissues, labels, _ = painted("thorax", seed)
    lungs = np.isin(labels, list(LUNGS))
    assert set(np.unique(tissues[lungs])) == {Tissue.LUNG, Tissue.BLOOD}
    assert 0.93 < np.mean(tissues[lungs] == Tissue.LUNG) < 0.995
    assert 2000 < sum(millilitres("thorax", label, seed) for label in LUNGS) < 6000
    left = sum(millilitres("thorax", label, seed) for label in (10, 11))
    right = sum(millilitres("thorax", label, seed) for label in (12, 13, 14))
    assert 0.8 < left / right < 1.0  # the heart takes its place from the left lung


@SEEDS
def test_lobes_lie_as_the_fissures_part_them(seed: int) -> None:
    middle, upper = (heights("thorax", label, seed) for label in (13, 12))
    assert middle[-1] < upper[0] + 2
    for low, high in ((11, 10), (14, 12)):
        assert heights("thorax", low, seed).mean() < heights("thorax", high, seed).mean()


@SEEDS
def test_trachea_is_one_open_tube_up_to_the_top_slice(seed: int) -> None:
    tissues, labels, _ = painted("thorax", seed)
    trachea = labels == Structure.TRACHEA
    slices = np.flatnonzero(trachea.any(axis=(1, 2)))
    assert slices.tolist() == list(range(slices[0], trachea.shape[0]))
    assert set(np.unique(tissues[trachea])) == {Tissue.AIR}
    for z in slices[2:]:
        # A radius of 9.2 mm, up to 4 % scaled.
        assert np.count_nonzero(trachea[z]) * 1.8**2 == pytest.approx(np.pi * 9.2**2, rel=0.15)
    airway = ndimage.label(np.isin(tissues, (Tissue.AIR,)), SIX)[0]
    tube = airway == airway[slices[-1]][trachea[slices[-1]]][0]
    below = np.argwhere(tube[: slices[0]])[:, 2]
    middle = np.argwhere(trachea)[:, 2].mean()
    assert below.min() < middle - 10  # both main bronchi hang on it
    assert below.max() > middle + 10


@SEEDS
def test_brain_is_left_only_by_the_foramen_and_the_optic_nerves(seed: int) -> None:
    tissues, labels, (x, y, z) = painted("head", seed)
    within = np.isin(tissues, (Tissue.FLUID, Tissue.GREY, Tissue.WHITE)) & (z > -45)[:, None, None]
    skull = ndimage.binary_propagation((labels == Structure.BRAIN) & within, SIX, mask=within)
    leak = ndimage.binary_dilation(skull, SIX) & ~skull & ~np.isin(tissues, BONE) & (z > -45)[:, None, None]
    at_z, at_y, at_x = (axis[found] for axis, found in zip((z, y, x), np.nonzero(leak), strict=True))
    foramen = (at_z < -19) & (np.hypot(at_x, at_y - 29) < 23)
    nerve = (at_y < -25) & (np.abs(at_x) > 8) & (np.abs(at_x) < 36) & (at_z > -16) & (at_z < 4)
    assert foramen.any()
    assert not np.isin(tissues[leak], (Tissue.AIR, Tissue.SKIN)).any()
    strays = ~(foramen | nerve)
    assert not strays.any(), np.column_stack([at_x, at_y, at_z])[strays][:5]
    # The nerve is a thread of 2.2 mm in a canal: it opens no wide window from the orbit.
    assert np.count_nonzero(nerve) < 600


@SEEDS
def test_every_ray_from_the_brain_upwards_and_sideways_meets_the_skull(seed: int) -> None:
    tissues, labels, _ = painted("head", seed)
    brain, bone = labels == Structure.BRAIN, np.isin(tissues, BONE)
    # From each voxel of the brain up, bone comes before air: what lies above the highest bone holds no brain.
    above = np.flip(np.maximum.accumulate(np.flip(bone, axis=0), axis=0), axis=0)
    assert above[brain].all()
    for z in range(35, 50):
        filled = ndimage.binary_fill_holes(bone[z])
        assert filled[brain[z]].all(), z


@SEEDS
def test_bladder_is_fluid_in_a_closed_wall(seed: int) -> None:
    tissues, labels, _ = painted("pelvis", seed)
    bladder = labels == Structure.BLADDER
    assert set(np.unique(tissues[bladder])) == {Tissue.FLUID, Tissue.MUSCLE}
    core = ndimage.binary_erosion(tissues[20:34] == Tissue.FLUID, np.ones((3, 3, 3))) & bladder[20:34]
    hu = phantom("pelvis", "mri", seed).reference.voxels
    fluid = ndimage.binary_erosion(phantom("pelvis", "mri", seed).segmentation.voxels == 21, np.ones((5, 7, 7)))
    assert core.any()
    assert hu[fluid].mean() == pytest.approx(10, abs=4)


@SEEDS
def test_femoral_heads_are_free_of_their_sockets(seed: int) -> None:
    labels = painted("pelvis", seed).labels
    for femur, hip in ((Structure.FEMUR_LEFT, Structure.HIP_LEFT), (Structure.FEMUR_RIGHT, Structure.HIP_RIGHT)):
        ball = labels == femur
        assert not (ndimage.binary_dilation(ball, SIX) & (labels == hip)).any()
        assert (ndimage.binary_dilation(ball, SIX, iterations=5) & (labels == hip)).any()


@SEEDS
def test_gas_in_the_trunk_lies_in_the_bowel_and_rises(seed: int) -> None:
    tissues, labels, (_, y, _) = painted("abdomen", seed)
    gas = tissues == Tissue.AIR
    assert gas.any()
    assert set(np.unique(labels[gas]).tolist()) <= {Structure.STOMACH, Structure.COLON}
    stomach = labels == Structure.STOMACH
    fluid = stomach & (tissues == Tissue.CONTENTS)
    assert y[np.nonzero(gas & stomach)[1]].mean() < y[np.nonzero(fluid)[1]].mean() - 20


def test_thigh_has_marrow_within_cortex_within_muscle_within_fat() -> None:
    tissues, labels, (x, y, _) = painted("limb")
    middle = tissues.shape[0] // 2
    bone = np.argwhere(labels[middle] > 0).mean(axis=0)
    distance = np.hypot(x - x[round(bone[1])], (y - y[round(bone[0])])[:, None])
    rings = [distance[tissues[middle] == t].mean() for t in (Tissue.MARROW, Tissue.COMPACT, Tissue.MUSCLE, Tissue.SKIN)]
    assert rings == sorted(rings)
    cortex = np.count_nonzero(tissues[middle] == Tissue.COMPACT)
    assert 250 < cortex < 700  # mm2; a femoral shaft has some 400
