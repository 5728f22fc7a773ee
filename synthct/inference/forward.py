"""One batch of windows through the networks: layout, precision, mirroring, and smaller parts where memory is short."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations
from weakref import WeakSet

import torch
from torch import Tensor, nn

from synthct.errors import SynthCTError, UsageError
from synthct.inference.channels_last import ChannelsLastLayers, lay_channels_last
from synthct.inference.precision import AUTOCAST_TYPES, UsedPrecision
from synthct.memory import is_out_of_memory

__all__ = ["WindowPredictor", "prepare", "require_networks"]

_laid_out: WeakSet[nn.Module] = WeakSet()
"""Networks whose weights lie channels last already."""


def require_networks(networks: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """Return one network or several as a list; what would fail or answer at random in a sweep is refused.

    Raises:
        UsageError: no network, a ModuleList or ModuleDict (which calculates nothing itself), or a network of which a
            part is in training mode: dropout would make each prediction another.
    """
    container = (nn.ModuleList, nn.ModuleDict)
    members = [networks] if isinstance(networks, nn.Module) else list(networks)
    if not members:
        raise UsageError("a sweep was given 0 networks; expected at least one")
    for member in members:
        name = type(member).__name__
        if isinstance(member, container):
            raise UsageError(f"a sweep was given a {name}; expected a network, or a plain list of networks")
        for part, module in member.named_modules():
            if getattr(module, "training", False):  # a frozen script has no modes
                where = f"{name}.{part}" if part else name
                raise UsageError(f"a sweep was given a network in training mode ({where}); expected it after .eval()")
    return members


def prepare(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to the device and lay its 3-d convolutions' weights out channels last, once per network."""
    network.to(device)
    if network not in _laid_out:
        lay_channels_last(network)
        _laid_out.add(network)
    return network


class WindowPredictor:
    """Networks on a device, as a function of batches.

    Attributes:
        part: windows that go through a network at once; halved, and kept so, where memory does not suffice.
        redone: predictions that were not finite in the lower precision and were made again in fp32.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        device: torch.device,
        precision: UsedPrecision,
        mirror_axes: Sequence[int],
        part: int,
    ) -> None:
        self._networks = networks
        self._device = device
        self._precision = precision
        self._flips = [flip for count in range(1, len(mirror_axes) + 1) for flip in combinations(mirror_axes, count)]
        self.part = part
        self.redone = 0

    def __call__(self, batch: Tensor) -> Tensor:
        """Predict (n, channels, z, y, x) on the device; returns (n, networks, z, y, x) float32 there.

        Raises:
            RuntimeError: not even one window at a time fits into memory (`is_out_of_memory` tells it from others).
            SynthCTError: a network's answer is no tensor, or has another shape than (n, 1, z, y, x).
        """
        while True:
            redone = self.redone
            try:
                return torch.cat([self._predict(part) for part in batch.split(self.part)])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or min(self.part, len(batch)) == 1:
                    raise
            # Here the error, which holds the activations by its traceback, is gone.
            self.redone = redone
            self.part = max(1, min(self.part, len(batch)) // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _predict(self, batch: Tensor) -> Tensor:
        layout = ChannelsLastLayers() if self._device.type == "cpu" else nullcontext()
        with torch.inference_mode(), layout:
            return torch.stack([self._finite(network, batch) for network in self._networks], dim=1)

    def _finite(self, network: nn.Module, batch: Tensor) -> Tensor:
        """Predict with one network; windows that come back non-finite are made again in fp32."""
        predictions = self._mirrored(network, batch, self._precision)
        if self._precision != "fp32":
            broken = ~predictions.isfinite().flatten(1).all(1)
            count = int(broken.count_nonzero())
            if count:
                predictions[broken] = self._mirrored(network, batch[broken], "fp32")
                self.redone += count
        return predictions

    def _mirrored(self, network: nn.Module, batch: Tensor, precision: UsedPrecision) -> Tensor:
        """The mean over all combinations of flips, (n, z, y, x) float32."""
        total = self._once(network, batch.clone(), precision)
        for flip in self._flips:
            mirrored = self._once(network, batch.flip([axis + 2 for axis in flip]), precision)  # flip copies
            total += mirrored.flip([axis + 1 for axis in flip])
        return total.div_(len(self._flips) + 1)

    def _once(self, network: nn.Module, batch: Tensor, precision: UsedPrecision) -> Tensor:
        """Run the network on windows that it may overwrite."""
        dtype = AUTOCAST_TYPES.get(precision)
        with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
            output: object = network(batch.to(memory_format=torch.channels_last_3d))
        expected = (len(batch), 1, *batch.shape[2:])
        if not isinstance(output, Tensor):
            raise SynthCTError(
                f"the network answered with a {type(output).__name__}; expected one tensor of shape {expected} (deep "
                "supervision has to be off)"
            )
        if tuple(output.shape) != expected:
            raise SynthCTError(f"the network answered with shape {tuple(output.shape)}; expected {expected}")
        return output[:, 0].to(torch.float32, copy=True)  # a network may answer with a view, or with its own buffer
