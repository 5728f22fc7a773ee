"""What ldm-brain is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="ldm-brain",
    summary="Latent diffusion with a ControlNet on the full-resolution MR, for the brain (paper 003).",
    tasks=(Task.MRI,),
    regions=(Region.BRAIN,),
    presets=("brain", "brain-rflow", "starter", "starter-rflow"),
    source="paper 003; ALGORITHMS section 4",
    folder=Path(__file__).parent,
    stages=("autoencoder", "diffusion", "controlnet"),
    options=("sampling.steps", "sampling.eta", "sampling.samples", "sampling.layout", "sampling.blend"),
)
