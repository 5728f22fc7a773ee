"""Making patch and network fit each other, the median case and the memory (ALGORITHMS 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from synthct.errors import UsageError
from synthct.networks.unet import UNetPlan
from synthct.planning.memory import feature_map_limit, feature_map_voxels
from synthct.planning.topology import Floats, Topology, Triple, initial_patch, longest_axis, make_topology, shrink

__all__ = ["Fit", "Room", "fit_fixed", "fit_patch", "fit_topology"]


@dataclass(frozen=True)
class Room:
    """What a patch has to fit into.

    Attributes:
        spacing: mm, of the network's grid.
        median: voxels of the median case on that grid.
        gpu_memory_gb: memory of training, in nnU-Net's measure.
    """

    spacing: Floats
    median: Floats
    gpu_memory_gb: float


@dataclass(frozen=True)
class Fit:
    """A patch and a network that fit each other.

    Attributes:
        patch: edges, a multiple of the network's strides.
        network: shape of the network.
    """

    patch: Triple
    network: UNetPlan

    @property
    def needed(self) -> int:
        """Feature-map voxels of one patch."""
        return feature_map_voxels(self.network, self.patch)

    def fits(self, room: Room) -> bool:
        """Tell whether two patches a step fit into the memory."""
        return self.needed <= feature_map_limit(self.network.kind, room.gpu_memory_gb)


def fit_topology(room: Room, network_of: Callable[[Topology], UNetPlan]) -> Fit:
    """Find patch and network together: nnU-Net's rule.

    Raises:
        UsageError: no patch fits, or the median case is too small to be pooled.
    """
    topology = make_topology(room.spacing, initial_patch(room.spacing, room.median))
    while not (fit := _fit(topology, room, network_of)).fits(room):
        smaller = shrink(topology, room.spacing, room.median)
        if smaller is None:
            raise _no_room(room)
        topology = smaller
    return fit


def fit_patch(room: Room, network: UNetPlan) -> Fit:
    """Find the patch for a network that is told, by the same rule with its strides.

    Raises:
        UsageError: no patch fits.
    """
    steps = network.multiple
    start = initial_patch(room.spacing, room.median)
    patch = [step * math.ceil(edge / step) for edge, step in zip(start, steps, strict=True)]
    while not (fit := Fit((patch[0], patch[1], patch[2]), network)).fits(room):
        axis = longest_axis(fit.patch, room.spacing, room.median)
        patch[axis] -= steps[axis]
        if patch[axis] <= 0:
            raise _no_room(room)
    return fit


def fit_fixed(patch: Triple, network: UNetPlan | None, room: Room, network_of: Callable[[Topology], UNetPlan]) -> Fit:
    """Take a patch that is told, whatever memory it needs, and the network that is told or follows from it.

    Raises:
        UsageError: the patch is no multiple of the network's strides.
    """
    if network is None:
        topology = make_topology(room.spacing, patch)
        network = _fit(topology, room, network_of).network
    if any(edge % step for edge, step in zip(patch, network.multiple, strict=True)):
        raise UsageError(
            f"patch {_by(patch)} (z, y, x) is no multiple of {_by(network.multiple)}, the product of the network's "
            "strides; expected one"
        )
    return Fit(patch, network)


def _fit(topology: Topology, room: Room, network_of: Callable[[Topology], UNetPlan]) -> Fit:
    if len(topology.strides) < 2:
        raise UsageError(
            f"no U-Net fits a patch of {_by(topology.patch)} voxels (z, y, x; median case {_by(room.median)}, "
            f"{room.gpu_memory_gb:g} GB); expected larger images or more memory"
        )
    return Fit(topology.patch, network_of(topology))


def _no_room(room: Room) -> UsageError:
    return UsageError(f"{room.gpu_memory_gb:g} GB hold no patch of this network; expected more memory")


def _by(edges: tuple[int, ...] | tuple[float, ...]) -> str:
    return " x ".join(f"{edge:g}" for edge in edges)
