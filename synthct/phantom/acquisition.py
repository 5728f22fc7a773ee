"""How a scanner sees the tissue map: CT numbers and T1-like MR, each with its blur, texture and noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.phantom.tissues import values_per_tissue
from synthct.phantom.waves import FloatArray, WaveField

__all__ = ["HU_RANGE", "attenuation", "ct_scan", "mr_scan", "stored_hu"]

HU_RANGE = (-1024, 3071)

_CT_NOISE = 12.0
_MR_NOISE = 12.0
_MR_BIAS = 0.10
_TEXTURE_MM = 1.3
_BLUR_VOXELS = 0.55

ByteArray = npt.NDArray[np.uint8]
ShortArray = npt.NDArray[np.int16]


def attenuation(tissues: ByteArray, spacing_zyx: tuple[float, float, float], rng: np.random.Generator) -> FloatArray:
    """Return the HU of a tissue map without noise: tissue means, fine texture, and the mixing at edges."""
    hu = values_per_tissue("hu")[tissues]
    hu += values_per_tissue("hu_texture")[tissues] * _texture(tissues.shape, spacing_zyx, rng)
    return _blurred(hu, (0.3, _BLUR_VOXELS, _BLUR_VOXELS))


def ct_scan(hu: FloatArray, rng: np.random.Generator) -> ShortArray:
    """Return a planning CT: the attenuation with quantum noise, as stored."""
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise *= np.float32(_CT_NOISE)
    noise += hu
    return stored_hu(noise)


def stored_hu(hu: FloatArray) -> ShortArray:
    """Return HU as a file holds them: clipped to the range, rounded, int16."""
    return np.rint(np.clip(hu, *HU_RANGE)).astype(np.int16)


def mr_scan(
    tissues: ByteArray,
    spacing_zyx: tuple[float, float, float],
    axes: tuple[FloatArray, FloatArray, FloatArray],
    rng: np.random.Generator,
) -> ShortArray:
    """Return a T1-like MR: tissue signal times a smooth coil bias, blurred in-plane, with Rician noise.

    Args:
        tissues: the tissue map (z, y, x).
        spacing_zyx: voxel size in mm.
        axes: x, y, z of the voxel centres in mm; the bias is a function of position, whatever the resolution.
        rng: source of bias, texture and noise.
    """
    bias = WaveField.draw(rng, 220, 450, count=5)
    signal = values_per_tissue("mr")[tissues]
    signal += values_per_tissue("mr_texture")[tissues] * _texture(tissues.shape, spacing_zyx, rng)
    signal = _blurred(signal, (0.0, _BLUR_VOXELS, _BLUR_VOXELS))
    signal *= 1 + np.float32(_MR_BIAS) * np.tanh(2 * bias.sample(*axes))
    # The magnitude of a complex signal with equal noise in both channels.
    signal += np.float32(_MR_NOISE) * rng.standard_normal(signal.shape, dtype=np.float32)
    quadrature = np.float32(_MR_NOISE) * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude: ShortArray = np.rint(np.hypot(signal, quadrature)).astype(np.int16)
    return magnitude


def _texture(shape: tuple[int, ...], spacing_zyx: tuple[float, float, float], rng: np.random.Generator) -> FloatArray:
    """Return smooth noise of standard deviation 1 whose grain has the same size in mm at every resolution."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = _blurred(noise, tuple(_TEXTURE_MM / step for step in spacing_zyx))
    smooth /= np.maximum(smooth.std(), np.float32(1e-6))
    return smooth


def _blurred(values: FloatArray, sigmas: tuple[float, ...]) -> FloatArray:
    result: FloatArray = ndimage.gaussian_filter(values, sigmas, mode="nearest", truncate=3.0)
    return result
