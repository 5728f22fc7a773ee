"""Small settings for the tests of CREPs cGAN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from algorithms.creps_cgan.settings import RecipeConfig
from benchmarks.unpaired import save_random_convnext

__all__ = ["DISCRIMINATOR_SHAPE", "GENERATOR_SHAPE", "save_tiny_convnext", "tiny"]

GENERATOR_SHAPE: dict[str, Any] = {"width": 2, "inner": 4, "blocks": 1}
DISCRIMINATOR_SHAPE: dict[str, Any] = {"width": 2}


def tiny(**changes: Any) -> RecipeConfig:
    """The smallest patch that the discriminator can judge: 24 voxels an axis."""
    preset: dict[str, Any] = {
        "network": GENERATOR_SHAPE,
        "discriminator": DISCRIMINATOR_SHAPE,
        "sampling": {"patch": (24, 24, 24)},
        "batch": 1,
    }
    return RecipeConfig.model_validate(preset | changes)


def save_tiny_convnext(folder: Path, *, slice_step: int) -> Path:
    """An extractor folder: a ConvNeXt of four blocks, whose card says that nobody trained it."""
    shape = {"depths": [1, 1, 1, 1], "widths": [4, 8, 8, 8], "size": 32, "slice_step": slice_step}
    save_random_convnext(folder, shape)
    return folder
