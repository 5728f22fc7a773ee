"""What spade-afp is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="spade-afp",
    summary="3-D SPADE and pix2pixHD GANs: hinge, feature matching, L1 and anatomical features (paper 000).",
    tasks=(Task.MRI,),
    regions=(Region.THORAX, Region.PELVIS),
    presets=(
        *("spade", "spade-l1-afp", "spade-afp"),
        *("pix2pixhd", "pix2pixhd-l1-afp"),
        *("starter", "starter-pix2pixhd"),
    ),
    source="paper 000, section 3.3; ALGORITHMS sections 2.2 and 2.3",
    folder=Path(__file__).parent,
)
