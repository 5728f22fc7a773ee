"""Small settings for the tests of CREPs cGAN."""

from __future__ import annotations

from typing import Any

from algorithms.creps_cgan.settings import RecipeConfig

__all__ = ["DISCRIMINATOR_SHAPE", "GENERATOR_SHAPE", "tiny"]

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
