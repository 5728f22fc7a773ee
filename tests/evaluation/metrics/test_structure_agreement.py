"""Structure agreement by hand: golden boxes, the edge table of the contract, limits of the strict policy, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.metrics import StructureAgreement, overlap, score_structures, structure_agreement
from synthct.errors import InputError, UsageError

Array = npt.NDArray[Any]
CUBIC = (1.0, 1.0, 1.0)


def empty(shape: tuple[int, int, int] = (40, 40, 20)) -> tuple[Array, Array]:
    return np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)


def values(agreement: StructureAgreement) -> tuple[float | None, ...]:
    return agreement.dice, agreement.hd95, agreement.nsd_surfel, agreement.nsd_voxel


def test_golden_boxes() -> None:
    reference, prediction = empty()
    reference[10:20, 10:20, 5:12] = prediction[11:22, 9:20, 5:14] = 7
    agreement = structure_agreement(reference, prediction, [7], (1, 1, 3))
    assert agreement.dice == pytest.approx(0.7043041, abs=5e-8)
    assert np.float32(agreement.hd95 or 0.0) == np.float32(6.0827627)  # the golden number is MONAI's, in float32
    assert agreement.nsd == agreement.nsd_surfel == agreement.per_structure[7].nsd_surfel
    assert (agreement.n_structures, agreement.n_missed, agreement.n_spurious) == (1, 0, 0)


@pytest.mark.parametrize(("axis", "hd95"), [(2, 6.0), (1, 2.0), (0, 2.0)])
def test_spacing_follows_the_axes(axis: int, hd95: float) -> None:
    reference, prediction = empty()
    reference[5:15, 5:15, 5:15] = 1
    prediction[:] = np.roll(reference, 2, axis)
    agreement = structure_agreement(reference, prediction, [1], (1, 1, 3))
    assert agreement.dice == 0.8
    assert agreement.hd95 == hd95
    turned = structure_agreement(reference.T, prediction.T, [1], (3, 1, 1))
    assert values(turned) == values(agreement)


def test_two_plates_by_hand() -> None:
    reference, prediction = empty((20, 20, 20))
    reference[5] = prediction[8] = 2
    agreement = structure_agreement(reference, prediction, [2], (1, 1, 1), nsd_tolerance_mm=3.0)
    assert values(agreement) == (0.0, 3.0, 1.0, 1.0)
    # A plate one voxel thick has a surface on either side: those that face each other are 2 mm apart.
    agreement = structure_agreement(reference, prediction, [2], (1, 1, 1), nsd_tolerance_mm=2.999)
    assert values(agreement) == (0.0, 3.0, pytest.approx(0.5), 0.0)
    agreement = structure_agreement(reference, prediction, [2], (1, 1, 1), nsd_tolerance_mm=1.999)
    assert values(agreement) == (0.0, 3.0, 0.0, 0.0)


def test_the_two_nsd_by_hand() -> None:
    """Two single voxels side by side: 8 surfels each, of which 4 coincide; the voxels are 1 mm apart."""
    reference, prediction = empty((5, 5, 5))
    reference[2, 2, 2] = prediction[2, 2, 3] = 1
    agreement = structure_agreement(reference, prediction, [1], CUBIC, nsd_tolerance_mm=0.0)
    assert values(agreement) == (0.0, 1.0, pytest.approx(0.5), 0.0)
    agreement = structure_agreement(reference, prediction, [1], CUBIC, nsd_tolerance_mm=1.0)
    assert values(agreement) == (0.0, 1.0, 1.0, 1.0)


def test_the_percentile_leaves_the_farthest_out() -> None:
    """41 voxels in a row against the same row without its last: ranks 0 to 40, the 95th percentile is rank 38."""
    reference, prediction = empty((3, 3, 60))
    reference[1, 1, 10:51] = prediction[1, 1, 10:48] = 1
    assert structure_agreement(reference, prediction, [1], CUBIC).hd95 == pytest.approx(1.0, abs=1e-5)
    prediction[1, 1, 47] = 0
    assert structure_agreement(reference, prediction, [1], CUBIC).hd95 == pytest.approx(2.0, abs=1e-5)


def test_identical_structures_are_perfect() -> None:
    reference, _ = empty()
    reference[3, 4, 5], reference[:, 0], reference[10:20, 20:30, 3:9] = 1, 2, 3
    agreement = structure_agreement(reference, reference.copy(), [1, 2, 3], (0.9, 0.9, 2.5), nsd_tolerance_mm=0.0)
    assert values(agreement) == (1.0, 0.0, 1.0, 1.0)


def three_structures() -> tuple[Array, Array]:
    """Plates: the first perfect, the second 4 voxels off, the third missed."""
    reference, prediction = empty((40, 30, 30))
    for label, z in ((1, 4), (2, 14), (3, 28)):
        reference[z, 2:28, 2:28] = label
    prediction[4, 2:28, 2:28], prediction[18, 2:28, 2:28] = 1, 2
    return reference, prediction


def test_a_missed_one_is_left_out_of_the_official_hd95_only() -> None:
    reference, prediction = three_structures()
    official = structure_agreement(reference, prediction, [1, 2, 3], CUBIC)
    assert official.hd95 == 2.0
    assert official.dice == pytest.approx(1 / 3)
    strict = structure_agreement(reference, prediction, [1, 2, 3], CUBIC, policy="strict")
    assert strict.hd95 == pytest.approx((0.0 + 4.0 + math.sqrt(40**2 + 30**2 + 30**2)) / 3)
    assert strict.dice == official.dice
    for agreement in (official, strict):
        assert (agreement.n_structures, agreement.n_missed, agreement.n_spurious) == (3, 1, 0)
        assert agreement.nsd == pytest.approx(1 / 3)
    assert official.per_structure == strict.per_structure
    assert official.per_structure[3].hd95 is None


def test_all_missed_is_the_best_official_and_the_worst_strict_hd95() -> None:
    reference, nothing = three_structures()
    nothing[:] = 0
    official = structure_agreement(reference, nothing, [1, 2, 3], (3.0, 1.0, 1.0))
    assert values(official) == (0.0, 0.0, 0.0, 0.0)
    strict = structure_agreement(reference, nothing, [1, 2, 3], (3.0, 1.0, 1.0), policy="strict")
    assert values(strict) == (0.0, pytest.approx(math.sqrt(120**2 + 30**2 + 30**2)), 0.0, 0.0)
    assert strict.n_missed == 3


def test_nothing_listed_in_the_reference() -> None:
    reference, prediction = three_structures()
    for labels in ([9], []):
        assert values(structure_agreement(reference, prediction, labels, CUBIC)) == (0.0, 0.0, None, None)
        strict = structure_agreement(reference, prediction, labels, CUBIC, policy="strict")
        assert values(strict) == (None, None, None, None)
        assert strict.n_structures == 0
    assert structure_agreement(reference, prediction, [9], CUBIC).per_structure[9].status == "absent"


@pytest.mark.parametrize(("voxels", "status"), [(500, "missed"), (499, "missed_small")])
def test_half_a_millilitre(voxels: int, status: str) -> None:
    reference, prediction = empty()
    reference[5:15, 5:15, 5:10] = 1
    if voxels == 499:
        reference[5, 5, 5] = 0
    agreement = structure_agreement(reference, prediction, [1], CUBIC, policy="strict")
    assert agreement.per_structure[1].status == status
    assert agreement.per_structure[1].reference_ml == pytest.approx(voxels / 1000)
    assert agreement.dice == (0.0 if status == "missed" else None)
    assert (agreement.n_missed, agreement.n_missed_small) == ((1, 0) if status == "missed" else (0, 1))


@pytest.mark.parametrize("low", [0, 1])
def test_a_cut_structure_is_no_miss(low: int) -> None:
    reference, prediction = empty()
    reference[10:30, low : low + 10, 5:15] = 1
    score = score_structures(reference, prediction, [1], CUBIC)[1]
    assert (score.cut, score.status) == ((True, "missed_cut") if low == 0 else (False, "missed"))
    agreement = structure_agreement(reference, prediction, [1], CUBIC, policy="strict")
    assert agreement.hd95 == (None if low == 0 else pytest.approx(60.0))


def test_a_spurious_structure_is_counted_with_its_volume() -> None:
    reference, prediction = empty()
    reference[5:15, 5:15, 5:15] = prediction[5:15, 5:15, 5:15] = 1
    prediction[20:30, 20:30, 5:15] = 2
    for policy in ("parity", "strict"):
        agreement = structure_agreement(reference, prediction, [1, 2], (1, 1, 2), policy=policy)
        assert values(agreement) == (1.0, 0.0, 1.0, 1.0)
        assert (agreement.n_structures, agreement.n_spurious, agreement.spurious_ml) == (1, 1, 2.0)
    score = agreement.per_structure[2]
    assert (score.dice, score.hd95, score.nsd_surfel, score.nsd_voxel) == (0.0, None, 0.0, 0.0)
    assert structure_agreement(reference, prediction, [1], (1, 1, 2)).n_spurious == 0


def test_labels_in_the_order_of_the_list_and_once() -> None:
    reference, prediction = three_structures()
    labels = (label for label in np.array([3, 1, 3, 1023]))
    assert list(score_structures(reference, prediction, labels, CUBIC)) == [3, 1, 1023]


def test_volumes_without_voxels() -> None:
    nothing = np.zeros((0, 4, 4), np.uint8)
    assert score_structures(nothing, nothing, [1], CUBIC)[1].status == "absent"


def test_what_cannot_be_meant() -> None:
    reference, prediction = empty((4, 4, 4))
    for spacing in ((1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan), (1, 1, math.inf)):
        with pytest.raises(UsageError, match=r"spacing is \(.*\) mm; expected three positive numbers"):
            structure_agreement(reference, prediction, [1], spacing)
    for tolerance in (-0.1, math.nan, math.inf):
        with pytest.raises(UsageError, match=f"tolerance of NSD is {tolerance} mm"):
            structure_agreement(reference, prediction, [1], CUBIC, nsd_tolerance_mm=tolerance)
    for label in (0, -1, 1024, 1.5):
        with pytest.raises(UsageError, match=f"label {label} cannot be scored"):
            structure_agreement(reference, prediction, [label], CUBIC)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="policy 'official' is unknown; expected one of parity, strict"):
        structure_agreement(reference, prediction, [1], CUBIC, policy="official")
    with pytest.raises(UsageError, match="0 threads: expected at least 1"):
        score_structures(reference, prediction, [1], CUBIC, threads=0)


def test_what_is_no_pair_of_label_maps() -> None:
    reference, prediction = empty((4, 4, 4))
    with pytest.raises(InputError, match=r"reference \(4, 4, 4\), prediction \(3, 4, 4\)"):
        structure_agreement(reference, prediction[1:], [1], CUBIC)
    with pytest.raises(InputError, match="prediction holds float32 values; expected integer labels"):
        structure_agreement(reference, prediction.astype(np.float32), [1], CUBIC)
    with pytest.raises(InputError, match=r"expected three-dimensional arrays"):
        structure_agreement(reference[0], prediction[0], [1], CUBIC)


def test_the_tolerance_holds_where_a_spacing_cannot_be_written_exactly() -> None:
    """20 steps of 0.1 mm are 2 mm: without a regard for rounding they would be more."""
    reference, prediction = empty((3, 3, 60))
    reference[1, 1, 10], prediction[1, 1, 30] = 1, 1
    agreement = structure_agreement(reference, prediction, [1], (1.0, 1.0, 0.1), nsd_tolerance_mm=2.0)
    assert agreement.nsd_voxel == 1.0
    assert agreement.nsd_surfel == pytest.approx(1.0)
    prediction = np.roll(prediction, 1, axis=2)
    assert structure_agreement(reference, prediction, [1], (1.0, 1.0, 0.1), nsd_tolerance_mm=2.0).nsd_voxel == 0.0


def test_labels_beyond_a_byte() -> None:
    reference, prediction = (label_map.astype(np.uint16) for label_map in three_structures())
    agreement = structure_agreement(reference, prediction, [1, 2, 3], CUBIC)
    wide = np.array([0, 1, 257, 1023], np.uint16)  # 1 and 257 differ in the second byte only
    moved = structure_agreement(wide[reference], wide[prediction], [1, 257, 1023], CUBIC)
    assert values(moved) == values(agreement)
    assert list(moved.per_structure) == [1, 257, 1023]


def test_noise_is_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, prediction = np.random.default_rng(5).integers(0, 4, (2, 9, 10, 11))
    whole = score_structures(reference, prediction, [1, 2, 3], CUBIC)
    monkeypatch.setattr(overlap, "_MOST_RUNS", 150)
    assert score_structures(reference, prediction, [1, 2, 3], CUBIC) == whole
    shared = np.count_nonzero((reference == 2) & (prediction == 2))
    sizes = np.count_nonzero(reference == 2) + np.count_nonzero(prediction == 2)
    assert whole[2].dice == 2 * shared / sizes
    assert whole[2].reference_ml == pytest.approx(np.count_nonzero(reference == 2) / 1000)


def test_a_stray_voxel_far_away_moves_nothing_but_the_farthest() -> None:
    reference, prediction = empty((60, 60, 60))
    reference[5:15, 5:15, 5:15] = prediction[5:15, 5:15, 5:15] = 1
    prediction[58, 58, 58] = 1
    agreement = structure_agreement(reference, prediction, [1], CUBIC)
    assert agreement.hd95 == 0.0
    assert agreement.nsd_voxel == pytest.approx(2 * 488 / (2 * 488 + 1))  # 10^3 - 8^3 surface voxels, twice
