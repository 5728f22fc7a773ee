"""Cases in memory and on disk for the tests of the pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.report.case_images import CaseImages
from synthct.anatomy import CaseId
from synthct.volume import Geometry, Volume

__all__ = ["ball", "images_of"]


def ball(shape: tuple[int, int, int], radius: float) -> npt.NDArray[np.bool_]:
    """A ball in the middle of a volume (z, y, x)."""
    places = np.indices(shape) - (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2
    return np.asarray((places**2).sum(axis=0) <= radius**2)


def images_of(
    sct: npt.NDArray[Any], inside: npt.NDArray[np.bool_] | None = None, *, case: str = "1EXA001", **others: Any
) -> CaseImages:
    """A case of arrays (z, y, x) on a grid of 1 mm; `others` are image, ct, spread."""
    z, y, x = sct.shape
    grid = Geometry((x, y, z))
    names = ("image", "ct", "spread")
    volumes = {name: Volume(np.asarray(others[name]), grid) if name in others else None for name in names}
    return CaseImages(
        CaseId.parse(case),
        Volume(sct, grid),
        np.ones(sct.shape, dtype=bool) if inside is None else inside,
        volumes["image"],
        volumes["ct"],
        volumes["spread"],
        "mask file",
    )
