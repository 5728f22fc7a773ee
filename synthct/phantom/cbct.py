"""What a cone-beam CT does to the same anatomy: scatter, cupping, streaks, blur and noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.phantom.acquisition import stored_hu
from synthct.phantom.tissues import Tissue
from synthct.phantom.waves import FloatArray, WaveField

__all__ = ["cbct_scan"]

_NOISE = 35.0
_BLUR_MM = 1.1
_CUPPING = 0.075
_SHADING_HU = 55.0
_STREAK_HU = 95.0
_STREAK_SOURCES = 10
_STREAK_REACH_MM = (35.0, 9.0)

ShortArray = npt.NDArray[np.int16]
Axes = tuple[FloatArray, FloatArray, FloatArray]


def cbct_scan(
    hu: FloatArray,
    tissues: npt.NDArray[np.uint8],
    spacing_zyx: tuple[float, float, float],
    axes: Axes,
    rng: np.random.Generator,
) -> ShortArray:
    """Return a cone-beam CT of the noise-free attenuation `hu`.

    Args:
        hu: HU (z, y, x) before noise.
        tissues: the tissue map; bone and gas are where streaks start.
        spacing_zyx: voxel size in mm.
        axes: x, y, z of the voxel centres in mm.
        rng: source of every artefact.
    """
    body = tissues != Tissue.OUTSIDE
    shading = WaveField.draw(rng, 130, 300, count=5)
    strength = np.float32(rng.uniform(0.7, 1.3))
    density: FloatArray = ndimage.gaussian_filter(
        hu, tuple(_BLUR_MM / step for step in spacing_zyx), mode="nearest", truncate=3.0
    )
    density += 1000
    # Scatter fills in the middle of the body, where the beam is weakest: contrast and values drop there.
    density *= 1 - strength * np.float32(_CUPPING) * _depth(body, axes)
    image = density - np.float32(1000 - rng.uniform(5, 20))
    image += strength * np.float32(_SHADING_HU) * shading.sample(*axes) * body
    _add_streaks(image, tissues, axes, strength, rng)
    # Grain of cone-beam noise: partly smoothed by the reconstruction filter.
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    grain: FloatArray = ndimage.gaussian_filter(noise, (0.0, 0.6, 0.6), mode="nearest", truncate=3.0)
    grain *= np.float32(_NOISE) / np.maximum(grain.std(), np.float32(1e-6))
    # Air is noisy too, but less: fewer photons are lost on the way there.
    image += np.where(body, grain, np.float32(0.4) * grain)
    return stored_hu(image)


def _depth(body: npt.NDArray[np.bool_], axes: Axes) -> FloatArray:
    """Return 1 in the middle of the body falling to 0 at the edge of its mean ellipse, per position in the plane."""
    x, y, _ = axes
    share_x, share_y = body.any(axis=(0, 1)), body.any(axis=(0, 2))
    if not share_x.any():
        return np.zeros((1, y.size, x.size), dtype=np.float32)
    left, right = x[share_x][[0, -1]]
    front, back = y[share_y][[0, -1]]
    across = (x - (left + right) / 2) / max((right - left) / 2, np.float32(1.0))
    down = (y - (front + back) / 2) / max((back - front) / 2, np.float32(1.0))
    depth: FloatArray = np.clip(1 - across[None, None, :] ** 2 - down[None, :, None] ** 2, 0, 1)
    return depth.astype(np.float32)


def _add_streaks(
    image: FloatArray, tissues: npt.NDArray[np.uint8], axes: Axes, strength: np.float32, rng: np.random.Generator
) -> None:
    """Add fans of bright and dark rays that start at randomly chosen bone and gas voxels and fade with distance."""
    x, y, z = axes
    starts = np.flatnonzero(np.isin(tissues, (Tissue.COMPACT, Tissue.TOOTH, Tissue.AIR)))
    if starts.size == 0:
        return
    reach, rise = _STREAK_REACH_MM
    for start in rng.choice(starts, size=_STREAK_SOURCES):
        at_z, at_y, at_x = np.unravel_index(start, tissues.shape)
        orders, phases = rng.integers(5, 22, size=3), rng.uniform(0, 2 * np.pi, size=3)
        weights = np.exp(-0.5 * ((z - z[at_z]) / np.float32(rise)) ** 2)
        slices = slice(int(np.argmax(weights > 0.05)), int(weights.size - np.argmax(weights[::-1] > 0.05)))
        across, down = (x - x[at_x])[None, :], (y - y[at_y])[:, None]
        angle = np.arctan2(down, across)
        fan = sum(np.cos(order * angle + phase) for order, phase in zip(orders, phases, strict=True))
        fan = fan * (np.float32(_STREAK_HU) / 3 * strength / (1 + np.hypot(across, down) / np.float32(reach)))
        image[slices] += (weights[slices, None, None] * fan[None]).astype(np.float32)
