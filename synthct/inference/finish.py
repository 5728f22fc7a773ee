"""The last step of every prediction: what an sCT may hold when it is written."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AIR_HU", "HU_MAX", "HU_MIN", "finish_hu", "finish_spread"]

AIR_HU = -1000
"""Value outside the body mask (CONTRACT 1.5)."""
HU_MIN, HU_MAX = -1024, 3071
"""Range of the released CTs of 2025 (CONTRACT 1.5)."""


def finish_hu(hu: npt.NDArray[np.floating], mask: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Turn predicted HU into the voxels of an sCT.

    Outside the mask -1000, clipped to [-1024, 3071], rounded to int16. Values that are no numbers become air, with one
    warning that counts those inside the mask (CONTRACT 6.A.5).

    Args:
        hu: predicted HU, (z, y, x).
        mask: body outline on the same grid; above 0 is inside.
    """
    inside = mask > 0
    broken = ~np.isfinite(hu)
    count = int(np.count_nonzero(broken & inside))
    if count:
        warnings.warn(
            f"{count} voxels inside the mask came out of the network as NaN or infinite and were set to air",
            RuntimeWarning,
            stacklevel=2,
        )
    cleaned = np.where(broken | ~inside, float(AIR_HU), hu)
    return np.asarray(np.rint(np.clip(cleaned, HU_MIN, HU_MAX)), dtype=np.int16)


def finish_spread(spread: npt.NDArray[np.floating], mask: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Turn a spread in HU into the voxels that are written: 0 outside the mask, and where it is no number.

    Args:
        spread: standard deviation over overlapping predictions in HU, (z, y, x).
        mask: body outline on the same grid; above 0 is inside.
    """
    known = (mask > 0) & np.isfinite(spread)
    return np.where(known, spread, 0.0).astype(np.float32)
