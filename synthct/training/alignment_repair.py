"""Moving a CT onto its image, kept only where two judges agree that do not drive the registration.

The registration raises mutual information. Whether that helped is told by the body outlines (Dice) and by bone edges
(`bone_edge_mm`), before and after over nearly the same voxels: those of one mask, less what each CT's own field of view
leaves out. The judges hardly see a move along a limb, and interpolation alone shifts their figures by some per cent, so
the mutual information of `pair_information`, over the very same voxels, must not fall either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from synthct.anatomy import Task
from synthct.dataset import Case
from synthct.errors import InputError
from synthct.training.alignment_check import body_dice, pair_information
from synthct.training.bone_edges import bone_edge_mm
from synthct.training.deformation import find_deformation
from synthct.training.registration import RigidMotion, mask_points, move_reference
from synthct.volume import Volume

__all__ = ["Action", "Method", "Repair", "Verdict", "judge_pair", "repair_pair"]

Action = Literal["kept", "rigid", "bspline"]
Method = Literal["rigid", "bspline"]

CLEAR_GAIN = 0.9
"""Mean share of the two errors (outline, bone edge) that a move may leave to be worth its interpolation."""

LEAST_MOVE_MM = 0.5
"""Mean way of the body's voxels below which a CT stays: half a voxel in-plane, and within what the judges can tell."""

SHARES = (1.0, 0.5)
"""Shares of the motion found that are tried: mutual information is flat along a limb, so half the way may be better."""


_NO_ERROR = 1e-6
"""An error that cannot be told from none: nothing before and nothing after is no gain."""


@dataclass(frozen=True)
class Verdict:
    """What the two judges say of a pair.

    Attributes:
        body_dice: Dice of the outlines.
        bone_edge_mm: mean distance of bone edges; None where too little bone is seen.
    """

    body_dice: float
    bone_edge_mm: float | None

    def share_left(self, before: Verdict) -> float:
        """Mean share of the earlier errors that is left; infinite where a judge finds the pair worse than before.

        The outline's error is 1 - Dice. Bone that only one of the two shows is not judged.
        """
        errors = [(1 - self.body_dice, 1 - before.body_dice)]
        if self.bone_edge_mm is not None and before.bone_edge_mm is not None:
            errors.append((self.bone_edge_mm, before.bone_edge_mm))
        shares = [1.0 if left <= _NO_ERROR >= error else left / max(error, _NO_ERROR) for left, error in errors]
        return math.inf if max(shares) > 1 else sum(shares) / len(shares)


@dataclass(frozen=True, eq=False)
class Repair:
    """What became of a pair.

    Attributes:
        action: `kept` (nothing helped, or no motion was found), `rigid` or `bspline`.
        reference: CT in HU on the image's grid; the given one where kept.
        mask: the given mask without voxels that the moved CT does not cover.
        before: the judges' figures of the given CT, inside `mask`.
        after: the same of `reference`; equal where kept.
    """

    action: Action
    reference: Volume
    mask: Volume
    before: Verdict
    after: Verdict


def judge_pair(case: Case, reference: Volume, mask: Volume) -> Verdict:
    """Ask both judges about a CT (HU) on the image of a case, over the voxels above 0 of a mask."""
    dice = body_dice(case.image, reference, inside=mask.voxels > 0)
    return Verdict(dice, bone_edge_mm(case.image, reference, mask, dark_bone=case.task is Task.MRI))


def repair_pair(case: Case, motion: RigidMotion | None, *, method: Method = "rigid") -> Repair:
    """Try to move the CT of a case, and keep what both judges prefer.

    Args:
        case: image, mask and CT on one grid.
        motion: the rigid motion that the check found; None where it found none.
        method: `rigid`; `bspline` tries a coarse B-spline too, on top of what the rigid step left.

    Returns:
        The repaired pair; a move is made by linear interpolation, once. It is kept where neither judge finds it worse,
        the mean of the two errors falls below CLEAR_GAIN of what it was, and mutual information does not fall; of
        several, the best by that mean. The B-spline has to pass the same rule against the given CT and against the
        rigid step's result. A way below LEAST_MOVE_MM is none.

    Raises:
        InputError: the case has no CT.
    """
    if case.reference is None:
        raise InputError(f"case {case.id} has no CT; expected one to repair")
    whole = judge_pair(case, case.reference, case.mask)
    kept = Repair("kept", case.reference, case.mask, whole, whole)
    if motion is None:
        return kept
    chosen, base, best = kept, sitk.Transform(3, sitk.sitkIdentity), CLEAR_GAIN
    for share in SHARES:
        transform = motion.scaled(share).transform()
        if _way_mm(transform, case.mask) < LEAST_MOVE_MM:
            continue
        tried = _apply(case, case.reference, transform, "rigid")
        left = _share_left(case, kept, tried)
        if left < best:
            chosen, base, best = tried, transform, left
    if method == "bspline":
        deformation = find_deformation(case.image, case.reference, case.mask, base)
        if deformation is not None and _way_mm(deformation, case.mask) >= LEAST_MOVE_MM:
            tried = _apply(case, case.reference, deformation, "bspline")
            rivals = [kept] if chosen is kept else [kept, chosen]
            if all(_share_left(case, rival, tried) < CLEAR_GAIN for rival in rivals):
                chosen = tried
    return chosen


def _share_left(case: Case, rival: Repair, tried: Repair) -> float:
    """Mean share of a rival's errors that a move leaves, inside both masks; infinite where anything became worse."""
    common = tried.mask.with_voxels(((tried.mask.voxels > 0) & (rival.mask.voxels > 0)).astype(np.uint8))
    if rival.action == "kept":  # its mask is the whole one, and both were judged inside the move's already
        left = tried.after.share_left(tried.before)
    else:
        after, before = (judge_pair(case, reference, common) for reference in (tried.reference, rival.reference))
        left = after.share_left(before)
    if left >= CLEAR_GAIN:
        return left
    informed, as_before = pair_information(case.image, [tried.reference, rival.reference], common)
    return left if informed >= as_before else math.inf


def _way_mm(transform: sitk.Transform, mask: Volume) -> float:
    """Mean way in mm that the voxels above 0 of a mask go; 0 where there is none."""
    points = mask_points(mask)
    if not len(points):
        return 0.0
    moved = np.asarray([transform.TransformPoint(point) for point in points.tolist()])
    return float(np.linalg.norm(moved - points, axis=1).mean())


def _apply(case: Case, reference: Volume, transform: sitk.Transform, action: Action) -> Repair:
    moved, valid = move_reference(reference, transform)
    mask = case.mask.with_voxels(((case.mask.voxels > 0) & valid).astype(np.uint8))
    return Repair(action, moved, mask, judge_pair(case, reference, mask), judge_pair(case, moved, mask))
