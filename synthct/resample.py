"""Resampling a volume to another spacing over the same physical extent, and back onto its exact grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError, UsageError
from synthct.memory import is_out_of_memory
from synthct.volume import Geometry, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["ANISOTROPY", "resample_like", "resample_to_spacing", "resample_wanted", "resampled_shape"]

ANISOTROPY = 3.0
"""Ratio of spacings above which an axis is resampled apart from the others: nnU-Net's threshold (ALGORITHMS 6)."""

SPACING_TOLERANCE = 1e-3
"""Relative difference of spacings that counts as none."""

SPLINE_POINTS = 4
"""Voxels along each axis that ITK's cubic spline needs."""

Order = Literal[0, 1, 3]
Spacing = tuple[float, float, float]


def resample_to_spacing(volume: Volume, spacing_zyx: Spacing, order: Order, *, separate_axis: bool = False) -> Volume:
    """Resample to about the given spacing, over exactly the same physical extent.

    As in nnU-Net, the size is rounded and the extent kept, so the result's spacing is extent / size: near the wanted
    one, not always equal to it. Direction stays; the origin moves, since it is the first voxel's centre and not its
    corner. At the border nothing is filled with 0: the outermost voxels go on (for order 3 mirrored).

    Args:
        volume: voxels (z, y, x) on any grid, oblique ones included.
        spacing_zyx: wanted spacing in mm, (z, y, x).
        order: 3 cubic B-spline (images), 1 linear, 0 nearest (masks, labels). A volume of less than 4 voxels along any
            axis gets 1 for 3.
        separate_axis: with order 3 or 1, take the nearest slice along an axis whose spacing is more than ANISOTROPY
            times the smallest, before or after, and interpolate in the other two: nnU-Net's rule. Where two axes are
            that coarse, the rule does not hold.

    Returns:
        The volume itself where the spacing agrees within 1e-3 or the size stays the same; else a new one, float32 for
        order 3 and 1 (a spline overshoots at edges), of the same element type for order 0.

    Raises:
        UsageError: a spacing is not above 0, or the order is another.
        InputError: ITK cannot resample it.
    """
    for wanted in spacing_zyx:
        if not (math.isfinite(wanted) and wanted > 0):
            raise UsageError(f"spacing {_text(spacing_zyx)} mm (z, y, x) cannot be had; expected numbers above 0")
    _require_order(order)
    shape = resampled_shape(volume.voxels.shape, volume.spacing_zyx, spacing_zyx)
    if shape == volume.voxels.shape or _is_same(volume.spacing_zyx, spacing_zyx):
        return volume
    target = _grid(volume.geometry, shape)
    coarse = _coarse_axis(volume.spacing_zyx, spacing_zyx) if separate_axis and order != 0 else None
    if coarse is None or shape[coarse] == volume.voxels.shape[coarse]:
        return _resample(volume, target, order)
    between = list(shape)
    between[coarse] = volume.voxels.shape[coarse]
    in_plane = _resample(volume, _grid(volume.geometry, (between[0], between[1], between[2])), order)
    return _resample(in_plane, target, 0)


def resample_like(volume: Volume, reference: Geometry | Volume, order: Order = 1) -> Volume:
    """Resample onto a given grid: the way back of a prediction onto its image's grid.

    Args:
        volume: voxels (z, y, x) on any grid.
        reference: the wanted grid, or a volume that lies on it; the result's geometry is this very one. Where it
            reaches beyond the volume, the nearest voxel goes on.
        order: as in resample_to_spacing.

    Returns:
        The volume itself where it lies on that grid already; else a new one, float32 for order 3 and 1. A grid that
        agrees within GEOMETRY_TOLERANCE costs no interpolation: the voxels stay as they are.

    Raises:
        UsageError: the order is another.
        InputError: ITK cannot resample it.
    """
    _require_order(order)
    grid = reference.geometry if isinstance(reference, Volume) else reference
    if volume.geometry == grid:
        return volume
    if volume.geometry.difference(grid) is None:
        return Volume(volume.voxels, grid)
    return _resample(volume, grid, order)


def resample_wanted(mask: Volume, reference: Geometry) -> npt.NDArray[np.bool_]:
    """Tell which voxels of a grid are wanted where a mask on another one is to be filled.

    A part that is thinner than the new voxels would fall between their centres, so the mask is dilated before by half a
    new voxel along each axis.

    Args:
        mask: voxels (z, y, x), above 0 where wanted.
        reference: the grid, turned as the mask's own is.

    Returns:
        (z, y, x) on the grid; the mask itself where it lies on that grid already.
    """
    from scipy import ndimage

    inside = mask.voxels > 0
    if mask.geometry.difference(reference) is None:
        return inside
    ratios = np.array(reference.spacing[::-1]) / mask.spacing_zyx
    reach = [math.ceil(ratio / 2) if ratio > 1 else 0 for ratio in ratios]
    wide = ndimage.maximum_filter(inside.astype(np.uint8), size=[2 * voxels + 1 for voxels in reach])
    return resample_like(mask.with_voxels(wide), reference, order=0).voxels > 0


def resampled_shape(shape: tuple[int, ...], spacing_zyx: Spacing, wanted_zyx: Spacing) -> tuple[int, int, int]:
    """Shape (z, y, x) after resampling: round(size * spacing / wanted), at least 1."""
    z, y, x = (
        max(1, round(before / after * size)) for size, before, after in zip(shape, spacing_zyx, wanted_zyx, strict=True)
    )
    return z, y, x


def _grid(geometry: Geometry, shape: tuple[int, int, int]) -> Geometry:
    """The grid of that shape over the same extent: corners stay where they are, so centres move."""
    size = shape[::-1]
    old = np.array(geometry.spacing)
    new = old * geometry.size / np.array(size)
    direction = np.array(geometry.direction).reshape(3, 3)
    origin = np.array(geometry.origin) + direction @ ((new - old) / 2)
    return Geometry(size, _triple(new), _triple(origin), geometry.direction)


def _triple(values: npt.NDArray[np.float64]) -> Spacing:
    return float(values[0]), float(values[1]), float(values[2])


def _coarse_axis(before: Spacing, after: Spacing) -> int | None:
    """The one axis (z, y, x) that nnU-Net resamples apart; None where there is none, or two are equally coarse."""
    for spacing in (before, after):
        if max(spacing) / min(spacing) > ANISOTROPY:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def _resample(volume: Volume, target: Geometry, order: Order) -> Volume:
    import SimpleITK as sitk

    if order == 3 and min(volume.voxels.shape) < SPLINE_POINTS:
        order = 1
    interpolator = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}[order]
    voxels = volume.voxels if order == 0 else volume.voxels.astype(np.float32)
    try:
        image = sitk.GetImageFromArray(voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels)
        _place(image, volume.geometry)
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize(target.size)
        resampler.SetOutputSpacing(target.spacing)
        resampler.SetOutputOrigin(target.origin)
        resampler.SetOutputDirection(target.direction)
        resampler.SetInterpolator(interpolator)
        resampler.SetUseNearestNeighborExtrapolator(True)  # 0 outside would be soft tissue
        result = sitk.GetArrayFromImage(resampler.Execute(image))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{volume.path or 'volume'}: cannot be resampled to {target.size} voxels (x, y, z) ({reason}); expected a "
            "volume on a sound grid"
        ) from error
    return Volume(result.astype(voxels.dtype, copy=False), target)


def _place(image: sitk.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)


def _is_same(before: Spacing, after: Spacing) -> bool:
    return all(abs(b - a) <= SPACING_TOLERANCE * a for b, a in zip(before, after, strict=True))


def _require_order(order: int) -> None:
    if order not in (0, 1, 3):
        raise UsageError(f"order {order} of interpolation is unknown; expected 0 (nearest), 1 (linear) or 3 (B-spline)")


def _text(values: Spacing) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
