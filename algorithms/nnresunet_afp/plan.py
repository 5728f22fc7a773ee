"""The size of a preset's network, counted on the meta device: no memory is allocated."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from algorithms.nnresunet_afp.settings import PlannerSettings, RecipeConfig
from synthct.networks.unet import UNetPlan, build_unet

__all__ = ["describe"]


def describe(settings: dict[str, Any]) -> tuple[int, tuple[int, int, int] | None]:
    """Return (number of parameters, inference patch (z, y, x)) of a preset.

    Where the data decide on the network, the count is that of the plan for 3 x 1 x 1 mm, and no patch is told.
    """
    config = RecipeConfig.model_validate(settings)
    planner = config.planner
    told = config.plan or planner
    return _parameters(told.network or _usual_network(planner)), told.patch


@cache
def _parameters(network: UNetPlan) -> int:
    """Number of parameters; many presets share a network."""
    with torch.device("meta"):
        built = build_unet(network)
    return sum(parameter.numel() for parameter in built.parameters())


def _usual_network(planner: PlannerSettings) -> UNetPlan:
    """The plan for 3 x 1 x 1 mm, with what the settings say of the network."""
    stages = len(UNetPlan().features)
    return UNetPlan(
        kind=planner.kind,
        upsampling=planner.upsampling,
        encoder_blocks=planner.encoder_blocks,
        decoder_blocks=planner.decoder_blocks,
        features=tuple(min(planner.max_features, planner.base_features << stage) for stage in range(stages)),
    )
