"""What nnresunet-afp is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="nnresunet-afp",
    summary="Residual nnU-Net trained on L1, then on anatomical features too (SynthRAD2025).",
    tasks=(Task.MRI, Task.CBCT),
    regions=(Region.HEAD_NECK, Region.THORAX, Region.ABDOMEN),
    presets=(
        *("l1", "l1-afp", "afp", "nnunet"),
        *("mri-hn", "mri-th", "mri-ab", "cbct-hn", "cbct-th", "cbct-ab"),
        *("starter", "starter-cbct"),
    ),
    source="papers 002 and 000; ALGORITHMS sections 1 and 2.1",
    folder=Path(__file__).parent,
)
