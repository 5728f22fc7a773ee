"""Merging of overlapping predictions, in memory of a slab: rows that no later window touches are finished and freed."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from synthct.inference.median import MedianMerger
from synthct.inference.settings import Merging
from synthct.inference.transfer import Landing

__all__ = ["MeanMerger", "Merger", "gaussian_weight", "make_merger"]

Triple = tuple[int, int, int]

GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of the window weight as a fraction of the patch: nnU-Net's value."""
SMALLEST_WEIGHT = 1e-3
"""Floor of the window weight, of its largest: a voxel that only a corner covers must not be divided by nothing."""


class Merger(Protocol):
    """Takes predictions of windows in z order and hands finished rows to a landing."""

    def add(self, start: Triple, predictions: Tensor) -> None:
        """Take the predictions of one window: (members, z, y, x) float32, each of them one prediction."""

    def close(self) -> None:
        """Finish what is left, after the last window."""


def make_merger(merging: Merging, landing: Landing, patch: Triple, device: torch.device) -> Merger:
    """Make the merger that a name of the settings stands for.

    Args:
        merging: name.
        landing: takes the finished rows; its shape is the volume's, its `spread` tells whether to compute it.
        patch: of a window, (z, y, x).
        device: where predictions arrive and sums are kept.
    """
    if merging == "mean":
        return MeanMerger(landing, torch.ones(patch, device=device))
    if merging == "gaussian":
        return MeanMerger(landing, gaussian_weight(patch).to(device))
    if merging == "median-lower":
        return MedianMerger(landing, patch, "lower")
    if merging == "median-upper":
        return MedianMerger(landing, patch, "upper")
    return MedianMerger(landing, patch, "average")


def gaussian_weight(patch: Triple) -> Tensor:
    """Weight of each voxel of a window: a Gaussian around the middle, 1 at most and never below 1e-3; (z, y, x)."""
    weight = torch.ones(patch, dtype=torch.float64)
    for axis, edge in enumerate(patch):
        centred = torch.arange(edge, dtype=torch.float64) - (edge - 1) / 2
        profile = torch.exp(-0.5 * (centred / (GAUSSIAN_SIGMA * edge)) ** 2)
        weight *= profile.reshape([-1 if axis == other else 1 for other in range(3)])
    return (weight / weight.max()).clamp(min=SMALLEST_WEIGHT).float()


class MeanMerger:
    """Weighted mean and standard deviation by running sums in fp32 over as many rows as a window is deep.

    The standard deviation is that of the population, with the weights of the mean, by Welford's update in West's form:
    it loses nothing where the mean is large, and is exactly 0 where there is one prediction.
    """

    def __init__(self, landing: Landing, weight: Tensor) -> None:
        self._landing = landing
        self._weight = weight
        depth, (_, height, width) = weight.shape[0], landing.shape
        self._first = 0
        """Row of the volume that the slab's first row stands for."""
        kinds = 4 if landing.spread is not None else 2
        self._slab = torch.zeros((kinds, depth, height, width), device=weight.device)
        """Total, weight, and for the spread the running mean and the sum of squared deviations."""

    def add(self, start: Triple, predictions: Tensor) -> None:
        """Add the predictions of one window, (members, z, y, x); its z must not lie above that of the one before."""
        self._finish(start[0])
        _, height, width = self._weight.shape
        window = self._slab[:, :, start[1] : start[1] + height, start[2] : start[2] + width]
        for prediction in predictions:
            window[0].addcmul_(prediction, self._weight)
            window[1] += self._weight
            if len(window) == 4:
                _, weights, mean, squares = window
                before = prediction - mean
                mean.addcmul_(before, self._weight / weights)
                squares.addcmul_(before * self._weight, prediction - mean)

    def close(self) -> None:
        """Finish the rows of the last windows."""
        self._finish(self._first + len(self._weight))

    def _finish(self, below: int) -> None:
        """Hand over the rows below `below` and move the slab up to it."""
        moved = below - self._first
        if moved <= 0:
            return
        depth = len(self._weight)
        ready = self._slab[:, : min(moved, depth)]
        total, weights = ready[0], ready[1]
        covered = weights > 0
        values = torch.where(covered, total / weights, self._landing.air)
        spread = None
        if len(ready) == 4:
            spread = torch.where(covered, (ready[3] / weights).sqrt(), 0.0)
        self._landing.write(self._first, values, spread)
        if moved < depth:
            self._slab[:, :-moved] = self._slab[:, moved:].clone()
        self._slab[:, max(0, depth - moved) :] = 0.0
        self._first = below
