"""A body outline from the image itself, for clinics that have no mask file; never used in platform mode."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from synthct.errors import InputError
from synthct.volume import Volume

__all__ = ["body_outline"]

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


def body_outline(image: Volume) -> Volume:
    """Outline the body: Otsu's threshold, largest component, closing, hole filling slice by slice, in-plane margin.

    Args:
        image: MR, CBCT or CT, (z, y, x).

    Returns:
        uint8 0/1 on the image's grid.

    Raises:
        InputError: nothing stands out of the background.
    """
    name = image.path or "image"
    if min(image.geometry.spacing) < SMALLEST_SPACING_MM:
        raise InputError(f"{name}: spacing {min(image.geometry.spacing):g} mm cannot be meant; expected millimetres")
    values = image.voxels.astype(np.float64)
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
    joined = sitk.BinaryDilate(joined, [max(1, round(MARGIN_MM / sx)), max(1, round(MARGIN_MM / sy)), 0])
    outline = sitk.GetArrayFromImage(joined).astype(np.uint8)
    if not outline.any():
        raise InputError(f"{name}: no body stands out of the background; expected a mask file")
    return image.with_voxels(outline)
