"""The median of k predictions, for many voxels at once, by a network of minima and maxima."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

__all__ = ["MedianRule", "median_of", "selection_steps"]

MedianRule = Literal["lower", "upper", "average"]
Step = tuple[int, int, bool, bool]


def median_of(predictions: Tensor, rule: MedianRule) -> Tensor:
    """Median along the first axis, exact: one of the predictions, or the mean of the two middle ones.

    Args:
        predictions: (k, n), k at least 1. Every value counts, an exact 0.0 too. A NaN makes its voxel NaN.
        rule: for even k the lower middle, the upper middle `sorted[k // 2]`, or the mean of both.

    Returns:
        (n,) of the same type.
    """
    count = len(predictions)
    low, high = (count - 1) // 2, count // 2
    ranks = {"lower": (low,), "upper": (high,), "average": (low, high)}[rule]
    rows = list(predictions.unbind())
    for lower, upper, keep_lower, keep_upper in selection_steps(count, ranks):
        first, second = rows[lower], rows[upper]
        if keep_lower:
            rows[lower] = torch.minimum(first, second)
        if keep_upper:
            rows[upper] = torch.maximum(first, second)
    if low == high or rule != "average":
        return rows[ranks[0]]
    return (rows[low] + rows[high]) / 2


@lru_cache(maxsize=256)
def selection_steps(count: int, ranks: tuple[int, ...]) -> tuple[Step, ...]:
    """Comparisons that bring the wanted ranks of `count` values into place.

    Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, 5.2.2, algorithm M), without the comparisons
    that no wanted rank depends on. Sorting this way costs a few passes over memory, whatever the values are.

    Returns:
        (i, j, keep i, keep j): place i takes the smaller and place j the larger value, as far as they are kept.
    """
    comparisons = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    span = top
    while span > 0:
        reach, distance, parity = top, span, 0
        while True:
            comparisons += [(i, i + distance) for i in range(count - distance) if i & span == parity]
            if reach == span:
                break
            distance, reach, parity = reach - span, reach // 2, span
        span //= 2
    needed = set(ranks)
    steps: list[Step] = []
    for lower, upper in reversed(comparisons):
        if lower in needed or upper in needed:
            steps.append((lower, upper, lower in needed, upper in needed))
            needed |= {lower, upper}
    return tuple(reversed(steps))
