"""What every metric asks of its arrays before it looks at a voxel, and how they are read fastest: order and threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError, UsageError

__all__ = ["in_memory_order", "in_threads", "require_same_volume", "usable_cores"]

Array = npt.NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


def require_same_volume(**arrays: Array) -> None:
    """Refuse arrays that are not three-dimensional numbers of one shape; the keywords are their names in the message.

    Raises:
        InputError: with the name and the shape of every array, or the name and the dtype of the array without numbers.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 3 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"expected three-dimensional arrays of one shape, found {found}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{name} holds {array.dtype} values; expected real numbers")


def in_memory_order(*arrays: Array) -> tuple[Array, ...]:
    """The same views with their axes permuted alike, so that the last axis of the first one is contiguous if any is.

    No metric depends on the order of the axes; a volume that was transposed from (z, y, x) to (x, y, z) is then read
    as fast as the original, and gives the same bits.
    """
    strides = arrays[0].strides
    order = sorted(range(arrays[0].ndim), key=lambda axis: -abs(strides[axis]))
    return tuple(np.transpose(array, order) for array in arrays)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> list[Result]:
    """`[work(item) for item in items]`, several items at a time; NumPy frees the interpreter while it computes.

    The results stand in the order of the items, so that a sum over them does not depend on the number of threads. The
    first item in that order that raises decides which error the caller sees.

    Args:
        work: called once per item; it may write to places of its own only.
        items: what is to be done.
        threads: how many at a time; None for as many as there are processors for this process.

    Raises:
        UsageError: fewer than one thread.
    """
    if threads is None:
        threads = usable_cores()
    if threads < 1:
        raise UsageError(f"{threads} threads: expected at least 1")
    waiting = list(items)
    if min(threads, len(waiting)) <= 1:
        return [work(item) for item in waiting]
    with ThreadPoolExecutor(max_workers=min(threads, len(waiting))) as pool:
        return list(pool.map(work, waiting))


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
