"""The checkerboard index: how much more of an upsampling's rhythm a synthetic CT has than its CT.

A transposed convolution of stride 2 can print its stride into the image: a pattern of period 2 voxels, of 4 where the
next stride acts, and so on. Such a pattern is a peak of the spectrum at the frequencies 1/2 and 1/4 per voxel, above
the frequencies beside them. Anatomy, blur and noise have smooth spectra and make no such peak.

For each in-plane axis, and for all pieces of `LENGTH` voxels along it that lie inside the mask (every half length):

* power P(k) = |DFT(w (x - mean of x))|^2 / sum of w^2, with w the periodic Hann window; white noise of variance s^2
  HU^2 has P = s^2 at every k. 1/12 HU^2, the variance of rounding to whole HU, is added.
* the geometric mean of P(k) over the pieces, so that a few bone edges do not outweigh all soft tissue.
* peak of period p: P at k = LENGTH / p over what its neighbours let expect there. With m2 the mean of log P at k - 2
  and k + 2, and m3 that at k - 3 and k + 3, the parabola through them has (9 m2 - 4 m3) / 5 at its middle: slope and
  curvature of a smooth spectrum make no peak. k - 1 and k + 1 hold the window's own width. Beyond 1/2 the spectrum is
  its own mirror image.

The index is the sCT's peak over the CT's, as the geometric mean over both axes and all periods. 1: as the CT. Above 1:
the sCT has the rhythm of the strides. Below 1: the CT's own peak (if any) is missing, which is no artefact.
What blur alone does depends on the CT's spectrum: up to 2 at period 2 and 0.9 to 1.1 at period 4 on limbs, where
stripes of 1 HU give 24. So compare arms with one another, not with 1 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError, UsageError

__all__ = ["LENGTH", "PERIODS", "checkerboard_index", "log_power"]

LENGTH = 32
"""Voxels of a piece: most limbs hold some, and the peaks of periods 2, 4 and 8 fall on whole k."""

PERIODS = (2, 4)
"""Periods in voxels: those of a first and a second in-plane stride of 2."""

ROUNDING = 1.0 / 12.0
IN_PLANE = (1, 2)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def checkerboard_index(sct: Array, ct: Array, mask: Array, periods: Sequence[int] = PERIODS) -> float | None:
    """Return the index of a synthetic CT, as the module's text defines it.

    Args:
        sct: HU, (z, y, x), on the grid that the network worked on.
        ct: HU, the same shape.
        mask: voxels > 0 count; the same shape.
        periods: in voxels, each a divisor of `LENGTH`, 2 to 8.

    Returns:
        The index; None where no piece of `LENGTH` voxels lies inside the mask along y, or none along x.

    Raises:
        InputError: the shapes differ, or there are not three axes.
        UsageError: a period has no place in the spectrum, or there is none.
    """
    if not (sct.ndim == 3 and sct.shape == ct.shape == mask.shape):
        raise InputError(f"sCT {sct.shape}, CT {ct.shape}, mask {mask.shape}; expected one shape (z, y, x)")
    wrong = [period for period in periods if not 2 <= period <= 8 or LENGTH % period]
    if wrong or not periods:
        raise UsageError(f"periods {list(periods)}; expected some of 2, 4 and 8")
    differences = []
    for axis in IN_PLANE:
        spectra = [log_power(image, mask, axis) for image in (sct, ct)]
        for period in periods:
            own, wanted = (None if spectrum is None else _log_peak(spectrum, period) for spectrum in spectra)
            if own is None or wanted is None:
                return None
            differences.append(own - wanted)
    return float(np.exp(np.mean(differences)))


def log_power(image: Array, mask: Array, axis: int) -> Floats | None:
    """Mean logarithm of the power over all pieces along an axis, k = 0 ... LENGTH / 2; None where there is no piece."""
    if image.shape[axis] < LENGTH:
        return None
    halves = slice(None, None, LENGTH // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(image, LENGTH, axis)
    inside = np.lib.stride_tricks.sliding_window_view(mask > 0, LENGTH, axis)
    chosen = tuple(halves if number == axis else slice(None) for number in range(3))
    rows = pieces[chosen][inside[chosen].all(axis=-1)].astype(np.float64)
    if not len(rows):
        return None
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH)
    rows -= rows.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(rows * window, axis=1)) ** 2 / (window**2).sum()
    spectrum: Floats = np.log(power + ROUNDING).mean(axis=0)
    return spectrum


def _log_peak(spectrum: Floats, period: int) -> float:
    """Logarithm of the power at a period over what its neighbours let expect."""
    place = LENGTH // period
    near, far = (spectrum[[place - step, min(place + step, LENGTH - place - step)]].mean() for step in (2, 3))
    return float(spectrum[place] - (9 * near - 4 * far) / 5)
