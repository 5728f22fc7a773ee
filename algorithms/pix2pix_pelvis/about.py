"""What pix2pix-pelvis is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="pix2pix-pelvis",
    summary="pix2pix: U-Net generator and patch discriminator trained on pairs, 3-D or slices (SynthRAD2023, pelvis).",
    tasks=(Task.MRI,),
    regions=(Region.PELVIS,),
    presets=("full", "slices", "grid", "starter"),
    source="paper 003, section 2.2",
    folder=Path(__file__).parent,
)
