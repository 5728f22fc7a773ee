"""How well a CT lies on the image of its case, in four figures, and which pairs are too far off to train on.

It replaces the removal of 21 to 40 volumes per region by hand of paper 002.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter
from scipy.ndimage import label as connected

from synthct.errors import InputError
from synthct.outline import MARGIN_MM, body_outline
from synthct.training.coverage import AIR_HU, covered_voxels, fill_uncovered, shrunk
from synthct.training.information import smoothed_information
from synthct.training.registration import RigidMotion, find_motion
from synthct.volume import Volume

__all__ = ["PairScore", "body_dice", "image_body", "pair_information", "reference_body", "score_pair"]


@dataclass(frozen=True)
class PairScore:
    """The alignment of one pair.

    Attributes:
        body_dice: Dice of the two body outlines where both scans have data, 0 to 1.
        mutual_information: of image and smoothed CT in nats, inside the mask where both have data (`pair_information`).
        residual_mm: mean way in mm that the body's voxels go under the rigid motion found; None where none was found.
        residual_deg: angle of that motion's rotation; None where none was found.
        motion: the motion itself.
    """

    body_dice: float
    mutual_information: float
    residual_mm: float | None
    residual_deg: float | None
    motion: RigidMotion | None


def score_pair(image: Volume, reference: Volume, mask: Volume, *, seed: int = 1) -> PairScore:
    """Score one pair.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        mask: body outline on the same grid.
        seed: kept for callers that name one; nothing in the check is random.

    Returns:
        The score; without a motion where nothing can be registered (see find_motion).
    """
    motion = find_motion(image, reference, mask)
    return PairScore(
        body_dice(image, reference),
        pair_information(image, [reference], mask)[0],
        None if motion is None else motion.displacement_mm(mask),
        None if motion is None else motion.degrees,
        motion,
    )


def pair_information(image: Volume, references: Sequence[Volume], mask: Volume) -> list[float]:
    """Mutual information in nats of an image (cut at its 99.5th percentile) and each of some smoothed CTs.

    Args:
        image: MR or CBCT, (z, y, x).
        references: CTs in HU on the same grid: one, or one before and after a move.
        mask: body outline on the same grid.

    Returns:
        One figure per CT, all over the same voxels: those of the mask where the image and every CT have data, so that
        the figures can be compared. 0 where there is none.
    """
    known = [covered_voxels(reference.voxels, reference.voxels) for reference in references]
    seen = (covered_voxels(image.voxels, reference.voxels) for reference in references)
    inside = np.logical_and.reduce([mask.voxels > 0, *known, *seen])
    filled = (
        fill_uncovered(reference.voxels, covered, reference.spacing_zyx)
        for reference, covered in zip(references, known, strict=True)
    )
    return [smoothed_information(image, voxels, inside) for voxels in filled]


def body_dice(image: Volume, reference: Volume, *, inside: npt.NDArray[np.bool_] | None = None) -> float:
    """Dice of the body outlines of an image and its CT (HU, same grid) where both have data; 0 where either is empty.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        inside: bool (z, y, x); only these voxels are compared. None for all.
    """
    both = shrunk(covered_voxels(image.voxels, reference.voxels))
    both &= covered_voxels(reference.voxels, reference.voxels)
    if inside is not None:
        both &= inside
    first, second = image_body(image, reference) & both, reference_body(reference) & both
    if not first.any() or not second.any():
        return 0.0
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def image_body(image: Volume, reference: Volume) -> npt.NDArray[np.bool_]:
    """Outline of the body in an MR or CBCT, (z, y, x): `body_outline` without its margin; empty without contrast."""
    seen = covered_voxels(image.voxels, reference.voxels)
    try:
        outline = body_outline(image.with_voxels(fill_uncovered(image.voxels, seen, image.spacing_zyx))).voxels > 0
    except InputError:
        return np.zeros(image.voxels.shape, bool)
    sx, sy, _ = image.geometry.spacing
    margin = [2 * max(1, round(MARGIN_MM / step)) + 1 for step in (sy, sx)]
    return np.asarray(binary_erosion(outline, np.ones((1, *margin), bool), border_value=1))


def reference_body(reference: Volume) -> npt.NDArray[np.bool_]:
    """Outline of the body in a CT (HU), (z, y, x): the largest piece above -300 HU, filled slice by slice."""
    known = covered_voxels(reference.voxels, reference.voxels)
    filled = fill_uncovered(reference.voxels, known, reference.spacing_zyx)
    dense = gaussian_filter(filled.astype(np.float32), (0.0, 1.0, 1.0)) > AIR_HU
    pieces, count = connected(dense)
    if count == 0:
        return np.asarray(dense)
    body = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.stack([np.asarray(binary_fill_holes(part)) for part in body])
