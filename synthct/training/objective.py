"""What an algorithm hands to the training loop, and what the loop hands back: protocols, and the networks in use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Batch", "BatchSource", "BatchStream", "CaseScore", "Network", "Networks", "Objective", "Validation"]

FloatArray = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """One micro-batch; each tensor is (batch, 1, z, y, x) float32."""

    image: Tensor
    reference: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; from pinned memory the copy overlaps with computing."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class BatchStream(Protocol):
    """Micro-batches without end, in an order that is fixed before the first is drawn."""

    seconds_waited: float
    """Time that the loop has spent waiting in `__next__`, in all."""

    def __next__(self) -> Batch: ...


class BatchSource(Protocol):
    """Where batches come from."""

    def stream(self, first: int, *, rank: int, world: int) -> AbstractContextManager[BatchStream]:
        """Open the run's stream at one place.

        Args:
            first: index of the first micro-batch wanted, iteration * accumulation. What is drawn depends on the index
                alone, never on what was drawn before: that is what makes a resumed run exact.
            rank: this process's number.
            world: number of processes; together they draw what one would draw with a batch `world` times as large.
        """
        ...


class Network:
    """A network as an objective calls it: under the run's precision, with float32 results.

    Attributes and methods of the module can be reached too; its own methods (`encode`, `decode`) run like a call.
    """

    def __init__(self, module: nn.Module, fabric: Fabric) -> None:
        self.module = module
        self._fabric = fabric

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Run the module's forward pass."""
        return self._precise(self.module)(*args, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self.module, name)
        return self._precise(value) if inspect.ismethod(value) and not hasattr(nn.Module, name) else value

    def _precise(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            with self._fabric.autocast():
                result = function(*args, **options)
            return self._fabric.strategy.precision.convert_output(result)

        return call


class Networks(Mapping[str, Network]):
    """The run's networks by name: `nets["generator"](image)`.

    No network is wrapped for several processes: the loop averages the gradients of a turn itself once they are whole
    (synthct.training.processes). So a network may run several times, or in another's turn, before one backward pass.
    """

    def __init__(self, modules: Mapping[str, nn.Module], fabric: Fabric) -> None:
        self._networks = {name: Network(module, fabric) for name, module in modules.items()}

    def __getitem__(self, name: str) -> Network:
        return self._networks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)

    @contextmanager
    def frozen(self, name: str) -> Iterator[Network]:
        """Yield a network whose weights take no gradient, as a GAN's discriminator in the generator's turn."""
        network = self._networks[name]
        wanted = {parameter: parameter.requires_grad for parameter in network.module.parameters()}
        for parameter in wanted:
            parameter.requires_grad_(False)
        try:
            yield network
        finally:
            for parameter, flag in wanted.items():
                parameter.requires_grad_(flag)


class Objective(Protocol):
    """What is trained, and on which loss."""

    def networks(self) -> dict[str, nn.Module]:
        """Build the networks, on the CPU; called once, after the run's seed was set."""
        ...

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], Optimizer]]:
        """Return the turns: name -> (names of the networks that it trains, their optimiser).

        The optimisers' learning rates are those that the schedule scales.
        """
        ...

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield (turn, loss to minimise, scalars for the log) once a turn, in the order of the turns.

        Between two yields the loop has run backward and stepped that turn's optimiser, so what one turn computed (a
        synthetic CT, say) can be used by the next as it is. Names of scalars are to differ between turns. A loss is
        to be a mean over the batch, so that processes and micro-batches add up to a larger batch.
        """
        ...


class CaseScore(NamedTuple):
    """One validation case.

    Attributes:
        values: by name; the mean of the first over the cases decides what is best, lower is better. Others may be
            missing where a case has none; their means are over those that have.
        images: by title, (y, x) float32 in 0..1, for TensorBoard.
    """

    values: dict[str, float]
    images: dict[str, FloatArray]


class Validation(Protocol):
    """Judges the networks on whole cases."""

    @property
    def cases(self) -> Sequence[str]:
        """Ids of the cases."""
        ...

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Judge one case.

        Args:
            nets: plain modules in evaluation mode, holding the moving average where the run keeps one.
            index: place in `cases`.
        """
        ...
