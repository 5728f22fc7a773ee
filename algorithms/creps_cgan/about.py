"""What creps-cgan is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="creps-cgan",
    summary="Unpaired 3-D GAN with a ConvNeXt style loss and the upper median of overlapping patches (SynthRAD2023).",
    tasks=(Task.MRI,),
    regions=(Region.PELVIS, Region.BRAIN),
    presets=("pelvis", "brain", "starter"),
    source="paper 001; ALGORITHMS section 3",
    folder=Path(__file__).parent,
)
