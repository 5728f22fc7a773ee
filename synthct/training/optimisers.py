"""Optimisers in the form that an objective returns them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["one_each"]


def one_each(
    nets: Mapping[str, nn.Module], make: Callable[[str, Iterator[nn.Parameter]], Optimizer]
) -> dict[str, tuple[tuple[str, ...], Optimizer]]:
    """Give each network a turn of its own name and an optimiser of its own, as a GAN has it.

    Args:
        nets: by name, in the order of the turns' names.
        make: from a network's name and its parameters to the optimiser.

    Returns:
        What `Objective.optimisers` returns: turn -> ((network,), optimiser).
    """
    return {name: ((name,), make(name, net.parameters())) for name, net in nets.items()}
