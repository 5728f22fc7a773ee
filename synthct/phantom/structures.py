"""Names for the TotalSegmentator v2 "total" ids that the phantoms use (CONTRACT 3.5)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Structure", "rib", "vertebra"]

# 26 to 50 run from S1 up to C1.
_VERTEBRAE = ["S1", *(f"L{n}" for n in range(5, 0, -1)), *(f"T{n}" for n in range(12, 0, -1))]
_VERTEBRAE += [f"C{n}" for n in range(7, 0, -1)]


class Structure(IntEnum):
    """Ids of single structures; vertebrae and ribs are numbered by `vertebra` and `rib`."""

    SPLEEN = 1
    KIDNEY_RIGHT = 2
    KIDNEY_LEFT = 3
    GALLBLADDER = 4
    LIVER = 5
    STOMACH = 6
    PANCREAS = 7
    LUNG_UPPER_LEFT = 10
    LUNG_LOWER_LEFT = 11
    LUNG_UPPER_RIGHT = 12
    LUNG_MIDDLE_RIGHT = 13
    LUNG_LOWER_RIGHT = 14
    OESOPHAGUS = 15
    TRACHEA = 16
    THYROID = 17
    SMALL_BOWEL = 18
    DUODENUM = 19
    COLON = 20
    BLADDER = 21
    PROSTATE = 22
    SACRUM = 25
    HEART = 51
    AORTA = 52
    SUPERIOR_VENA_CAVA = 62
    INFERIOR_VENA_CAVA = 63
    SCAPULA_LEFT = 71
    SCAPULA_RIGHT = 72
    CLAVICLE_LEFT = 73
    CLAVICLE_RIGHT = 74
    FEMUR_LEFT = 75
    FEMUR_RIGHT = 76
    HIP_LEFT = 77
    HIP_RIGHT = 78
    SPINAL_CORD = 79
    GLUTEUS_MAXIMUS_LEFT = 80
    GLUTEUS_MAXIMUS_RIGHT = 81
    GLUTEUS_MEDIUS_LEFT = 82
    GLUTEUS_MEDIUS_RIGHT = 83
    GLUTEUS_MINIMUS_LEFT = 84
    GLUTEUS_MINIMUS_RIGHT = 85
    AUTOCHTHON_LEFT = 86
    AUTOCHTHON_RIGHT = 87
    ILIOPSOAS_LEFT = 88
    ILIOPSOAS_RIGHT = 89
    BRAIN = 90
    SKULL = 91
    STERNUM = 116
    COSTAL_CARTILAGES = 117


def vertebra(name: str) -> int:
    """Return the id of a vertebra by its name, "S1" to "C1"."""
    return 26 + _VERTEBRAE.index(name)


def rib(number: int, side: int) -> int:
    """Return the id of rib 1 to 12; `side` is +1 for the patient's left, -1 for the right."""
    return (91 if side > 0 else 103) + number
