"""The moving average of a run's weights, which is steadier than the weights themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["WeightAverage", "evaluating"]


class WeightAverage:
    """Copies of networks that follow them.

    Args:
        networks: by name, on their device. They are copied as they stand, and never changed.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.networks = {name: copy.deepcopy(network).requires_grad_(False) for name, network in networks.items()}

    @torch.no_grad()
    def follow(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        """Set each weight to decay * average + (1 - decay) * weight.

        So are batch norm's running statistics: those of the newest weights do not fit older ones. Counters are taken as
        they are.
        """
        for name, average in self.networks.items():
            for slow, fast in zip(average.parameters(), networks[name].parameters(), strict=True):
                slow.lerp_(fast, 1.0 - decay)
            for kept, current in zip(average.buffers(), networks[name].buffers(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(current, 1.0 - decay)
                else:
                    kept.copy_(current)


@contextmanager
def evaluating(networks: Mapping[str, nn.Module]) -> Iterator[Mapping[str, nn.Module]]:
    """Yield the networks in evaluation mode, without gradients; then each sub-module is as it was."""
    modes = {module: module.training for network in networks.values() for module in network.modules()}
    for network in networks.values():
        network.eval()
    try:
        with torch.no_grad():
            yield networks
    finally:
        for module, mode in modes.items():
            module.training = mode
