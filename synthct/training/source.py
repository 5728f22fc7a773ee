"""From patches to batches: drawn ahead by threads, the same whatever their number.

Threads and not processes: numpy lets other threads run while it copies, nothing is pickled, and no shared memory is
needed, of which a container has 64 MB.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from synthct.errors import UsageError
from synthct.training.patches import PatchSampler

if TYPE_CHECKING:
    from synthct.training.objective import Batch

__all__ = ["PatchSource", "PatchStream", "batch_indices"]


def batch_indices(number: int, *, batch: int, rank: int, world: int) -> range:
    """Patch numbers of one rank's micro-batch: what all ranks together see is what one rank with batch * world sees.

    Args:
        number: of the micro-batch, from 0.
        batch: patches per rank.
        rank: of this process, from 0.
        world: number of processes.
    """
    first = number * batch * world + rank * batch
    return range(first, first + batch)


class PatchStream:
    """An endless iterator of batches.

    Attributes:
        seconds_waited: time that `__next__` has taken in all.
    """

    def __init__(self, draw: Callable[[int], Batch], first: int, pool: ThreadPoolExecutor | None, ahead: int) -> None:
        self._draw = draw
        self._next = first
        self._pool = pool
        self._ahead = ahead
        self._pending: deque[Future[Batch]] = deque()
        self.seconds_waited = 0.0
        self._fill()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; an error of the thread that drew it is raised here."""
        began = time.perf_counter()
        if self._pool is None:
            batch = self._draw(self._next)
            self._next += 1
        else:
            batch = self._pending.popleft().result()
            self._fill()
        self.seconds_waited += time.perf_counter() - began
        return batch

    def _fill(self) -> None:
        while self._pool is not None and len(self._pending) < self._ahead:
            self._pending.append(self._pool.submit(self._draw, self._next))
            self._next += 1


class PatchSource:
    """Batches of a sampler's patches (objective.BatchSource).

    Args:
        sampler: what to draw from.
        batch: patches per micro-batch of one process.
        workers: threads that draw ahead; 0 draws when asked. At most 2 * workers batches wait in memory.
        pin: page-locked memory, which copies to a GPU in the background; None: where CUDA is there.

    Raises:
        UsageError: `batch` is below 1 or `workers` below 0.
    """

    def __init__(self, sampler: PatchSampler, *, batch: int, workers: int = 0, pin: bool | None = None) -> None:
        if batch < 1 or workers < 0:
            raise UsageError(f"batch {batch} with {workers} workers is impossible; expected 1 or more, and 0 or more")
        self._sampler = sampler
        self._batch = batch
        self._workers = workers
        self._pin = pin

    @contextmanager
    def stream(self, first: int, *, rank: int = 0, world: int = 1) -> Iterator[PatchStream]:
        """Yield the stream of one process from micro-batch `first` on; threads end with the context.

        The stream depends on the sampler, `first`, `rank` and `world` alone, not on the workers.
        """
        import torch

        pin = torch.cuda.is_available() if self._pin is None else self._pin

        def draw(number: int) -> Batch:
            return self._drawn(batch_indices(number, batch=self._batch, rank=rank, world=world), pin=pin)

        if self._workers == 0:
            yield PatchStream(draw, first, None, 0)
            return
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="patches")
        try:
            yield PatchStream(draw, first, pool, 2 * self._workers)
        finally:
            pool.shutdown(cancel_futures=True)

    def _drawn(self, indices: range, *, pin: bool) -> Batch:
        import torch

        from synthct.training.objective import Batch

        patches = [self._sampler.patch(index) for index in indices]
        tensors = [
            torch.from_numpy(np.stack([patch[part] for patch in patches])[:, None])
            for part in range(3)  # image, reference, weight
        ]
        return Batch(*(tensor.pin_memory() if pin else tensor for tensor in tensors))
