"""What every metric asks of its arrays before it looks at a voxel, and the order in which memory is read fastest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.errors import InputError

__all__ = ["in_memory_order", "require_same_volume"]

Array = npt.NDArray[Any]


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
