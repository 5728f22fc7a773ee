"""Everything of a run that one iteration changes: networks, their average, optimisers, loss scalers, what was best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synthct.errors import WeightsError
from synthct.inference.channels_last import lay_channels_last
from synthct.networks.state import fill_network, own_tensors
from synthct.training.averaging import WeightAverage
from synthct.training.objective import Objective
from synthct.training.processes import broadcast_tensors
from synthct.training.settings import LoopSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Best", "TrainingState", "Turn", "Weights", "prepare_state", "weights_of"]

Weights = dict[str, dict[str, Tensor]]


class Turn:
    """One optimiser, the networks that it trains, and its loss scaler.

    Attributes:
        networks: names of the networks.
        optimiser: as the objective made it.
        stepper: the same, as Fabric steps it.
        scaler: of this turn's loss; None but for 16-mixed.
        parameters: of its networks.
    """

    def __init__(
        self, networks: tuple[str, ...], optimiser: Optimizer, modules: Mapping[str, nn.Module], fabric: Fabric
    ) -> None:
        self.networks = networks
        self.optimiser = optimiser
        self.stepper: Any = fabric.setup_optimizers(optimiser)
        self.modules = nn.ModuleList(modules[name] for name in networks)
        self.parameters = list(self.modules.parameters())
        self._rates = [float(group["lr"]) for group in optimiser.param_groups]
        self._plugin: Any = fabric.strategy.precision
        self.scaler = None
        if getattr(self._plugin, "scaler", None) is not None:
            self.scaler = torch.amp.GradScaler(fabric.device.type)

    def begin(self) -> None:
        """Forget gradients, also those that another turn's loss left here."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.scaler is not None:
            self._plugin.scaler = self.scaler  # one scaler for all would take one turn's overflow for the other's

    def set_rate(self, factor: float) -> float:
        """Set every learning rate to its own times a factor; returns the first."""
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        return self._rates[0] * factor

    @property
    def may_overflow(self) -> bool:
        """Whether a loss that is not finite may still be cured by a smaller scale."""
        return self.scaler is not None and self.scaler.get_scale() >= 1.0


@dataclass
class Best:
    """The weights that validated best, on the CPU; without validation nothing is kept until the end."""

    score: float | None = None
    iteration: int = 0
    weights: Weights = field(default_factory=dict)

    def offer(self, score: float, iteration: int, networks: Mapping[str, nn.Module]) -> None:
        """Keep the networks' weights if their score is the lowest so far; one that is not finite never is."""
        if math.isfinite(score) and (self.score is None or score < self.score):
            self.score, self.iteration, self.weights = score, iteration, weights_of(networks)


@dataclass
class TrainingState:
    """What a checkpoint must hold, but for the random state.

    Attributes:
        networks: by name, on the run's device.
        turns: by name.
        average: None where the settings keep none.
        best: so far.
        iteration: iterations done.
        validated: the last iteration that was validated.
    """

    networks: dict[str, nn.Module]
    turns: dict[str, Turn]
    average: WeightAverage | None
    best: Best = field(default_factory=Best)
    iteration: int = 0
    validated: int = 0

    @property
    def judged(self) -> dict[str, nn.Module]:
        """The networks that are validated and kept: the average where there is one."""
        return self.networks if self.average is None else self.average.networks

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values alone, so that no code needs to be run to read them back."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "average": {name: network.state_dict() for name, network in self.average.networks.items()}
            if self.average is not None
            else {},
            "optimisers": {name: turn.optimiser.state_dict() for name, turn in self.turns.items()},
            "scalers": {name: turn.scaler.state_dict() for name, turn in self.turns.items() if turn.scaler},
            "best": {"score": self.best.score, "iteration": self.best.iteration, "weights": self.best.weights},
            "iteration": self.iteration,
            "validated": self.validated,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Fill everything from what state_dict returned.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: it belongs to other networks or optimisers.
        """
        _require_names(saved["networks"], self.networks)
        _require_names(saved["optimisers"], self.turns)
        for name, network in self.networks.items():
            network.load_state_dict(saved["networks"][name])
        if self.average is not None:
            for name, network in self.average.networks.items():
                network.load_state_dict(saved["average"][name])
        for name, turn in self.turns.items():
            turn.optimiser.load_state_dict(saved["optimisers"][name])
            if turn.scaler is not None:
                turn.scaler.load_state_dict(saved["scalers"][name])
        self.best = Best(**saved["best"])
        self.iteration, self.validated = saved["iteration"], saved["validated"]


def prepare_state(
    objective: Objective,
    settings: LoopSettings,
    fabric: Fabric,
    initial: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> TrainingState:
    """Build a run's networks and optimisers from its seed, alike on every process.

    Args:
        objective: builds them.
        settings: seed, and whether an average is kept.
        fabric: device and processes.
        initial: weights of some networks, by the network's name.

    Raises:
        WeightsError: `initial` does not fit.
    """
    torch.manual_seed(settings.seed)
    networks = objective.networks()
    for name, weights in (initial or {}).items():
        if name not in networks:
            raise WeightsError(f"initial weights are for a network '{name}'; expected one of {', '.join(networks)}")
        fill_network(networks[name], weights, f"initial weights (--init) of the network '{name}'")
    for network in networks.values():
        fabric.to_device(network)
        broadcast_tensors([*network.parameters(), *network.buffers()], fabric)
        lay_channels_last(network)
        network.train()
    turns = {
        name: Turn(trained, optimiser, networks, fabric)
        for name, (trained, optimiser) in objective.optimisers(networks).items()
    }
    # From here on each process draws its own random numbers: dropout must differ between the halves of a batch.
    torch.manual_seed((settings.seed << 16) + 1 + fabric.global_rank)
    return TrainingState(networks, turns, WeightAverage(networks) if settings.ema else None)


def weights_of(networks: Mapping[str, nn.Module]) -> Weights:
    """Copy the networks' weights to the CPU."""
    return {
        name: {key: tensor.cpu().clone() for key, tensor in own_tensors(network).items()}
        for name, network in networks.items()
    }


def _require_names(saved: Mapping[str, object], expected: Mapping[str, object]) -> None:
    if set(saved) != set(expected):
        raise ValueError(f"it holds {', '.join(saved)}; expected {', '.join(expected)}")
