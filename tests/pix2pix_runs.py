"""Small settings and cases for the tests of pix2pix-pelvis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from algorithms.pix2pix_pelvis.settings import RecipeConfig
from synthct.phantom import make_phantom
from synthct.volume import write_volume

__all__ = ["CPU", "NETWORK", "quiet", "save_case", "settings"]

CPU = torch.device("cpu")
NETWORK: dict[str, Any] = {
    "widths": (6, 12),
    "strides": ((1, 2, 2),),
    "kernels": ((1, 3, 3), (3, 3, 3)),
    "norm": "none",
    "discriminator_width": 4,
}


def settings(**changes: Any) -> RecipeConfig:
    preset: dict[str, Any] = {"network": NETWORK, "sampling": {"patch": (4, 16, 16)}, "learning_rate": 3e-3}
    return RecipeConfig.model_validate(preset | changes)


def quiet() -> Progress:
    return Progress(disable=True)


def save_case(root: Path, name: str, seed: int) -> Path:
    """Write a limb phantom."""
    folder = root / name
    folder.mkdir(parents=True)
    phantom = make_phantom("limb", seed=seed, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    write_volume(phantom.image, folder / "mr.mha")
    write_volume(phantom.mask, folder / "mask.mha")
    write_volume(phantom.reference, folder / "ct.mha")
    return folder
