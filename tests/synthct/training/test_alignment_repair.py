"""Repair: a shifted CT is moved back, an aligned one is left alone, and the judges' rule by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from builders import make_volume
from textured_limb import limb_ct, limb_mask, limb_mr, motion_of, shifted

from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import InputError
from synthct.training.alignment_check import score_pair
from synthct.training.alignment_repair import Method, Verdict, judge_pair, repair_pair
from synthct.training.deformation import find_deformation
from synthct.training.registration import find_motion, move_reference
from synthct.volume import Volume


def limb_case(reference: Volume | None = None) -> Case:
    ct = limb_ct()
    return Case("1EXA001", Task.MRI, Region.EXTREMITY, limb_mr(ct), limb_mask(), reference or ct)


def test_a_shifted_ct_is_moved_back() -> None:
    ct = limb_ct()
    case = limb_case(shifted(ct, motion_of(ct, mm=(6.0, 0.0, 3.0))))
    assert case.reference is not None
    repair = repair_pair(case, find_motion(case.image, case.reference, case.mask))
    assert repair.action == "rigid"
    assert repair.after.body_dice > repair.before.body_dice
    assert repair.after.bone_edge_mm is not None
    assert repair.before.bone_edge_mm is not None
    assert repair.after.bone_edge_mm < repair.before.bone_edge_mm
    inside = repair.mask.voxels > 0
    before = np.abs(case.reference.voxels.astype(float) - ct.voxels)[inside].mean()
    after = np.abs(repair.reference.voxels.astype(float) - ct.voxels)[inside].mean()
    assert after < 0.5 * before
    assert repair.reference.voxels.dtype == np.int16
    assert repair.reference.geometry == ct.geometry


def test_voxels_without_data_leave_the_mask() -> None:
    ct = limb_ct()
    case = limb_case(shifted(ct, motion_of(ct, mm=(6.0, 0.0, 0.0))))
    assert case.reference is not None
    repair = repair_pair(case, find_motion(case.image, case.reference, case.mask))
    lost = (case.mask.voxels > 0) & (repair.mask.voxels == 0)
    assert lost.any()
    assert (repair.reference.voxels[lost] == -1000).all()
    assert not ((repair.mask.voxels > 0) & (case.mask.voxels == 0)).any()


@pytest.mark.parametrize("method", ["rigid", "bspline"])
def test_an_aligned_pair_stays_as_it_is(method: str) -> None:
    case = limb_case()
    assert case.reference is not None
    motion = find_motion(case.image, case.reference, case.mask)
    repair = repair_pair(case, motion, method="bspline" if method == "bspline" else "rigid")
    assert repair.action == "kept"
    assert repair.reference is case.reference
    assert repair.mask is case.mask
    assert repair.after == repair.before


@pytest.mark.parametrize("mm", [(8.0, 0.0, 0.0), (0.0, 0.0, 2.0), (0.0, 0.0, 4.0)])
def test_a_wrong_motion_is_refused(mm: tuple[float, float, float]) -> None:
    """Along the limb both judges like a wrong 2 mm, and half of a wrong 4 mm: mutual information tells."""
    case = limb_case()
    repair = repair_pair(case, motion_of(limb_ct(), mm=mm))
    assert repair.action == "kept"
    assert repair.reference is case.reference


@pytest.mark.parametrize("method", ["rigid", "bspline"])
def test_a_case_of_one_slice_stays_as_it_is(method: Method) -> None:
    whole = limb_case()
    assert whole.reference is not None
    image, ct, mask = (
        make_volume(volume.voxels[12:13].repeat(4, axis=1).repeat(4, axis=2), spacing=(0.5, 0.5, 3.0))
        for volume in (whole.image, whole.reference, whole.mask)
    )
    case = Case(whole.id, whole.task, whole.region, image, mask, ct)
    score = score_pair(image, ct, mask)
    assert score.motion is None
    assert score.body_dice > 0.9
    repair = repair_pair(case, score.motion, method=method)
    assert repair.action == "kept"
    assert repair.before.bone_edge_mm is None


def test_without_a_motion_nothing_moves() -> None:
    repair = repair_pair(limb_case(), None, method="bspline")
    assert repair.action == "kept"


def test_a_case_without_ct_is_refused() -> None:
    case = limb_case()
    with pytest.raises(InputError, match="case 1EXA001 has no CT"):
        repair_pair(Case(case.id, case.task, case.region, case.image, case.mask), None)


def bend(ct: Volume, millimetres: float) -> tuple[Volume, np.ndarray]:
    """A CT bent along z: its middle slices are pushed along x, its ends stay; also how far each slice goes."""
    z = np.linspace(-1, 1, ct.voxels.shape[0])
    push = millimetres * (1 - z**2)
    field = np.zeros((*ct.voxels.shape, 3))
    field[..., 0] = push[:, None, None]
    vectors = sitk.GetImageFromArray(field, isVector=True)
    vectors.SetSpacing(ct.geometry.spacing)
    moved, _ = move_reference(ct, sitk.DisplacementFieldTransform(sitk.Cast(vectors, sitk.sitkVectorFloat64)))
    return moved, push


def test_a_bent_limb_is_straightened_by_the_spline() -> None:
    ct = limb_ct()
    bent, push = bend(ct, 6.0)
    image, mask = limb_mr(ct), limb_mask()
    found = find_deformation(image, bent, mask, sitk.Transform(3, sitk.sitkIdentity))
    assert found is not None
    x, y, z = 64.0, 62.0, 36.0  # the middle of the volume in mm
    undone = found.TransformPoint((x, y, z))[0] - x
    assert undone == pytest.approx(-push[12], abs=2.0)
    straight, valid = move_reference(bent, found)
    inside = (mask.voxels > 0) & valid
    before = np.abs(bent.voxels.astype(float) - ct.voxels)[inside].mean()
    assert np.abs(straight.voxels.astype(float) - ct.voxels)[inside].mean() < 0.7 * before


def test_bent_limb_is_kept_after_the_spline_by_both_judges() -> None:
    ct = limb_ct()
    bent, _ = bend(ct, 6.0)
    case = limb_case(bent)
    repair = repair_pair(case, find_motion(case.image, bent, case.mask), method="bspline")
    assert repair.action == "bspline"
    assert repair.after.share_left(judge_pair(case, bent, repair.mask)) < 0.9


def test_no_deformation_of_what_has_no_contrast() -> None:
    ct = limb_ct()
    blank = ct.with_voxels(np.zeros_like(ct.voxels))
    assert find_deformation(blank, ct, limb_mask(), sitk.Transform(3, sitk.sitkIdentity)) is None


def test_share_of_errors_by_hand() -> None:
    before = Verdict(0.90, 4.0)
    assert Verdict(0.95, 3.0).share_left(before) == pytest.approx((0.5 + 0.75) / 2)
    assert Verdict(0.95, 4.1).share_left(before) == math.inf  # bone is worse
    assert Verdict(0.89, 1.0).share_left(before) == math.inf  # the outline is worse
    assert Verdict(0.90, 4.0).share_left(before) == pytest.approx(1.0)
    assert Verdict(0.95, None).share_left(before) == pytest.approx(0.5)
    assert Verdict(0.95, 9.0).share_left(Verdict(0.90, None)) == pytest.approx(0.5)
    assert Verdict(1.0, None).share_left(Verdict(1.0, None)) == 1.0  # no evidence is no gain
    assert Verdict(1.0, 3.0).share_left(Verdict(1.0, 3.0)) == 1.0
    assert Verdict(0.99, None).share_left(Verdict(1.0, None)) == math.inf
