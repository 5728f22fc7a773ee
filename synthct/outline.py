"""A body outline from the image itself: for clinics that have no mask file, and for masks larger than the body."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from synthct.errors import InputError
from synthct.volume import Volume

__all__ = ["body_inside", "body_outline"]

SMOOTHING_MM = 1.5
"""Standard deviation of the smoothing before the threshold, so that noise in the air does not count."""
SMALLEST_SPACING_MM = 0.05
"""Below this the spacing is no millimetres: the finest clinical images have about 0.1 mm."""
OTSU_THRESHOLDS = 3
"""Otsu with four classes (air, muscle, organs, fat); the lowest cut is the outline. A single cut parts bright fat from
muscle in T1 limbs that fill the field of view. Our choice, by the real limbs of tests/test_real_data.py."""
CLOSING_MM = 12.0
"""Radius of the closing that bridges gaps in the outline: 12 voxels of 1 mm in SynthRAD2023 (CONTRACT 4.2)."""
MARGIN_MM = 5.0
"""Margin added in-plane, half of SynthRAD's 10 voxels, so that the skin is inside and the air around mostly is not."""


LEAST_SHARE = 0.5
"""Of a mask that an outline must fill to be believed: SynthRAD's margins take less (inference)."""


def body_inside(image: Volume, mask: Volume) -> npt.NDArray[np.bool_]:
    """Where the body is inside a mask that lets in air about it, as SynthRAD's do by design (CONTRACT 4.2).

    What lies outside the mask, a table or the other leg, is not looked at.

    Args:
        image: MR, CBCT or CT, (z, y, x).
        mask: on the same grid.

    Returns:
        bool (z, y, x), never beyond the mask. The mask itself where no outline can be drawn, or one fills less than
        half of it; that gives a warning.
    """
    name = image.path or "image"
    inside = np.asarray(mask.voxels > 0)
    if not inside.any():
        return inside
    bounds = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in bounds)
    values = np.where(inside, image.voxels, image.voxels[inside].min())[box]
    rim = [(0, 0), (1, 1), (1, 1)]  # of background, for a mask without any
    body = np.zeros_like(inside)
    try:
        outline = _outline(np.pad(values, rim, constant_values=values.min()), image, margin_mm=0.0)
        body[box] = inside[box] & (outline[:, 1:-1, 1:-1] > 0)
    except InputError:
        warnings.warn(f"{name}: no outline shows inside the mask, which is taken for the body", stacklevel=2)
        return inside
    share = body.sum() / inside.sum()
    if share < LEAST_SHARE:
        warnings.warn(f"{name}: its outline fills {share:.0%} of the mask, which is taken for the body", stacklevel=2)
        return inside
    return body


def body_outline(image: Volume) -> Volume:
    """Outline the body: Otsu's threshold, largest component, closing, hole filling slice by slice, in-plane margin.

    Args:
        image: MR, CBCT or CT, (z, y, x).

    Returns:
        uint8 0/1 on the image's grid.

    Raises:
        InputError: nothing stands out of the background.
    """
    return image.with_voxels(_outline(image.voxels, image, margin_mm=MARGIN_MM))


def _outline(voxels: npt.NDArray[np.generic], image: Volume, *, margin_mm: float) -> npt.NDArray[np.uint8]:
    """Outline of voxels that have the image's spacing and, in messages, its name."""
    name = image.path or "image"
    if min(image.geometry.spacing) < SMALLEST_SPACING_MM:
        raise InputError(f"{name}: spacing {min(image.geometry.spacing):g} mm cannot be meant; expected millimetres")
    values = voxels.astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.0])
    picture = sitk.GetImageFromArray(np.clip(values, low, high).astype(np.float32))
    picture.SetSpacing(image.geometry.spacing)
    smooth = sitk.DiscreteGaussian(picture, [SMOOTHING_MM**2] * 3)  # any number of slices, unlike the recursive filter
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(OTSU_THRESHOLDS)
    otsu.SetNumberOfHistogramBins(256)
    try:
        otsu.Execute(smooth)
        body = smooth > otsu.GetThresholds()[0]
    except RuntimeError as error:
        raise InputError(f"{name}: has no contrast to draw an outline from; expected a mask file") from error
    components = sitk.RelabelComponent(sitk.ConnectedComponent(body), sortByObjectSize=True)
    body = sitk.Cast(components == 1, sitk.sitkUInt8)
    sx, sy, _ = image.geometry.spacing
    body = sitk.BinaryMorphologicalClosing(body, [max(1, round(CLOSING_MM / sx)), max(1, round(CLOSING_MM / sy)), 0])
    filled = [sitk.BinaryFillhole(body[:, :, index]) for index in range(body.GetSize()[2])]
    joined = sitk.JoinSeries(filled)
    if margin_mm > 0:
        joined = sitk.BinaryDilate(joined, [max(1, round(margin_mm / sx)), max(1, round(margin_mm / sy)), 0])
    outline = sitk.GetArrayFromImage(joined).astype(np.uint8)
    if not outline.any():
        raise InputError(f"{name}: no body stands out of the background; expected a mask file")
    return outline
