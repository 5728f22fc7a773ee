"""Other heads out of one: a label map that is turned, stretched and bent, so that few heads train as many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.phantom.waves import WaveField
from synthct.volume import Geometry, Volume

TURN_DEGREES = 8.0
"""Largest rotation about each axis."""
STRETCH = 0.08
"""Largest share that an axis is longer or shorter by."""
BEND_MM = 5.0
"""Twice the standard deviation of each component of the smooth displacement."""
WAVES_MM = (70.0, 200.0)
"""Its wave lengths. The steepest of them changes lengths by BEND_MM * 2 pi / 70, less than a half: nothing folds."""
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
    angles = np.deg2rad(rng.uniform(-TURN_DEGREES, TURN_DEGREES, 3))
    stretch = 1 + rng.uniform(-STRETCH, STRETCH, 3)
    fields = [WaveField.draw(rng, *WAVES_MM, count=6) for _ in range(3)]
    spacing = np.array(labels.spacing_zyx)
    shape = np.array(labels.voxels.shape)
    margins = np.ceil(MARGIN * shape).astype(int)
    axes = [
        ((np.arange(size + 2 * margin) - (size - 1) / 2 - margin) * step).astype(np.float32)
        for size, margin, step in zip(shape, margins, spacing, strict=True)
    ]
    inverse = _rotation(angles).T / stretch[:, None]  # from a place of the new head to that of the old one
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    places = []
    for row, field, middle, step in zip(inverse, fields, (shape - 1) / 2, spacing, strict=True):
        place = field.sample(axes[2], axes[1], axes[0]) * np.float32(BEND_MM)
        for share, axis in zip(row, grid, strict=True):
            place += np.float32(share) * axis
        places.append(place / np.float32(step) + np.float32(middle))
    voxels = ndimage.map_coordinates(labels.voxels, places, order=0, mode="constant", cval=0)
    return Volume(voxels, _padded(labels.geometry, margins), labels.path)


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn about the three axes in their order."""
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
