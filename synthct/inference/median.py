"""The exact median of overlapping predictions, bounded in memory."""

from __future__ import annotations

from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor

from synthct.inference.reduction import MedianRule, median_of
from synthct.inference.transfer import Landing

__all__ = ["MedianMerger"]

Triple = tuple[int, int, int]

CHUNK_VOXELS = 1 << 15
"""Voxels that are reduced at once; the predictions of so many stay in the processor's cache."""


class _Pending(NamedTuple):
    """A window whose rows are not all finished."""

    start: Triple
    predictions: Tensor


class MedianMerger:
    """Median, and the population's standard deviation without weights.

    Predictions are kept until no later window touches their rows. Finished rows are cut at the edges of the windows in
    z, y and x into cells; all voxels of a cell have the same windows, so exactly those are stacked and reduced. Nothing
    is padded with NaN, infinity or 0: every value that a network gives counts, an exact 0.0 too.
    """

    def __init__(self, landing: Landing, patch: Triple, rule: MedianRule) -> None:
        self._landing = landing
        self._patch = patch
        self._rule: MedianRule = rule
        self._pending: list[_Pending] = []
        self._first = 0
        """First row that is not finished."""

    def add(self, start: Triple, predictions: Tensor) -> None:
        """Keep the predictions of one window, (members, z, y, x); its z must not lie above that of the one before."""
        self._finish(start[0])
        self._pending.append(_Pending(start, predictions))

    def close(self) -> None:
        """Finish the rows of the last windows."""
        self._finish(self._landing.shape[0])

    def _finish(self, below: int) -> None:
        if below <= self._first:
            return
        for first, stop in pairwise(self._edges(self._pending, 0, self._first, below)):
            covering = [window for window in self._pending if self._covers(window, 0, first)]
            if covering:
                self._reduce_rows(covering, first, stop)
        self._first = below
        self._pending = [window for window in self._pending if window.start[0] + self._patch[0] > below]

    def _reduce_rows(self, windows: list[_Pending], first: int, stop: int) -> None:
        """Reduce rows that all `windows` cover in z, cell by cell."""
        _, height, width = self._landing.shape
        device = windows[0].predictions.device
        values = torch.full((stop - first, height, width), self._landing.air, dtype=torch.float32, device=device)
        spread = torch.zeros_like(values) if self._landing.spread is not None else None
        rows = pairwise(self._edges(windows, 1, 0, height))
        columns = list(pairwise(self._edges(windows, 2, 0, width)))
        for (top, bottom), (left, right) in product(rows, columns):
            covering = [window for window in windows if self._covers(window, 1, top) and self._covers(window, 2, left)]
            if not covering:
                continue
            depth = max(1, CHUNK_VOXELS // ((bottom - top) * (right - left)))
            for upper in range(first, stop, depth):
                cell = ((upper, min(upper + depth, stop)), (top, bottom), (left, right))
                stack = torch.cat([self._cut(window, cell) for window in covering])
                place = (slice(upper - first, cell[0][1] - first), slice(top, bottom), slice(left, right))
                flat = stack.flatten(1)
                values[place] = median_of(flat, self._rule).view(stack.shape[1:])
                if spread is not None:
                    spread[place] = _deviation(flat).view(stack.shape[1:])
        self._landing.write(first, values, spread)

    def _edges(self, windows: list[_Pending], axis: int, low: int, high: int) -> list[int]:
        """Where windows begin or end between two bounds, with the bounds."""
        starts = {window.start[axis] for window in windows}
        edges = {low, high, *starts, *(start + self._patch[axis] for start in starts)}
        return sorted(edge for edge in edges if low <= edge <= high)

    def _covers(self, window: _Pending, axis: int, index: int) -> bool:
        return window.start[axis] <= index < window.start[axis] + self._patch[axis]

    def _cut(self, window: _Pending, cell: tuple[tuple[int, int], ...]) -> Tensor:
        """The predictions of a window in a cell, (members, z, y, x)."""
        z, y, x = (slice(low - start, high - start) for (low, high), start in zip(cell, window.start, strict=True))
        return window.predictions[:, z, y, x]


def _deviation(predictions: Tensor) -> Tensor:
    """Population standard deviation along the first axis, in two passes; exactly 0 for one prediction."""
    deviation = predictions - predictions.mean(0)
    return (deviation * deviation).mean(0).sqrt()
