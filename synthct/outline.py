"""A body outline from the image itself, for clinics that have no mask file; never used in platform mode."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from synthct.errors import InputError
from synthct.volume import Volume

__all__ = ["body_outline"]

SMOOTHING_MM = 1.5
"""Standard deviation of the smoothing before the threshold, so that noise in the air does not count."""
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
    values = image.voxels.astype(np.float32)
    low, high = np.percentile(values, [0.5, 99.0])
    picture = sitk.GetImageFromArray(np.clip(values, low, high))
    picture.SetSpacing(image.geometry.spacing)
    smooth = sitk.DiscreteGaussian(picture, [SMOOTHING_MM**2] * 3)  # any number of slices, unlike the recursive filter
    body = sitk.OtsuThreshold(smooth, 0, 1, 128)
    components = sitk.RelabelComponent(sitk.ConnectedComponent(body), sortByObjectSize=True)
    body = sitk.Cast(components == 1, sitk.sitkUInt8)
    sx, sy, _ = image.geometry.spacing
    body = sitk.BinaryMorphologicalClosing(body, [max(1, round(CLOSING_MM / sx)), max(1, round(CLOSING_MM / sy)), 0])
    filled = [sitk.BinaryFillhole(body[:, :, index]) for index in range(body.GetSize()[2])]
    joined = sitk.JoinSeries(filled)
    joined = sitk.BinaryDilate(joined, [max(1, round(MARGIN_MM / sx)), max(1, round(MARGIN_MM / sy)), 0])
    outline = sitk.GetArrayFromImage(joined).astype(np.uint8)
    if not outline.any():
        raise InputError(f"{image.path or 'image'}: no body stands out of the background; expected a mask file")
    return image.with_voxels(outline)
