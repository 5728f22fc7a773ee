"""The rigid motion between the two scans of a pair, found by SimpleITK so that the same motion is found again.

What makes it repeatable (docs/alignment.md has the figures): fields of view are known, so that their ends are no
outline; the metric is sampled on a grid oblique to both scans, so that linear interpolation smooths alike wherever the
CT lies; every point of that grid is taken; and the search starts from several poses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from synthct.memory import is_out_of_memory
from synthct.training.coverage import covered_voxels, fill_uncovered, shrunk
from synthct.training.information import BRIGHTEST
from synthct.volume import Geometry, Volume

__all__ = [
    "CT_WINDOW",
    "RegistrationPair",
    "RigidMotion",
    "SearchLevel",
    "find_motion",
    "mask_points",
    "move_reference",
    "one_thread",
    "to_itk",
]

CT_WINDOW = (-250.0, 250.0)
"""HU that registration looks at: air, fat, muscle and bone each fill many histogram bins; a window up to compact bone
leaves fat and muscle four of forty."""

TILT = (0.21, 0.17, 0.29)
"""Euler angles in rad of the sampling grid: no axis of it lies along one of a scan."""

FIRST_SHIFT_MM, FIRST_TURN_DEG = 9.0, 8.0
"""Other poses that the search starts from: a shift along each axis both ways, a turn about the long axis both ways."""

APART_MM = 2.0
"""Two coarse results closer than this are one."""

REFINED = 2
"""How many coarse results are refined."""

_WHOLE = 0.999
"""A voxel of a moved CT counts from this share of its value that comes from voxels with data."""

_MEASURED_POINTS = 2000


@dataclass(frozen=True)
class SearchLevel:
    """One level of the search: smoothing (mm), points wanted, histogram bins, longest and shortest step (mm), steps."""

    smoothing: float
    points: int
    bins: int
    longest: float
    shortest: float
    steps: int


_COARSE = SearchLevel(3.0, 8000, 32, 2.0, 0.05, 60)
_FINE = SearchLevel(1.5, 20000, 40, 0.5, 5e-3, 120)


@dataclass(frozen=True)
class RigidMotion:
    """A rigid motion in LPS coordinates: `point -> rotation (point - centre) + centre + translation`, in mm.

    It takes a place of the image to the place of the CT that shows the same tissue.

    Attributes:
        rotation: 3 x 3 matrix, row by row.
        translation: mm along x, y, z.
        centre: centre of the body in mm.
    """

    rotation: tuple[float, ...]
    translation: tuple[float, float, float]
    centre: tuple[float, float, float]

    @classmethod
    def of(cls, transform: sitk.Euler3DTransform) -> RigidMotion:
        """Take over an ITK transform."""
        return cls(transform.GetMatrix(), transform.GetTranslation(), transform.GetCenter())

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The rotation as a 3 x 3 array."""
        return np.asarray(self.rotation, np.float64).reshape(3, 3)

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix) - 1) / 2, -1, 1))))

    def apply(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Move points, shape (n, 3) in x, y, z and mm."""
        centre = np.asarray(self.centre)
        return np.asarray((points - centre) @ self.matrix.T + centre + np.asarray(self.translation))

    def displacement_mm(self, volume: Volume) -> float:
        """Mean length in mm of the way that the voxels above 0 of a mask go; 0 where there is none."""
        points = mask_points(volume)
        if not len(points):
            return 0.0
        return float(np.linalg.norm(self.apply(points) - points, axis=1).mean())

    def scaled(self, share: float) -> RigidMotion:
        """The same motion gone by a share of its way: 0 is none, 1 is all."""
        turn = Rotation.from_rotvec(share * Rotation.from_matrix(self.matrix).as_rotvec())
        x, y, z = (share * step for step in self.translation)
        return RigidMotion(tuple(turn.as_matrix().ravel().tolist()), (x, y, z), self.centre)

    def transform(self) -> sitk.Euler3DTransform:
        """The same motion for ITK."""
        made = sitk.Euler3DTransform()
        made.SetCenter(self.centre)
        made.SetMatrix(self.rotation, 1e-6)
        made.SetTranslation(self.translation)
        return made


def find_motion(image: Volume, reference: Volume, mask: Volume) -> RigidMotion | None:
    """Register a CT rigidly to the image of its case: Mattes mutual information inside the body, several starts.

    Nothing in it is random, so the same pair gives the same motion.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        mask: body outline on the same grid; only voxels inside count.

    Returns:
        The motion; None where nothing can be registered: an empty mask, an image without contrast, fewer than four
        slices, scans that do not overlap.
    """
    if not (mask.voxels > 0).any() or min(image.voxels.shape) < 4:
        return None
    pair = RegistrationPair(image, reference, mask)
    try:
        coarse = sorted((_descend(pair, start, _COARSE) for start in _starts(pair.centre)), key=lambda found: found[0])
        points = mask_points(mask)
        kept: list[RigidMotion] = []
        for _, motion in coarse:
            moved = motion.apply(points)
            if all(np.linalg.norm(moved - other.apply(points), axis=1).mean() > APART_MM for other in kept):
                kept.append(motion)
        fine = [_descend(pair, motion.transform(), _FINE) for motion in kept[:REFINED]]
    except RuntimeError as error:  # ITK's word for no contrast, no overlap, and all else that cannot be registered
        if is_out_of_memory(error):
            raise
        return None
    return min(fine, key=lambda found: found[0])[1]


def move_reference(reference: Volume, transform: sitk.Transform) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """Resample a CT by a transform that takes image points to CT points; linear interpolation.

    Returns:
        int16 CT in HU on the same grid, -1000 where there is no data, and bool (z, y, x), True where there is. Voxels
        that the CT itself did not cover are without data too. Air below -1000 becomes -1000: what has no data is told
        by being flat at the lowest value (coverage.py).
    """
    covered = covered_voxels(reference.voxels, reference.voxels)
    known = to_itk(reference.with_voxels(covered), np.float32)
    share = sitk.GetArrayFromImage(sitk.Resample(known, known, transform, sitk.sitkLinear, 0.0))
    moving = to_itk(reference, np.float32)
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, known, transform, sitk.sitkLinear, -1000.0))
    valid = share > _WHOLE
    hu = np.where(valid, np.maximum(moved, -1000.0), -1000.0)
    return reference.with_voxels(np.rint(hu).astype(np.int16)), valid


def to_itk(volume: Volume, dtype: type[np.generic]) -> sitk.Image:
    """Copy a volume into an ITK image of another element type."""
    image = sitk.GetImageFromArray(volume.voxels.astype(dtype))
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    return image


@contextmanager
def one_thread() -> Iterator[None]:
    """Run ITK on one thread: more of them add a metric up in no fixed order, and the motion changes with it."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def mask_points(mask: Volume) -> npt.NDArray[np.float64]:
    """At most some 2000 voxels above 0 of a mask, evenly taken, as points in x, y, z and mm; shape (n, 3)."""
    indices = np.argwhere(mask.voxels > 0)[:, ::-1]
    indices = indices[:: max(1, len(indices) // _MEASURED_POINTS)]
    return _positions(indices.astype(np.float64), mask.geometry)


def _positions(indices: npt.NDArray[np.float64], geometry: Geometry) -> npt.NDArray[np.float64]:
    direction = np.asarray(geometry.direction, np.float64).reshape(3, 3)
    return np.asarray((indices * np.asarray(geometry.spacing)) @ direction.T + np.asarray(geometry.origin))


class RegistrationPair:
    """A pair ready for registration; each level's pictures are made once."""

    def __init__(self, image: Volume, reference: Volume, mask: Volume) -> None:
        inside = mask.voxels > 0
        seen = shrunk(covered_voxels(image.voxels, reference.voxels))
        known = covered_voxels(reference.voxels, reference.voxels)
        brightest = float(np.percentile(image.voxels[inside], BRIGHTEST))
        filled = np.minimum(fill_uncovered(image.voxels, seen, image.spacing_zyx), brightest)
        hu = np.clip(fill_uncovered(reference.voxels, known, image.spacing_zyx), *CT_WINDOW)
        self.image = to_itk(image.with_voxels(filled), np.float32)
        self._reference = to_itk(reference.with_voxels(hu), np.float32)
        self._inside = to_itk(mask.with_voxels(inside & seen), np.uint8)
        self._volume = float(np.count_nonzero(inside & seen) * np.prod(image.geometry.spacing))
        self.known = to_itk(mask.with_voxels(known), np.uint8)
        self.centre: Sequence[float] = mask_points(mask).mean(axis=0).tolist()
        self._made: dict[SearchLevel, tuple[sitk.Image, sitk.Image, sitk.Image]] = {}

    def pictures(self, level: SearchLevel) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
        """Image and mask on the oblique grid, and the smoothed CT."""
        if level not in self._made:
            spacing = float(np.clip((self._volume / level.points) ** (1 / 3), 1.0, 6.0))
            grid = _oblique_grid(self.image, spacing)
            image = sitk.Resample(_smooth(self.image, level), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
            inside = sitk.Resample(self._inside, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
            self._made[level] = image, inside, _smooth(self._reference, level)
        return self._made[level]


def _smooth(image: sitk.Image, level: SearchLevel) -> sitk.Image:
    smoothed: sitk.Image = sitk.SmoothingRecursiveGaussian(image, level.smoothing)
    return smoothed


def _oblique_grid(image: sitk.Image, spacing: float) -> sitk.Image:
    """An empty image that covers another one on an isotropic, tilted grid."""
    tilted = sitk.Euler3DTransform()
    tilted.SetRotation(*TILT)
    axes = np.asarray(tilted.GetMatrix()).reshape(3, 3)
    size = image.GetSize()
    corners = product(*((-0.5, n - 0.5) for n in size))
    along = np.asarray([image.TransformContinuousIndexToPhysicalPoint(corner) for corner in corners]) @ axes
    lowest, highest = along.min(axis=0), along.max(axis=0)
    grid = sitk.Image([int(n) + 1 for n in np.ceil((highest - lowest) / spacing)], sitk.sitkUInt8)
    grid.SetSpacing([spacing] * 3)
    grid.SetOrigin((axes @ lowest).tolist())
    grid.SetDirection(axes.ravel().tolist())
    return grid


def _starts(centre: Sequence[float]) -> list[sitk.Euler3DTransform]:
    """As it lies, shifted along each axis both ways, turned about the third axis both ways."""
    shifts = [[0.0, 0.0, 0.0]]
    shifts += [[sign * FIRST_SHIFT_MM * (axis == k) for k in range(3)] for axis in range(3) for sign in (-1, 1)]
    turn = float(np.radians(FIRST_TURN_DEG))
    poses: list[tuple[float, list[float]]] = [(0.0, shift) for shift in shifts]
    poses += [(sign * turn, [0.0, 0.0, 0.0]) for sign in (-1, 1)]
    return [sitk.Euler3DTransform(list(centre), 0.0, 0.0, angle, shift) for angle, shift in poses]


def _descend(pair: RegistrationPair, start: sitk.Euler3DTransform, level: SearchLevel) -> tuple[float, RigidMotion]:
    """Go down from a start on one level; returns minus the mutual information and the motion."""
    image, inside, reference = pair.pictures(level)
    method: Any = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(level.bins)
    method.SetMetricFixedMask(inside)
    method.SetMetricMovingMask(pair.known)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(level.longest, level.shortest, level.steps, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    with one_thread():
        found = sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(image, reference)).GetBackTransform())
    return float(method.GetMetricValue()), RigidMotion.of(found)
