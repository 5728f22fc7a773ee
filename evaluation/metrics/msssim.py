"""Masked five-level MS-SSIM of the SynthRAD2025 evaluation, streamed through memory strip by strip.

The definition is CONTRACT 3.2; the official oddity that luminance acts at every level (CONTRACT 3.6, 2) is kept.
Four observations make it cheap and change no result beyond rounding:

* Outside the mask the shifted images are 0, so everything farther from the mask than the windows reach can be cut off.
  A cut at a multiple of 16 keeps the phase of the four down-samplings.
* The 3-voxel crop removes every place where a 7x7x7 window would leave the volume, so no border rule is ever used.
* C3 = C2 / 2 and the clipping at 0 let contrast times structure be written as one fraction,
  max(2 cov + C2, 0) / (var_g + var_p + C2); four window sums are then enough: g, p, g^2 + p^2 and g p.
* A 2x2x2 box filter by FFT, mode "same", followed by taking every second voxel is (x[2k - 1] + x[2k]) / 2 along each
  axis, with x[-1] = 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LEVEL_WEIGHTS", "SHORTEST_AXIS", "downsample", "mask_bounds", "masked_ms_ssim"]

LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponent of each level, finest first (CONTRACT 3.2)."""

WINDOW = 7
SHORTEST_AXIS = (WINDOW - 1) * 2 ** (len(LEVEL_WEIGHTS) - 1) + 1
"""Shorter axes are padded to this many voxels, 97: the coarsest level then still holds one whole window."""

_MARGIN = WINDOW // 2
_COARSEST = 2 ** (len(LEVEL_WEIGHTS) - 1)
_STRIP_ROWS = 24  # one strip of sums stays in the processor's second-level cache

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]


def masked_ms_ssim(reference: Array, prediction: Array, mask: Array, hu_range: tuple[float, float]) -> float | None:
    """Multi-scale structural similarity of two images inside a mask: no unit, 0 to 1, higher is better (CONTRACT 3.2).

    Args:
        reference: three-dimensional image in HU.
        prediction: image in HU, same shape.
        mask: voxels > 0 count; same shape.
        hu_range: both images are clipped to it, and its width is the dynamic range of the constants C1 and C2.

    Returns:
        The product over the levels of the map's mean over the mask. 1.0 for identical images. None for an empty mask
        and where at some level no mask voxel lies 3 or more voxels away from every face of the volume (the official
        program gives NaN for both; CONTRACT 3.6, 4).
    """
    inside = mask > 0
    bounds = mask_bounds(inside)
    if bounds is None:
        return None
    kept = _influential(bounds, inside.shape)
    inside = np.ascontiguousarray(inside[kept])
    g = _shifted(reference[kept], inside, hu_range)
    p = _shifted(prediction[kept], inside, hu_range)
    padding = _padding(reference.shape)
    if any(after for _, after in padding):
        inside, g, p = (np.pad(array, padding, mode="edge") for array in (inside, g, p))
    width = hu_range[1] - hu_range[0]
    result = 1.0
    for level, weight in enumerate(LEVEL_WEIGHTS):
        if level > 0:
            inside, g, p = np.ascontiguousarray(inside[::2, ::2, ::2]), downsample(g), downsample(p)
        value = _level_value(g, p, inside, weight, (0.01 * width) ** 2, (0.03 * width) ** 2)
        if value is None:
            return None
        result *= min(max(value, 0.0), 1.0)
    return result


def mask_bounds(inside: Mask) -> Box | None:
    """Smallest box that holds every True voxel of a three-dimensional mask; None where there is none."""
    occupied = np.logical_or.reduce
    flat = occupied(inside, axis=0)
    sides = (occupied(inside, axis=(1, 2)), occupied(flat, axis=1), occupied(flat, axis=0))
    if not sides[0].any():
        return None
    z, y, x = (slice(int(side.argmax()), len(side) - int(side[::-1].argmax())) for side in sides)
    return z, y, x


def downsample(image: Array) -> Floats:
    """Mean of 2x2x2 blocks with a zero border: voxel k covers voxels 2k - 1 and 2k of each axis (CONTRACT 3.2, step 5).

    Equals `scipy.signal.fftconvolve(image, np.full((2, 2, 2), 1 / 8), mode="same")[::2, ::2, ::2]`. An axis of n voxels
    becomes one of ceil(n / 2). Integer images are summed in their own type, which must hold eight times their largest
    value.
    """
    for axis in range(3):
        lines = image.swapaxes(axis, 0)
        sums = lines[0::2].copy(order="K")
        sums[1:] += lines[1::2][: len(sums) - 1]
        image = sums.swapaxes(0, axis)
    return np.multiply(image, 0.125, dtype=np.float64)


def _influential(bounds: Box, shape: tuple[int, ...]) -> Box:
    """The part of the volume on which the result depends, for a mask with these bounds.

    At the coarsest level a window reaches 3 voxels, 48 voxels of the volume, beyond the mask. Axes that will be padded
    are kept whole.
    """
    reach = _MARGIN * _COARSEST
    z, y, x = (
        slice(max(side.start - reach, 0) // _COARSEST * _COARSEST, min(side.stop + reach, length))
        if length > SHORTEST_AXIS
        else slice(0, length)
        for side, length in zip(bounds, shape, strict=True)
    )
    return z, y, x


def _padding(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis, so that none is shorter than `SHORTEST_AXIS`."""
    missing = [max(SHORTEST_AXIS - length, 0) for length in shape]
    return [(count // 2, count - count // 2) for count in missing]


def _shifted(image: Array, inside: Mask, hu_range: tuple[float, float]) -> Array:
    """The image clipped to the range, minus its lower end; 0 outside the mask.

    uint16 where that is exact and leaves room for the sums of `downsample`, float64 otherwise.
    """
    low, high = hu_range
    small = image.dtype.kind in "iu" and image.dtype.itemsize <= 2 and (high - low) * 8 <= np.iinfo(np.uint16).max
    whole = small and float(low).is_integer() and float(high).is_integer()
    shifted = np.zeros(image.shape, dtype=np.uint16 if whole else np.float64)
    for source, chosen, target in zip(image, inside, shifted, strict=True):
        values = source.astype(np.int32 if whole else np.float64)
        np.clip(values, int(low) if whole else low, int(high) if whole else high, out=values)
        values -= int(low) if whole else low
        np.copyto(target, values, where=chosen, casting="unsafe")
    return shifted


def _level_value(g: Array, p: Array, inside: Mask, weight: float, c1: float, c2: float) -> float | None:
    """Mean of the similarity map, to the power of the level's weight, over the mask without a rim of 3 voxels."""
    inner = inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    total, count = 0.0, 0
    for first in range(0, inner.shape[1], _STRIP_ROWS):
        strip = inner[:, first : first + _STRIP_ROWS]
        bounds = mask_bounds(strip)
        if bounds is not None:
            z, y, x = bounds
            windows = (
                slice(z.start, z.stop + WINDOW - 1),
                slice(first + y.start, first + y.stop + WINDOW - 1),
                slice(x.start, x.stop + WINDOW - 1),
            )
            total += _strip_total(g[windows], p[windows], strip[bounds], weight, c1, c2)
            count += int(np.count_nonzero(strip[bounds]))
    return total / count if count else None


def _strip_total(g: Array, p: Array, chosen: Mask, weight: float, c1: float, c2: float) -> float:
    """Sum of the map over the chosen voxels; `g` and `p` reach 6 voxels farther than `chosen` along every axis.

    Planes enter and leave a running sum over 7 planes. For integer images every sum is exact in float64.
    """
    rows, columns = g.shape[1:]
    recent = np.zeros((WINDOW, 4, rows, columns))
    running = np.zeros((4, rows, columns))
    total = 0.0
    for plane, (g_plane, p_plane) in enumerate(zip(g, p, strict=True)):
        latest = recent[plane % WINDOW]
        running -= latest
        latest[0] = g_plane
        latest[1] = p_plane
        np.multiply(latest[0], latest[0], out=latest[2])
        np.multiply(latest[1], latest[1], out=latest[3])
        latest[2] += latest[3]
        np.multiply(latest[0], latest[1], out=latest[3])
        running += latest
        wanted = chosen[plane - WINDOW + 1] if plane >= WINDOW - 1 else None
        if wanted is None or not wanted.any():
            continue
        sums = _sums_of_seven(_sums_of_seven(running, 1), 2)
        total += float(np.sum(_map_values(sums[:, wanted], c1, c2) ** weight))
    return total


def _sums_of_seven(values: Floats, axis: int) -> Floats:
    """Sums over 7 neighbours along one axis, 6 elements shorter: a pair, a four and a single in four additions."""
    lines = values.swapaxes(axis, 0)
    pairs = lines[:-1] + lines[1:]
    sums = pairs[:-5] + pairs[2:-3]
    sums += pairs[4:-1]
    sums += lines[6:]
    return sums.swapaxes(0, axis)


def _map_values(sums: Floats, c1: float, c2: float) -> Floats:
    """Luminance times contrast times structure from window sums of g, p, g^2 + p^2 and g p; one voxel per column."""
    mean_g, mean_p, mean_squares, mean_product = sums / WINDOW**3
    sample = WINDOW**3 / (WINDOW**3 - 1)
    double_product = 2.0 * mean_g * mean_p
    squares = mean_g * mean_g + mean_p * mean_p
    covariance = np.maximum(sample * (2.0 * mean_product - double_product) + c2, 0.0)
    variances = sample * (mean_squares - squares) + c2
    values: Floats = (double_product + c1) * covariance / ((squares + c1) * variances)
    return values
