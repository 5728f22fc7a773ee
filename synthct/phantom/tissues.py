"""What the phantoms are made of: each tissue's CT value and T1-like MR value.

The MR scale is that of fat-normalised T1 images of limbs (subcutaneous fat about 930). Air and compact bone are both
dark, which is the ambiguity that makes MR to CT hard.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["TISSUES", "Tissue", "TissueValues", "values_per_tissue"]


class Tissue(IntEnum):
    """Index of a tissue in the tissue map."""

    OUTSIDE = 0
    AIR = 1
    LUNG = 2
    SKIN = 3
    FAT = 4
    MUSCLE = 5
    SEPTUM = 6
    FLUID = 7
    BLOOD = 8
    COMPACT = 9
    SPONGY = 10
    MARROW = 11
    TOOTH = 12
    CARTILAGE = 13
    TUMOUR = 14
    NECROSIS = 15
    GREY = 16
    WHITE = 17
    LIVER = 18
    SPLEEN = 19
    KIDNEY = 20
    PANCREAS = 21
    ORGAN = 22
    BOWEL = 23
    CONTENTS = 24
    MYOCARDIUM = 25
    VISCERAL_FAT = 26


class TissueValues(NamedTuple):
    """Mean and texture (standard deviation of the fine, smooth variation) of one tissue in CT (HU) and MR."""

    hu: float
    hu_texture: float
    mr: float
    mr_texture: float


TISSUES: dict[Tissue, TissueValues] = {
    Tissue.OUTSIDE: TissueValues(-1000, 0, 0, 0),
    Tissue.AIR: TissueValues(-1000, 0, 0, 0),
    Tissue.LUNG: TissueValues(-810, 35, 45, 12),
    Tissue.SKIN: TissueValues(30, 8, 350, 20),
    Tissue.FAT: TissueValues(-100, 8, 930, 35),
    Tissue.MUSCLE: TissueValues(55, 8, 320, 18),
    Tissue.SEPTUM: TissueValues(-70, 12, 800, 50),
    Tissue.FLUID: TissueValues(10, 3, 200, 8),
    Tissue.BLOOD: TissueValues(45, 4, 230, 12),
    Tissue.COMPACT: TissueValues(1300, 60, 40, 6),
    Tissue.SPONGY: TissueValues(310, 70, 560, 60),
    Tissue.MARROW: TissueValues(-15, 25, 880, 35),
    Tissue.TOOTH: TissueValues(1900, 80, 25, 4),
    Tissue.CARTILAGE: TissueValues(85, 10, 290, 18),
    Tissue.TUMOUR: TissueValues(42, 8, 410, 35),
    Tissue.NECROSIS: TissueValues(20, 4, 250, 15),
    Tissue.GREY: TissueValues(38, 3, 400, 10),
    Tissue.WHITE: TissueValues(29, 3, 480, 10),
    Tissue.LIVER: TissueValues(60, 5, 430, 14),
    Tissue.SPLEEN: TissueValues(50, 4, 340, 12),
    Tissue.KIDNEY: TissueValues(36, 5, 370, 16),
    Tissue.PANCREAS: TissueValues(42, 12, 440, 35),
    Tissue.ORGAN: TissueValues(45, 6, 350, 18),
    Tissue.BOWEL: TissueValues(40, 8, 350, 18),
    Tissue.CONTENTS: TissueValues(30, 45, 300, 70),
    Tissue.MYOCARDIUM: TissueValues(52, 4, 380, 15),
    Tissue.VISCERAL_FAT: TissueValues(-95, 10, 900, 50),
}


def values_per_tissue(column: str) -> npt.NDArray[np.float32]:
    """Return one column of the table as an array indexed by tissue."""
    return np.array([getattr(TISSUES[tissue], column) for tissue in Tissue], dtype=np.float32)
