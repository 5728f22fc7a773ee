"""Masked five-level MS-SSIM of the SynthRAD2025 evaluation, streamed through memory strip by strip, several at a time.

The definition is CONTRACT 3.2; the official oddity that luminance acts at every level (CONTRACT 3.6, 2) is kept.
Five observations make it cheap and change no result beyond rounding:

* Outside the mask the shifted images are 0, so everything farther from the mask than the windows reach can be cut off.
  A cut at a multiple of 16 keeps the phase of the four down-samplings.
* The 3-voxel crop removes every place where a 7x7x7 window would leave the volume, so no border rule is ever used.
* With values of at most 4095 around 2048, the sums over a window of level 0 fit into 32 bits and are exact.
* C3 = C2 / 2 and the clipping at 0 let contrast times structure be written as one fraction,
  max(2 cov + C2, 0) / (var_g + var_p + C2); four window sums are then enough: g, p, g^2 + p^2 and g p.
* A 2x2x2 box filter by FFT, mode "same", followed by taking every second voxel is (x[2k - 1] + x[2k]) / 2 along each
  axis, with x[-1] = 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.arrays import in_threads
from evaluation.metrics.similarity_map import SimilarityMap

__all__ = ["LEVEL_WEIGHTS", "SHORTEST_AXIS", "both_ms_ssim", "downsample", "mask_bounds", "masked_ms_ssim"]

LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponent of each level, finest first (CONTRACT 3.2)."""

WINDOW = 7
SHORTEST_AXIS = (WINDOW - 1) * 2 ** (len(LEVEL_WEIGHTS) - 1) + 1
"""Shorter axes are padded to this many voxels, 97: the coarsest level then still holds one whole window."""

_MARGIN = WINDOW // 2
_COARSEST = 2 ** (len(LEVEL_WEIGHTS) - 1)
_STRIP_ROWS = 112  # few enough for the cache, enough for calls that outlast the hand-over between two threads

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Weights = tuple[float, float | None]


def masked_ms_ssim(
    reference: Array, prediction: Array, mask: Array, hu_range: tuple[float, float], threads: int | None = None
) -> float | None:
    """Multi-scale structural similarity of two images inside a mask: no unit, 0 to 1, higher is better (CONTRACT 3.2).

    Args:
        reference: three-dimensional image in HU.
        prediction: image in HU, same shape.
        mask: voxels > 0 count; same shape.
        hu_range: both images are clipped to it, and its width is the dynamic range of the constants C1 and C2.
        threads: how many work at a time; None for as many as there are processors. The value does not depend on it.

    Returns:
        The product over the levels of the map's mean over the mask. 1.0 for identical images. None for an empty mask
        and where at some level no mask voxel lies 3 or more voxels away from every face of the volume (the official
        program gives NaN for both; CONTRACT 3.6, 4).
    """
    return both_ms_ssim(reference, prediction, mask, hu_range, threads, strict=False)[0]


def both_ms_ssim(
    reference: Array,
    prediction: Array,
    mask: Array,
    hu_range: tuple[float, float],
    threads: int | None = None,
    *,
    strict: bool = True,
) -> tuple[float | None, float | None]:
    """The value of `masked_ms_ssim`, and the strict one beside it, in one pass.

    The strict value is the measure as it was meant: luminance counts at the coarsest level alone. A level at which no
    mask voxel survives the crop is left out, and the other weights are scaled to the sum of all five.

    Returns:
        Official and strict value; the latter is None where `strict` is not set, for an empty mask, and where no level
        has a voxel.
    """
    inside = mask > 0
    bounds = mask_bounds(inside)
    if bounds is None:
        return None, None
    kept = _influential(bounds, inside.shape)
    inside = inside[kept]
    g = _shifted(reference[kept], inside, hu_range, threads)
    p = _shifted(prediction[kept], inside, hu_range, threads)
    padding = _padding(reference.shape)
    if any(after for _, after in padding):
        inside, g, p = (np.pad(array, padding, mode="edge") for array in (inside, g, p))
    width = hu_range[1] - hu_range[0]
    levels = [inside := np.ascontiguousarray(inside[::step, ::step, ::step]) for step in (1, 2, 2, 2, 2)]
    usable = [bool(_inner(level).any()) for level in levels]
    share = sum(weight for weight, has in zip(LEVEL_WEIGHTS, usable, strict=True) if has) / sum(LEVEL_WEIGHTS)
    official, meant = 1.0, 1.0
    for level, (inside, weight) in enumerate(zip(levels, LEVEL_WEIGHTS, strict=True)):
        if level > 0:
            g, p = downsample(g, threads), downsample(p, threads)
        if usable[level]:
            exponents = (weight, weight / share if strict else None)
            values = _level_values(g, p, inside, exponents, width, not any(usable[level + 1 :]), threads)
            official *= min(max(values[0], 0.0), 1.0)
            meant *= min(max(values[1], 0.0), 1.0)
    return official if all(usable) else None, meant if strict and any(usable) else None


def mask_bounds(inside: Mask) -> Box | None:
    """Smallest box that holds every True voxel of a three-dimensional mask; None where there is none."""
    occupied = np.logical_or.reduce
    flat = occupied(inside, axis=0)
    sides = (occupied(inside, axis=(1, 2)), occupied(flat, axis=1), occupied(flat, axis=0))
    if not sides[0].any():
        return None
    z, y, x = (slice(int(side.argmax()), len(side) - int(side[::-1].argmax())) for side in sides)
    return z, y, x


def downsample(image: Array, threads: int | None = 1) -> Floats:
    """Mean of 2x2x2 blocks with a zero border: voxel k covers voxels 2k - 1 and 2k of each axis (CONTRACT 3.2, step 5).

    Equals `scipy.signal.fftconvolve(image, np.full((2, 2, 2), 1 / 8), mode="same")[::2, ::2, ::2]`. An axis of n voxels
    becomes one of ceil(n / 2). Integer images are summed in their own type, which must hold eight times their largest
    value.
    """
    coarse = np.empty([(length + 1) // 2 for length in image.shape])

    def fill(plane: int) -> None:
        sums = image[2 * plane] + image[2 * plane - 1] if plane else image[0]
        for _ in range(2):
            pairs = sums[0::2].copy()
            pairs[1:] += sums[1::2][: len(pairs) - 1]
            sums = pairs.T
        np.multiply(sums, 0.125, out=coarse[plane])

    in_threads(fill, range(len(coarse)), threads)
    return coarse


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


def _shifted(image: Array, inside: Mask, hu_range: tuple[float, float], threads: int | None) -> Array:
    """The image clipped to the range, minus its lower end; 0 outside the mask.

    uint16 where that is exact and leaves room for the sums of `downsample`, float64 otherwise.
    """
    low, high = hu_range
    small = image.dtype.kind in "iu" and image.dtype.itemsize <= 2 and (high - low) * 8 <= np.iinfo(np.uint16).max
    whole = small and float(low).is_integer() and float(high).is_integer()
    narrow = image.dtype == np.int16 and low >= -(2**15) and high < 2**15
    kind = np.dtype(np.float64 if not whole else np.int16 if narrow else np.int32)
    lower, upper = np.array(hu_range).astype(kind)
    shifted = np.empty(image.shape, dtype=np.uint16 if whole else np.float64)

    def fill(plane: int) -> None:
        values = image[plane].astype(kind)
        np.clip(values, lower, upper, out=values)
        values -= lower
        if whole:
            np.multiply(values, inside[plane], out=shifted[plane], casting="unsafe")
        else:
            shifted[plane] = 0.0  # a product would keep the NaN that may stand outside the mask
            np.copyto(shifted[plane], values, where=inside[plane])

    in_threads(fill, range(len(image)), threads)
    return shifted


def _inner(inside: Mask) -> Mask:
    """A mask without a rim of 3 voxels, where windows would leave the volume."""
    return inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _level_values(
    g: Array, p: Array, inside: Mask, weights: Weights, width: float, last: bool, threads: int | None
) -> tuple[float, float]:
    """Means over the mask without its rim of the map to the power of each weight: the official one and the strict one.

    The strict map holds luminance only where `last` is set.
    """
    inner = _inner(inside)
    pairs = -(-inner.shape[1] // (2 * _STRIP_ROWS))  # an even number of strips of one height, for an even load
    height = -(-inner.shape[1] // (2 * pairs))

    def strip_totals(first: int) -> tuple[float, float, int]:
        strip = inner[:, first : first + height]
        bounds = mask_bounds(strip)
        if bounds is None:
            return 0.0, 0.0, 0
        z, y, x = bounds
        windows = (
            slice(z.start, z.stop + WINDOW - 1),
            slice(first + y.start, first + y.stop + WINDOW - 1),
            slice(x.start, x.stop + WINDOW - 1),
        )
        chosen = strip[bounds]
        return *_strip_totals(g[windows], p[windows], chosen, weights, width, last), int(np.count_nonzero(chosen))

    strips = in_threads(strip_totals, range(0, inner.shape[1], height), threads)
    count = sum(voxels for _, _, voxels in strips)
    return sum(strip[0] for strip in strips) / count, sum(strip[1] for strip in strips) / count


def _strip_totals(g: Array, p: Array, chosen: Mask, weights: Weights, width: float, last: bool) -> tuple[float, float]:
    """Sums of both maps over the chosen voxels; `g` and `p` reach 6 voxels farther than `chosen` along every axis.

    Planes enter and leave a running sum over 7 planes. Rows keep their full length: the sums of 7 along x run over the
    row ends, and the 6 wrong columns there get no weight.
    """
    centre = _exact_centre(width) if g.dtype.kind == p.dtype.kind == "u" else 0
    kind = np.int32 if centre else np.float64
    depth, rows, _ = chosen.shape
    columns = g.shape[2]
    size = rows * columns
    latest = np.empty((4, rows + WINDOW - 1, columns), kind)
    pairs = np.empty((4, (rows + WINDOW) * columns), kind)
    band = np.empty((4, size), kind)
    recent = np.zeros((WINDOW, 4, size), kind)
    running = np.zeros((4, size), kind)
    wanted = np.zeros((rows, columns))
    flat = latest.reshape(4, -1)
    similarity = SimilarityMap(size, WINDOW**3, width, centre)
    weight, strict_weight = weights
    contrast = np.empty(size) if strict_weight is not None else None
    total, strict_total = 0.0, 0.0
    for plane in range(depth + WINDOW - 1):
        latest[0] = g[plane]
        latest[1] = p[plane]
        if centre:
            latest[:2] -= centre
        np.multiply(latest[0], latest[0], out=latest[2])
        np.multiply(latest[1], latest[1], out=latest[3])
        latest[2] += latest[3]
        np.multiply(latest[0], latest[1], out=latest[3])
        _sums_of_seven(flat, columns, pairs, band)
        oldest = recent[plane % WINDOW]
        running -= oldest
        _sums_of_seven(band, 1, pairs, oldest[:, : size - WINDOW + 1])
        running += oldest
        if plane >= WINDOW - 1 and chosen[plane - WINDOW + 1].any():
            wanted[:, : 1 - WINDOW] = chosen[plane - WINDOW + 1]
            values = similarity.of(running, contrast)
            if contrast is not None and strict_weight is not None:
                np.power(values if last else contrast, strict_weight, out=contrast)
                contrast *= wanted.ravel()
                strict_total += float(contrast.sum())
            np.power(values, weight, out=values)
            values *= wanted.ravel()
            total += float(values.sum())
    return total, strict_total


def _exact_centre(width: float) -> int:
    """What to subtract from integer images so that all sums over 7x7x7 fit into 32 bits; 0 where nothing does.

    The largest sum, of g^2 + p^2, needs all 32 bits: it wraps around in int32 and is read as uint32.
    """
    centre = math.ceil(width / 2.0)
    return centre if 2 * centre**2 * WINDOW**3 < 2**32 else 0


def _sums_of_seven(values: Array, step: int, pairs: Array, out: Array) -> None:
    """Sums over 7 elements that lie `step` apart along the last axis: a pair, a four and a single in four additions."""
    length = values.shape[1] - 6 * step
    pairs = pairs[:, : length + 5 * step]
    np.add(values[:, :-step], values[:, step:], out=pairs)
    np.add(pairs[:, :length], pairs[:, 2 * step : length + 2 * step], out=out)
    out += pairs[:, 4 * step : length + 4 * step]
    out += values[:, 6 * step :]
