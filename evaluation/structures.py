"""Names of TotalSegmentator's structures, and which of them are scored in which body region (CONTRACT 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from synthct.anatomy import Region

__all__ = ["GROUPS", "OFFICIAL_REGIONS", "STRUCTURES", "STRUCTURE_NAMES"]

_SIDES = ("left", "right")
_VERTEBRAE = (
    *(f"vertebrae_L{number}" for number in range(5, 0, -1)),
    *(f"vertebrae_T{number}" for number in range(12, 0, -1)),
    *(f"vertebrae_C{number}" for number in range(7, 0, -1)),
)

_NAMES = (
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas"),
    *("adrenal_gland_right", "adrenal_gland_left"),
    *("lung_upper_lobe_left", "lung_lower_lobe_left"),
    *("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    *("esophagus", "trachea", "thyroid_gland", "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate"),
    *("kidney_cyst_left", "kidney_cyst_right", "sacrum", "vertebrae_S1", *_VERTEBRAE),
    *("heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk"),
    *("subclavian_artery_right", "subclavian_artery_left"),
    *("common_carotid_artery_right", "common_carotid_artery_left"),
    *("brachiocephalic_vein_left", "brachiocephalic_vein_right", "atrial_appendage_left"),
    *("superior_vena_cava", "inferior_vena_cava", "portal_vein_and_splenic_vein"),
    *(f"{vessel}_{side}" for vessel in ("iliac_artery", "iliac_vena") for side in _SIDES),
    *(f"{bone}_{side}" for bone in ("humerus", "scapula", "clavicula", "femur", "hip") for side in _SIDES),
    "spinal_cord",
    *(f"gluteus_{part}_{side}" for part in ("maximus", "medius", "minimus") for side in _SIDES),
    *(f"{muscle}_{side}" for muscle in ("autochthon", "iliopsoas") for side in _SIDES),
    *("brain", "skull"),
    *(f"rib_{side}_{number}" for side in _SIDES for number in range(1, 13)),
    *("sternum", "costal_cartilages"),
)

STRUCTURE_NAMES: Mapping[int, str] = MappingProxyType(dict(enumerate(_NAMES, start=1)))
"""Name of each label 1 ... 117 of TotalSegmentator v2, task "total"; 0 is the background."""


def _span(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


_SPINE = _span(26, 50)
_TRUNK = (2, 3, 5, 6, *_span(10, 14), *_SPINE, 51, 79, *_span(92, 116))
_NECK = (15, 16, 17, *_SPINE, 79, 90, 91)

# Ours, not the challenge's: what a pelvis CT of 2023 shows, from the iliac crest to the upper thighs.
_PELVIS = (18, 20, 21, 22, *_span(25, 29), *_span(65, 68), *_span(75, 78), *_span(80, 89))
# Ours: a brain CT of 2023 ends at the upper neck.
_BRAIN = (49, 50, 79, 90, 91)
# Ours: all of "total" that lies in limbs, shoulder and hip girdle included; forearm and lower leg are not in it.
_EXTREMITY = (*_span(69, 78), *_span(80, 85), 88, 89)

STRUCTURES: Mapping[Region, tuple[int, ...]] = MappingProxyType(
    {
        Region.ABDOMEN: _TRUNK,
        Region.THORAX: _TRUNK,
        Region.HEAD_NECK: _NECK,
        Region.PELVIS: _PELVIS,
        Region.BRAIN: _BRAIN,
        Region.EXTREMITY: _EXTREMITY,
    }
)
"""Labels that are scored in a region, ascending. AB, TH and HN are the challenge's, the others our own choice."""

OFFICIAL_REGIONS = (Region.ABDOMEN, Region.THORAX, Region.HEAD_NECK)
"""Regions whose list is the one of SynthRAD2025's evaluation; 2023 scored no structures."""

# The paper on anatomical features reports bones, lobes, and "muscles and organs outside the lungs". It names no label.
# Our choice puts every label into exactly one group. Heart and vessels count as organs: left out, they would be in no
# column. Costal cartilage counts as bone: the package keeps it with the ribs too, and it shows on CT as they do.
_BONES = (*_span(25, 50), *_span(69, 78), *_span(91, 117))
_MUSCLES = _span(80, 89)
_LOBES = _span(10, 14)

GROUPS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "bones": _BONES,
        "muscles": _MUSCLES,
        "organs": tuple(label for label in STRUCTURE_NAMES if label not in {*_BONES, *_MUSCLES, *_LOBES}),
        "lobes": _LOBES,
    }
)
"""Labels by kind of tissue, ascending; every label stands in exactly one group."""
