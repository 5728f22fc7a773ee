"""The size of a preset's generator, counted on the meta device: no memory is allocated."""

from __future__ import annotations

from typing import Any

import torch

from algorithms.creps_cgan.network import Generator
from algorithms.creps_cgan.settings import RecipeConfig

__all__ = ["describe"]


def describe(settings: dict[str, Any]) -> tuple[int, tuple[int, int, int] | None]:
    """Return (number of generator parameters, inference patch (z, y, x)) of a preset."""
    config = RecipeConfig.model_validate(settings)
    with torch.device("meta"):
        generator = Generator(config.network)
    return sum(parameter.numel() for parameter in generator.parameters()), config.windows.patch
