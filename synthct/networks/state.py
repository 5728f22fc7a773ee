"""A network's tensors, each by one name, and filling a network with them.

A network of dynamic-network-architectures lists its weights several times: `all_modules` repeats each convolution and
`decoder.encoder` the whole encoder. A file that holds each by one name is a third as large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from synthct.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["fill_network", "own_tensors", "require_fit"]


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters and buffers, each by one name; detached, memory shared with the network."""
    return {
        name: tensor.detach()
        for named in (network.named_parameters(), network.named_buffers())
        for name, tensor in named
    }


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a network; every weight must get one, and each must be the network's.

    Args:
        network: to be filled.
        tensors: by name; a second name of a weight (`all_modules`, `decoder.encoder`) is passed over.
        where: the file, for messages.

    Raises:
        WeightsError: a tensor is missing, has another shape, or belongs to no weight.
    """
    import torch

    _require_own(network, tensors, where)
    with torch.no_grad():
        for name, target in own_tensors(network).items():
            target.copy_(tensors[name])


def require_fit(build: Callable[[], nn.Module], tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that are not a network's, before the network takes any memory.

    A file may declare a network of any size. Here it is built without memory (torch's meta device) and compared.

    Args:
        build: makes the network.
        tensors: as for `fill_network`.
        where: the file, for messages.

    Raises:
        WeightsError: as for `fill_network`.
    """
    import torch

    with torch.device("meta"):
        network = build()
    _require_own(network, tensors, where)


def _require_own(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    wanted = own_tensors(network)
    names = network.state_dict().keys()
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise WeightsError(f"{where}: holds no {missing[0]} ({len(missing)} missing); expected it for this network")
    foreign = [name for name in tensors if name not in names]
    if foreign:
        raise WeightsError(f"{where}: holds {foreign[0]} ({len(foreign)} such), which this network has not")
    for name, target in wanted.items():
        given = tensors[name]
        if given.shape != target.shape:
            raise WeightsError(
                f"{where}: {name} has shape {tuple(given.shape)}; expected {tuple(target.shape)} for this network"
            )
        if given.is_floating_point() != target.is_floating_point():
            raise WeightsError(f"{where}: {name} holds {given.dtype}; expected {target.dtype} for this network")
