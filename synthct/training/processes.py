"""What the processes of one run tell each other: gradients, scalars, whether to stop, who has what."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from synthct.errors import SynthCTError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "average_gradients",
    "average_numbers",
    "broadcast_tensors",
    "gather",
    "let_first_process_speak",
    "naming_lost_processes",
]

T = TypeVar("T")

BUCKET_ELEMENTS = 8 << 20
"""Elements that travel in one message: 32 MiB of float32."""
PATIENCE_SECONDS = 10.0
_LOST = re.compile(r"\b(gloo|nccl)\b.*\b(peer|connection|remote|socket)\b", re.IGNORECASE | re.DOTALL)


def average_gradients(parameters: Sequence[Tensor], fabric: Fabric) -> None:
    """Replace each gradient by its mean over the processes, on each of them.

    This is done once the gradients of a turn are whole, over all micro-batches and however often and in whose turn a
    network ran. DistributedDataParallel decides at the forward pass whether the next backward pass will exchange
    gradients, which is wrong for a generator that ran in the discriminator's turn and accumulates gradients in its
    own. A parameter that has a gradient on some processes counts as 0 on the others.
    """
    if fabric.world_size == 1:
        return
    present = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=fabric.device)
    anywhere = _sum(present, fabric).tolist()
    gradients = []
    for parameter, holders in zip(parameters, anywhere, strict=True):
        if holders:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = _sum(torch.cat([gradient.reshape(-1) for gradient in bucket]), fabric) / fabric.world_size
        for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(mean.view(gradient.shape))


def average_numbers(numbers: Sequence[Tensor | float], fabric: Fabric) -> list[float]:
    """Return the mean of each number over the processes, alike on each; NaN on one is NaN on all."""
    told = torch.stack(
        [torch.as_tensor(number, dtype=torch.float32, device=fabric.device).reshape(()) for number in numbers]
    )
    return [float(number) / fabric.world_size for number in _sum(told, fabric).tolist()]


def broadcast_tensors(tensors: Sequence[Tensor], fabric: Fabric) -> None:
    """Give each process the first one's values."""
    if fabric.world_size > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor.detach(), src=0)


def gather(value: T, fabric: Fabric) -> list[T]:
    """Return every process's value, in the order of the processes, on each of them; it must be picklable."""
    if fabric.world_size == 1:
        return [value]
    values = [value] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def let_first_process_speak(fabric: Fabric) -> None:
    """Before all processes fail alike: hold back the others until the first has ended, or for 10 seconds.

    Whoever started the processes ends all of them as soon as one has failed, and the first is to say why.
    """
    starter = os.getppid()
    until = time.monotonic() + PATIENCE_SECONDS
    while not fabric.is_global_zero and os.getppid() == starter and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Say plainly that another process of the run is gone, where gloo or NCCL speak of sockets.

    Raises:
        SynthCTError: another process is gone, said by the first one.
        SystemExit: the same on the others, in silence: the first, or whoever ended it, has the last word.
    """
    try:
        yield
    except RuntimeError as error:
        if not (torch.distributed.is_initialized() and _LOST.search(str(error))):
            raise
        if torch.distributed.get_rank() > 0:
            raise SystemExit(1) from error
        raise SynthCTError(
            "another process of this run ended; what it said stands above, and one that said nothing was killed "
            "(for want of memory?); --resume goes on from the last checkpoint"
        ) from error


def _sum(tensor: Tensor, fabric: Fabric) -> Tensor:
    if fabric.world_size > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Cut a sequence of tensors of one kind into pieces of about BUCKET_ELEMENTS."""
    buckets: list[list[Tensor]] = []
    filled = BUCKET_ELEMENTS
    for tensor in tensors:
        if filled >= BUCKET_ELEMENTS or tensor.dtype != buckets[-1][-1].dtype:
            buckets.append([])
            filled = 0
        buckets[-1].append(tensor)
        filled += tensor.numel()
    return buckets
