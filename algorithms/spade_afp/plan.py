"""The size of a preset's generator, counted on the meta device: no memory is allocated."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from algorithms.spade_afp.network import GeneratorConfig, build_generator
from algorithms.spade_afp.settings import RecipeConfig

__all__ = ["describe"]


def describe(settings: dict[str, Any]) -> tuple[int, tuple[int, int, int] | None]:
    """Return (number of generator parameters, inference patch (z, y, x)) of a preset."""
    config = RecipeConfig.model_validate(settings)
    return _parameters(config.generator), config.windows.patch


@cache
def _parameters(generator: GeneratorConfig) -> int:
    """Number of parameters as they are saved, without spectral norm's vectors; presets share generators."""
    with torch.device("meta"):
        built = build_generator(generator, spectral_norm=False)
    return sum(parameter.numel() for parameter in built.parameters())
