"""How each volume of a case is shown: its label, its window, its colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.report.case_images import CaseImages
from evaluation.report.colours import gradient

__all__ = ["PRESETS", "SLICE_WINDOW", "Look", "Preset", "looks_of"]


@dataclass(frozen=True)
class Preset:
    """A window by name: HU of black and of white."""

    name: str
    low: int
    high: int


PRESETS = (
    Preset("soft", -160, 240),
    Preset("bone", -500, 1300),
    Preset("lung", -1350, 150),
    Preset("wide", -1000, 1500),
)
"""Windows in HU: width 400 at 40, 1800 at 400, 1500 at -600, and nearly all. The first is shown at the start."""
SLICE_WINDOW = (-500, 1300)
"""Window of the pictures of slices."""
DIFFERENCE_LIMIT = 400
SPREAD_LIMIT = 200
"""HU at which a colour map ends."""


@dataclass(frozen=True, eq=False)
class Look:
    """One volume and how it is shown.

    Attributes:
        name: for the page's own use: image, ct, sct, difference, spread.
        label: for readers.
        voxels: (z, y, x).
        low: value of the first colour.
        high: value of the last.
        map: a name of `evaluation.report.colours.MAPS`.
        unit: of the values.
        windowed: follows the window presets.
    """

    name: str
    label: str
    voxels: npt.NDArray[np.generic]
    low: int
    high: int
    map: str = "gray"
    unit: str = "HU"
    windowed: bool = False

    @property
    def gradient(self) -> str:
        """Its colours as CSS."""
        return gradient(self.map)

    @property
    def settings(self) -> dict[str, Any]:
        """What the page's script has to know, fit for JSON."""
        return {key: value for key, value in vars(self).items() if key != "voxels"}


def looks_of(images: CaseImages) -> list[Look]:
    """The volumes of a case in the order of the panels: MR or CBCT, CT, sCT, difference, spread; what there is."""
    found = []
    low, high = SLICE_WINDOW
    if images.image is not None:
        label, voxels = images.id.task.stem.upper(), images.image.voxels
        if label == "MR":  # no fixed scale
            first, last = (int(value) for value in np.percentile(voxels[images.inside], [0.5, 99.5]))
            found.append(Look("image", label, voxels, first, max(last, first + 1), unit=""))
        else:
            found.append(Look("image", label, voxels, low, high, windowed=True))
    if images.ct is not None:
        found.append(Look("ct", "CT", images.ct.voxels, low, high, windowed=True))
    found.append(Look("sct", "sCT", images.sct.voxels, low, high, windowed=True))
    difference = images.difference
    if difference is not None:
        limit = DIFFERENCE_LIMIT
        found.append(Look("difference", "sCT \u2212 CT", difference, -limit, limit, "blue_orange"))
    if images.spread is not None:
        found.append(Look("spread", "spread", images.spread.voxels, 0, SPREAD_LIMIT, "viridis"))
    return found
