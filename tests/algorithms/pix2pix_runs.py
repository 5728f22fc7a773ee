"""Small settings for the tests of pix2pix-pelvis."""

from __future__ import annotations

from typing import Any

import torch
from rich.progress import Progress

from algorithms.pix2pix_pelvis.settings import RecipeConfig

__all__ = ["CPU", "NETWORK", "quiet", "settings"]

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
