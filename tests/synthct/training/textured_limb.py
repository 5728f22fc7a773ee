"""A textured limb with bone, made in memory: CT and MR of it lie on each other exactly, until one is moved."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from builders import Array, make_volume
from scipy.ndimage import gaussian_filter

from synthct.training.registration import RigidMotion
from synthct.volume import Volume

__all__ = ["SHAPE", "SPACING", "centre_of", "limb_ct", "limb_mask", "limb_mr", "motion_of", "shifted"]

SHAPE, SPACING = (24, 64, 64), (2.0, 2.0, 3.0)
Vector = tuple[float, float, float]


def _body() -> Array:
    """An ellipse that grows with z, so that the outline also tells where along its axis the limb lies."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((y - 31.5) / (16 + 0.25 * z)) ** 2 + ((x - 31.5) / (24 + 0.25 * z)) ** 2 <= 1


def limb_ct(*, air_noise: float = 20.0) -> Volume:
    """Soft tissue with a smooth texture, a hollow bone and a thin one that lean, noisy air; int16 HU."""
    rng = np.random.default_rng(1)
    texture = gaussian_filter(rng.normal(size=SHAPE), (1.5, 3, 3))
    ct = np.where(_body(), 40 + 60 * texture / texture.std(), -950.0)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    radius = np.hypot(y - 28 - 0.3 * z, x - 34)
    ct[radius <= 8] = 900.0
    ct[radius <= 4] = -60.0
    ct[np.hypot(y - 36, x - 14 - 0.2 * z) <= 3.5] = 900.0
    ct += rng.normal(0, air_noise, SHAPE)
    return make_volume(np.rint(ct).clip(-1000, 3000).astype(np.int16), spacing=SPACING)


def limb_mr(ct: Volume) -> Volume:
    """Bright where the CT is low, dark compact bone, dark air, noise."""
    signal = np.where(_body(), 500 - 1.2 * np.clip(ct.voxels, -100, 300), 0.0)
    signal[ct.voxels > 400] = 20.0
    return ct.with_voxels(
        np.rint(signal + np.abs(np.random.default_rng(2).normal(0, 12, SHAPE))).astype(np.int16),
    )


def limb_mask() -> Volume:
    """The body with a margin of air."""
    return make_volume((gaussian_filter(_body().astype(float), (0, 3, 3)) > 0.1).astype(np.uint8), spacing=SPACING)


def centre_of(volume: Volume) -> Vector:
    """Centre of a volume in mm (its direction is the identity)."""
    x, y, z = (
        origin + (n - 1) / 2 * step
        for n, step, origin in zip(volume.geometry.size, volume.geometry.spacing, volume.geometry.origin, strict=True)
    )
    return x, y, z


def motion_of(volume: Volume, *, mm: Vector = (0.0, 0.0, 0.0), degrees: Vector = (0.0, 0.0, 0.0)) -> RigidMotion:
    """A known motion about a volume's centre."""
    angles = [math.radians(angle) for angle in degrees]
    return RigidMotion.of(sitk.Euler3DTransform(centre_of(volume), *angles, mm))


def shifted(ct: Volume, motion: RigidMotion) -> Volume:
    """A CT as anyone would move it: linear interpolation by plain SimpleITK, -1000 where nothing is known."""
    image = sitk.GetImageFromArray(ct.voxels.astype(np.float32))
    image.SetSpacing(ct.geometry.spacing)
    image.SetOrigin(ct.geometry.origin)
    image.SetDirection(ct.geometry.direction)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, image, motion.transform(), sitk.sitkLinear, -1000.0))
    return ct.with_voxels(np.rint(moved).astype(np.int16))
