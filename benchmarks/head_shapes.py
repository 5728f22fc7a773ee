"""Other heads out of one: a label map that is turned, stretched and bent, so that few heads train as many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.phantom.waves import WaveField
from synthct.volume import Geometry, Volume

FloatArray = npt.NDArray[np.float32]

TURN_DEGREES = 8.0
"""Largest rotation about each axis."""
STRETCH = 0.08
"""Largest share that an axis is longer or shorter by."""
BEND_MM = 5.0
"""Twice the standard deviation of each component of the smooth displacement."""
WAVES_MM = (70.0, 200.0)
"""Its wave lengths. Nothing folds in any draw that was looked at (tests); the worst six waves together could."""
MARGIN = 0.15
"""Share of an edge that is put around the map, so that a larger head is not cut."""


def bent(labels: Volume, rng: np.random.Generator) -> Volume:
    """Turn, stretch and bend a label map about its middle; no label is mixed with another.

    Args:
        labels: int voxels (z, y, x) along the image's axes.
        rng: source of the shape; the same generator state gives the same bits.

    Returns:
        The new head in a larger grid of the same spacing, the middle where it was.
    """
    margins = np.ceil(MARGIN * np.array(labels.voxels.shape)).astype(int)
    places = old_places(labels, margins, rng)
    voxels = ndimage.map_coordinates(labels.voxels, places, order=0, mode="constant", cval=0)
    return Volume(voxels, _padded(labels.geometry, margins), labels.path)


def old_places(labels: Volume, margins: npt.NDArray[np.int64], rng: np.random.Generator) -> list[FloatArray]:
    """Draw where each voxel of the new head comes from.

    Args:
        labels: the old head.
        margins: voxels (z, y, x) that the new grid has more at both ends of each axis.
        rng: as for `bent`.

    Returns:
        Indices of the old grid, not rounded: one array (z, y, x) of the new grid's shape for each axis z, y, x.
    """
    angles = np.deg2rad(rng.uniform(-TURN_DEGREES, TURN_DEGREES, 3))
    stretch = 1 + rng.uniform(-STRETCH, STRETCH, 3)
    fields = [WaveField.draw(rng, *WAVES_MM, count=6) for _ in range(3)]
    spacing, shape = np.array(labels.spacing_zyx), np.array(labels.voxels.shape)
    axes = [
        ((np.arange(size + 2 * margin) - (size - 1) / 2 - margin) * step).astype(np.float32)
        for size, margin, step in zip(shape, margins, spacing, strict=True)
    ]
    inverse = _rotation(angles).T / stretch[:, None]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    places = []
    for row, field, middle, step in zip(inverse, fields, (shape - 1) / 2, spacing, strict=True):
        place = field.sample(axes[2], axes[1], axes[0]) * np.float32(BEND_MM)
        for share, axis in zip(row, grid, strict=True):
            place += np.float32(share) * axis
        places.append(place / np.float32(step) + np.float32(middle))
    return places


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn about the axes z, y, x in that order, angles in radians; of positions (z, y, x)."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = sorted({0, 1, 2} - {axis})
        about = np.eye(3)
        about[[first, second], [first, second]] = np.cos(angle)
        about[first, second], about[second, first] = -np.sin(angle), np.sin(angle)
        turned = about @ turned
    return np.asarray(turned)


def _padded(geometry: Geometry, margins: npt.NDArray[np.int64]) -> Geometry:
    """Geometry with margins (z, y, x) in voxels at both ends."""
    matrix = np.array(geometry.direction).reshape(3, 3)
    x, y, z = np.array(geometry.origin) - matrix @ (margins[::-1] * geometry.spacing)
    nx, ny, nz = (int(size + 2 * margin) for size, margin in zip(geometry.size, margins[::-1], strict=True))
    return Geometry((nx, ny, nz), geometry.spacing, (float(x), float(y), float(z)), geometry.direction)
