"""Rigid alignment of a reference CT to its image, so that a network is not taught a patient's change of position.

Paper 002 removed 21 to 40 misaligned volumes per region by hand; here each pair is registered (six degrees of freedom,
Mattes mutual information inside the body) and left as it was where that does not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from synthct.volume import Volume

__all__ = ["AlignedReference", "align_reference", "mutual_information", "smoothed_information"]

CT_WINDOW = (-300.0, 1200.0)
"""HU that registration looks at: outline to compact bone, without noise in the air around."""

MAX_MOTION_MM = 15.0
"""A found translation beyond this is taken for a failed registration (inference from the sts cases)."""

OUTSIDE = -32768

SMOOTHING_VOXELS = 1.5
"""Standard deviation with which a CT is smoothed before information is compared: resampling smooths noise away, which
alone raises mutual information, so that a pair that is aligned already would be moved."""


@dataclass(frozen=True, eq=False)
class AlignedReference:
    """A reference on its image's grid after registration.

    Attributes:
        reference: CT in HU; -1000 where the moved CT has no data.
        valid: bool array (z, y, x), False where the moved CT has no data.
        translation_mm: length of the translation that was applied, 0 where the pair was left as it was.
        rotation_deg: angle of the rotation that was applied.
        information_before: mutual information of image and smoothed CT in the body in nats, before.
        information_after: the same after.
    """

    reference: Volume
    valid: npt.NDArray[np.bool_]
    translation_mm: float
    rotation_deg: float
    information_before: float
    information_after: float


def align_reference(image: Volume, reference: Volume, mask: Volume, *, seed: int = 1) -> AlignedReference:
    """Register a CT rigidly to the image of its case.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        mask: body outline on the same grid; only voxels inside count.
        seed: of the random sample of voxels that the metric looks at.

    Returns:
        The moved CT, or the given one where mutual information does not rise, the motion found is implausible, or
        nothing can be registered (an empty mask, an image without contrast, fewer than four slices).
    """
    inside = mask.voxels > 0
    try:
        found = _register(image, reference, mask, seed)
    except RuntimeError:
        return _left_alone(image, reference, inside)
    moved = sitk.GetArrayFromImage(
        sitk.Resample(_image(reference, np.float32), _image(image, np.float32), found, sitk.sitkLinear, float(OUTSIDE))
    )
    valid = moved > OUTSIDE / 4  # voxels blended with the fill at the border fall away with it
    hu = np.where(valid, moved, -1000.0)
    translation = float(np.linalg.norm(found.GetTranslation()))
    before = smoothed_information(image, reference.voxels, inside & valid)
    after = smoothed_information(image, hu, inside & valid)
    if after <= before or translation > MAX_MOTION_MM:
        return _left_alone(image, reference, inside)
    angle = float(np.degrees(np.arccos(np.clip((np.trace(np.reshape(found.GetMatrix(), (3, 3))) - 1) / 2, -1, 1))))
    aligned = reference.with_voxels(np.rint(hu).astype(np.int16))
    return AlignedReference(aligned, valid, translation, angle, before, after)


def _register(image: Volume, reference: Volume, mask: Volume, seed: int) -> sitk.Euler3DTransform:
    fixed = _image(image, np.float32)
    moving = sitk.Clamp(_image(reference, np.float32), sitk.sitkFloat32, *CT_WINDOW)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.06, seed)
    method.SetMetricFixedMask(_image(mask, np.uint8))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 80, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([3, 2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetInitialTransform(start, inPlace=False)
    return sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetBackTransform())


def _left_alone(image: Volume, reference: Volume, inside: npt.NDArray[np.bool_]) -> AlignedReference:
    information = smoothed_information(image, reference.voxels, inside)
    return AlignedReference(reference, np.ones(inside.shape, bool), 0.0, 0.0, information, information)


def smoothed_information(image: Volume, ct: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> float:
    """Mutual information of an image and its smoothed CT (HU, (z, y, x)) over a bool mask, in nats."""
    smooth = gaussian_filter(np.clip(ct.astype(np.float32), *CT_WINDOW), SMOOTHING_VOXELS)
    return mutual_information(image.voxels[inside], smooth[inside])


def mutual_information(image: npt.NDArray[np.generic], ct: npt.NDArray[np.generic], *, bins: int = 64) -> float:
    """Mutual information of two voxel lists in nats: joint histogram, CT cut to CT_WINDOW; 0 for no voxels."""
    if image.size == 0:
        return 0.0
    joint, _, _ = np.histogram2d(image.astype(np.float64), np.clip(ct.astype(np.float64), *CT_WINDOW), bins=bins)
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log(joint[filled] / independent[filled])))


def _image(volume: Volume, dtype: type[np.generic]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.voxels.astype(dtype))
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    return image
