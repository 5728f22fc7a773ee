"""Pictures of validations: planes side by side, in grey."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["WINDOW_HU", "compared", "grey"]

FloatArray = npt.NDArray[np.float32]

WINDOW_HU = (-300.0, 1000.0)
"""HU that a picture shows as black and white: soft tissue to compact bone."""


def compared(*planes: npt.NDArray[np.floating]) -> FloatArray:
    """Planes (y, x) in HU side by side, in 0..1."""
    return np.concatenate([grey(plane, *WINDOW_HU) for plane in planes], axis=1)


def grey(plane: npt.NDArray[np.floating], low: float, high: float) -> FloatArray:
    """A plane's values, with `low` as 0 and `high` as 1."""
    return np.asarray(np.clip((plane - low) / (high - low), 0.0, 1.0), dtype=np.float32)
