"""The size of a preset's three networks, counted on the meta device: no memory is allocated."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from algorithms.ldm_brain.networks import LdmConfig, build_networks
from algorithms.ldm_brain.settings import RecipeConfig

__all__ = ["describe"]


def describe(settings: dict[str, Any]) -> tuple[int, tuple[int, int, int] | None]:
    """Return (number of parameters of all three networks, which predict together; patch (z, y, x)) of a preset."""
    config = RecipeConfig.model_validate(settings)
    return _parameters(config.networks), config.patches.patch


@cache
def _parameters(networks: LdmConfig) -> int:
    """Number of parameters; presets share networks."""
    with torch.device("meta"):
        built = build_networks(networks)
    return sum(parameter.numel() for parameter in built.parameters())
