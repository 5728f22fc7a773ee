"""Fingerprints without a data set: cases of given spacings and shapes, with a few intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthct.anatomy import Region, Task
from synthct.planning.fingerprint import Fingerprint
from synthct.planning.intensities import Intensities

__all__ = ["ASSUMED", "Floats", "Triple", "figures", "uniform"]

Triple = tuple[int, int, int]
Floats = tuple[float, float, float]

ASSUMED: dict[str, tuple[Floats, Triple, Triple]] = {
    "AB": ((3.0, 1.0, 1.0), (90, 270, 390), (56, 160, 224)),
    "TH": ((3.0, 1.0, 1.0), (95, 280, 460), (48, 160, 256)),
    "HN": ((3.0, 1.0, 1.0), (90, 230, 250), (64, 160, 192)),
    "brain": ((1.0, 1.0, 1.0), (200, 240, 190), (128, 160, 112)),
    "pelvis": ((2.5, 1.0, 1.0), (100, 350, 500), (48, 160, 256)),
}
"""Median cases like SynthRAD's (spacing, shape), and the patch that nnU-Net makes for them (ALGORITHMS 1.4)."""


def figures(spacings: Sequence[Floats], shapes: Sequence[Triple], task: Task = Task.MRI) -> Fingerprint:
    hu = Intensities.of(np.arange(-1000, 1000))
    return Fingerprint(
        task=task, regions=(Region.ABDOMEN,), spacings=tuple(spacings), shapes=tuple(shapes), ct=hu, image=hu
    )


def uniform(spacing: Floats, shape: Triple, cases: int = 40) -> Fingerprint:
    return figures([spacing] * cases, [shape] * cases)
