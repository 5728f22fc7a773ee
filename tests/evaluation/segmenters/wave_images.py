"""Images to segment: no symmetry, several tissues, any grid."""

from __future__ import annotations

import numpy as np

from synthct.volume import Geometry, Volume

__all__ = ["make_image"]


def make_image(
    shape: tuple[int, int, int],
    spacing_zyx: tuple[float, float, float],
    *,
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    dtype: type = np.int16,
) -> Volume:
    """Smooth waves from -1000 to 1500 HU, never symmetric."""
    z, y, x = np.meshgrid(*(np.arange(edge) for edge in shape), indexing="ij")
    waves = np.sin(z / 2.1 + 0.3) + np.sin(y / 5.3) * np.cos(x / 3.7 + z / 9) + 0.3 * np.sin(x / 11)
    voxels = np.rint(waves * 500 + 200).clip(-1000, 1500).astype(dtype)
    size = (shape[2], shape[1], shape[0])
    spacing = (spacing_zyx[2], spacing_zyx[1], spacing_zyx[0])
    return Volume(voxels, Geometry(size, spacing, (-31.4, 27.1, 141.4), direction))
