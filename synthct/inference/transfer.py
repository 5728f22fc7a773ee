"""Between the volume on the CPU and the device: batches of windows up, finished rows down, overlapped with compute.

The CUDA paths use pinned memory, copies that do not block, and one side stream, so that a copy runs while the network
works on the batch before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["Landing", "batches"]

Triple = tuple[int, int, int]


class Landing:
    """Where finished rows of a volume are put together, on the CPU.

    Attributes:
        shape: of the volume, (z, y, x).
        air: value of voxels that no window covers.
        values: (z, y, x) float32.
        spread: (z, y, x) float32, or None where it is not wanted; 0 where no window went.
    """

    def __init__(self, shape: Triple, *, air: float, spread: bool, device: torch.device) -> None:
        on_cuda = device.type == "cuda"
        self.shape = shape
        self.air = air
        self.values = torch.full(shape, air, dtype=torch.float32, pin_memory=on_cuda)  # an int air would make ints
        self.spread = torch.zeros(shape, dtype=torch.float32, pin_memory=on_cuda) if spread else None
        self._stream = torch.cuda.Stream(device) if on_cuda else None

    def write(self, first: int, values: Tensor, spread: Tensor | None) -> None:
        """Put finished rows into the volume: (rows, y, x) from row `first` on; rows below the volume are dropped."""
        stop = min(first + len(values), self.shape[0])
        self._copy(self.values[first:stop], values[: stop - first])
        if self.spread is not None and spread is not None:
            self._copy(self.spread[first:stop], spread[: stop - first])

    def wait(self) -> None:
        """Return when every copy has arrived."""
        if self._stream is not None:
            self._stream.synchronize()

    def _copy(self, target: Tensor, source: Tensor) -> None:
        if self._stream is None or source.device.type != "cuda":
            target.copy_(source)
            return
        self._stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
        source.record_stream(self._stream)


def batches(
    image: Tensor, starts: Sequence[Triple], patch: Triple, size: int, device: torch.device
) -> Iterator[tuple[Sequence[Triple], Tensor]]:
    """Cut windows out of a volume, `size` at a time.

    Args:
        image: (channels, z, y, x) float32 on the CPU.
        starts: of the windows, (z, y, x); none of them overhangs.
        patch: of a window, (z, y, x).
        size: windows per batch; the last one may be smaller.
        device: where the batches are wanted.

    Yields:
        Starts, and a batch of its own memory, (n, channels, z, y, x), on the device.
    """
    groups = [starts[first : first + size] for first in range(0, len(starts), size)]
    if device.type == "cuda":
        yield from _uploaded(image, groups, patch, device)
        return
    for group in groups:
        batch = torch.empty((len(group), len(image), *patch))
        _fill(batch, image, group)
        yield group, batch.to(device)


def _fill(batch: Tensor, image: Tensor, group: Sequence[Triple]) -> None:
    _, _, depth, height, width = batch.shape
    for window, (z, y, x) in zip(batch, group, strict=False):
        window.copy_(image[:, z : z + depth, y : y + height, x : x + width])


def _uploaded(
    image: Tensor, groups: Sequence[Sequence[Triple]], patch: Triple, device: torch.device
) -> Iterator[tuple[Sequence[Triple], Tensor]]:
    """Double buffering: batch n + 1 is on its way before batch n is handed out."""
    if not groups:
        return
    side, main = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    shape = (len(groups[0]), len(image), *patch)
    buffers = [torch.empty(shape, pin_memory=True) for _ in range(2)]
    arrived = [torch.cuda.Event() for _ in range(2)]

    def send(number: int) -> Tensor:
        buffer, event, group = buffers[number % 2], arrived[number % 2], groups[number]
        event.synchronize()  # the copy that read this buffer last is done
        _fill(buffer, image, group)
        with torch.cuda.stream(side):
            batch = buffer[: len(group)].to(device, non_blocking=True)
            event.record(side)
        return batch

    coming = send(0)
    for number, group in enumerate(groups):
        batch = coming
        main.wait_event(arrived[number % 2])
        batch.record_stream(main)
        if number + 1 < len(groups):
            coming = send(number + 1)
        yield group, batch
