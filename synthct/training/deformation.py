"""A coarse B-spline after a rigid motion: limbs bend between two scans, and no rigid motion can follow that."""

from __future__ import annotations

from typing import Any

import SimpleITK as sitk

from synthct.memory import is_out_of_memory
from synthct.training.registration import RegistrationPair, SearchLevel, one_thread
from synthct.volume import Volume

__all__ = ["find_deformation"]

GRID_MM = 50.0
"""Distance of the control points: it follows a bent limb, not the border of a muscle. By the judges on training limbs:
of six limbs tried by hand, five gained with 50 mm, three with 40 (`benchmarks/alignment.py spline-grid` compares)."""

LEVEL = SearchLevel(2.0, 20000, 32, 1.0, 1e-2, 0)
"""Smoothing, points and bins of the metric; its steps are not used."""

STEPS = 10
"""Steps of L-BFGS-B: the first do the work; after 25, bones lay further apart than
before in three of three training limbs (35 mm apart)."""

LEAST_JACOBIAN = 0.5
"""A place that shrinks below this share of its volume, or grows beyond its inverse, is no tissue that bends."""


def find_deformation(image: Volume, reference: Volume, mask: Volume, base: sitk.Transform) -> sitk.Transform | None:
    """Refine a transform by a B-spline: Mattes mutual information inside the body, L-BFGS-B.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        mask: body outline on the same grid; only voxels inside count.
        base: transform from image points to CT points to start from.

    Returns:
        The transform from image points to CT points: B-spline first, then `base`. None where ITK finds none, or the
        deformation squeezes or stretches some place of the body beyond LEAST_JACOBIAN.
    """
    pair = RegistrationPair(image, reference, mask)
    picture, inside, ct = pair.pictures(LEVEL)
    size, spacing = pair.image.GetSize(), pair.image.GetSpacing()
    mesh = [max(1, round(n * step / GRID_MM)) for n, step in zip(size, spacing, strict=True)]
    spline = sitk.BSplineTransformInitializer(pair.image, mesh, 3)
    method: Any = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(LEVEL.bins)
    method.SetMetricFixedMask(inside)
    method.SetMetricMovingMask(pair.known)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsLBFGSB(1e-5, STEPS, 5, 2 * STEPS, 1e7)
    method.SetMovingInitialTransform(base)
    method.SetInitialTransform(spline, inPlace=True)
    try:
        with one_thread():
            method.Execute(picture, ct)
    except RuntimeError as error:  # no contrast, no overlap: nothing to refine
        if is_out_of_memory(error):
            raise
        return None
    field = sitk.TransformToDisplacementField(
        spline, sitk.sitkVectorFloat64, size, pair.image.GetOrigin(), spacing, pair.image.GetDirection()
    )
    volume_ratio = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))[mask.voxels > 0]
    if volume_ratio.min() < LEAST_JACOBIAN or volume_ratio.max() > 1 / LEAST_JACOBIAN:
        return None
    return sitk.CompositeTransform([base, spline])
