"""How far the bone of a CT lies from the edge that the same bone makes in the image: a judge that no registration uses.

Compact bone is dark in MR, whatever the sequence, and bright in CBCT. At each point of the CT's bone surface the image
is searched along the surface's normal for its strongest edge of the right sign; the distance to that edge is averaged.
The sign matters: without it the inner wall of a cortex would pass for the outer one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates

from synthct.training.coverage import covered_voxels, fill_uncovered, shrunk
from synthct.volume import Volume

__all__ = ["bone_edge_mm"]

BONE_HU = 250.0
"""Smoothed CT from here on is bone."""

SMOOTHING_MM = 1.0
"""Standard deviation of the smoothing of both scans in-plane; between slices nothing is smoothed."""

REACH_MM, STEP_MM = 10.0, 0.5
"""How far an edge is looked for on either side of the surface, and in which steps."""

STRONG = 0.5
"""A peak counts as an edge from this share of its profile's highest one: fat behind muscle is often the highest."""

FEWEST_POINTS = 200
"""Below this many surface points nothing is measured: calcifications and a bone's tip at the border give no figure."""

MOST_POINTS = 6000


def bone_edge_mm(image: Volume, reference: Volume, mask: Volume, *, dark_bone: bool = True) -> float | None:
    """Mean distance in mm from the CT's bone surface to the image's bone edge along the surface's normal.

    Args:
        image: MR or CBCT, (z, y, x).
        reference: CT in HU on the same grid.
        mask: body outline on the same grid; only bone inside counts.
        dark_bone: True for MR, False for CBCT.

    Returns:
        0 (each edge lies on the surface) to REACH_MM; chance alone gives about half of REACH_MM. None where the CT
        shows fewer than FEWEST_POINTS surface points of bone with image data around them, or has one voxel along an
        axis: a surface there has no normal.
    """
    if min(reference.voxels.shape) < 2:
        return None
    spacing = np.asarray(image.spacing_zyx)
    known = covered_voxels(reference.voxels, reference.voxels)
    seen = shrunk(covered_voxels(image.voxels, reference.voxels))
    sigma = (0.0, SMOOTHING_MM / spacing[1], SMOOTHING_MM / spacing[2])
    hu = gaussian_filter(fill_uncovered(reference.voxels, known, image.spacing_zyx).astype(np.float32), sigma)
    bone = hu >= BONE_HU
    inside = (mask.voxels > 0) & known
    surface = bone & ~binary_erosion(bone, border_value=1) & inside & seen
    points = np.argwhere(surface).astype(np.float64)
    points = points[:: max(1, len(points) // MOST_POINTS)]
    if len(points) < FEWEST_POINTS:
        return None
    normals = _outward_normals(hu, points, spacing)
    signal = gaussian_filter(fill_uncovered(image.voxels, seen, image.spacing_zyx).astype(np.float32), sigma)
    offsets = np.arange(-REACH_MM - STEP_MM, REACH_MM + 1.5 * STEP_MM, STEP_MM)
    track = points[:, None, :] + offsets[None, :, None] * (normals / spacing)[:, None, :]
    profile = map_coordinates(signal, track.reshape(-1, 3).T, order=1, mode="nearest").reshape(track.shape[:2])
    within = map_coordinates(seen.astype(np.float32), track.reshape(-1, 3).T, order=0, mode="constant", cval=0.0)
    usable = within.reshape(track.shape[:2]).all(axis=1)
    if int(usable.sum()) < FEWEST_POINTS:
        return None
    rise = (profile[:, 2:] - profile[:, :-2])[usable] * (1.0 if dark_bone else -1.0)
    return float(np.abs(offsets[1:-1][_nearest_strong(rise)]).mean())


def _nearest_strong(rise: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Index of each profile's peak that is nearest to its middle, among those at least STRONG of its highest one."""
    edge = np.pad(rise, ((0, 0), (1, 1)), constant_values=-np.inf)
    peak = (rise >= edge[:, :-2]) & (rise >= edge[:, 2:]) & (rise >= STRONG * rise.max(axis=1, keepdims=True))
    distance = np.abs(np.arange(rise.shape[1]) - rise.shape[1] // 2)
    return np.asarray(np.where(peak, distance, rise.shape[1]).argmin(axis=1))


def _outward_normals(
    hu: npt.NDArray[np.float32], points: npt.NDArray[np.float64], spacing: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Unit vectors (n, 3) in mm, z, y, x, out of the bone: down the smoothed CT."""
    index = tuple(points.astype(int).T)
    slope = np.stack([-np.gradient(hu, axis=axis)[index] / spacing[axis] for axis in range(3)], axis=1)
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return np.asarray(slope / np.maximum(length, 1e-6))
