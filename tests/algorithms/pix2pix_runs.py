"""Small settings, cases and interruptions for the tests of pix2pix-pelvis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from algorithms.pix2pix_pelvis.loop import RecipeConfig
from algorithms.pix2pix_pelvis.patches import TrainingCase
from synthct.phantom import make_phantom

__all__ = ["CPU", "NETWORK", "Interrupting", "InterruptionError", "limb", "quiet", "saved", "settings"]

CPU = torch.device("cpu")
NETWORK: dict[str, Any] = {
    "widths": (6, 12),
    "strides": ((1, 2, 2),),
    "kernels": ((1, 3, 3), (3, 3, 3)),
    "norm": "none",
    "discriminator_width": 4,
}


def settings(**changes: Any) -> RecipeConfig:
    preset: dict[str, Any] = {"network": NETWORK, "patch": (4, 16, 16), "learning_rate": 3e-3}
    return RecipeConfig.model_validate(preset | changes)


def limb(seed: int, name: str = "1EXA001") -> TrainingCase:
    phantom = make_phantom("limb", seed=seed, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    image, ct = (volume.voxels.astype(np.float32) / 1000 for volume in (phantom.image, phantom.reference))
    return TrainingCase(name, image, ct, (phantom.mask.voxels > 0).astype(np.float32))


def quiet() -> Progress:
    return Progress(disable=True)


def saved(run_dir: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run_dir / "checkpoint.pt", weights_only=True)
    return state


class InterruptionError(Exception):
    """Stands for a user's Ctrl-C."""


class Interrupting(Progress):
    """Progress that stops the run in the middle of its n-th iteration."""

    def __init__(self, iteration: int) -> None:
        super().__init__(disable=True)
        self._left = iteration

    def update(self, *arguments: Any, **named: Any) -> None:
        self._left -= 1
        if self._left == 0:
            raise InterruptionError
        super().update(*arguments, **named)
