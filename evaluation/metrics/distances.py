"""Distance from each point of one surface to the nearest point of another, as far as a metric asks for it.

HD95 needs the distances up to the 95th percentile, NSD those up to its tolerance, and most distances are short. So
each voxel first learns how far the nearest target is along its own line of voxels, in the direction of the finest
spacing: two sweeps over the box that holds both surfaces. A point then asks the lines around it, nearest line first,
and is done as soon as the next line is farther away than the best target so far. The search ends when the metric has
what it needs. Points that are still open after some hundred lines, whose targets are far off, ask a k-d tree; or,
where too many targets could be about equally far, a Euclidean distance transform of the box, whose time is known.
The transform is in single precision, everything else in double precision.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["nearest_distances"]

_MOST_LINES = 512
"""Lines that a point asks at most; asking as many takes about as long as one question to a k-d tree."""

_NONE = 254
"""Steps along a line that stand for no target, or for one so far away; one more still fits into a byte."""

_PAIRS_PER_VOXEL = 4
"""Pairs of point and target that a tree compares, at worst, in the time that the transform takes for one voxel."""

_TRANSFORMS = threading.Lock()
"""One transform at a time: it takes 5 bytes for each voxel of its box, and gains nothing from a second thread."""

_BATCH = 1 << 15
"""Lines that are asked at once, over all points; what a batch needs stays in the processor's second-level cache."""

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Spacing = tuple[float, float, float]


def nearest_distances(points: Places, targets: Places, spacing: Spacing, *, radius: float, enough: int = 0) -> Floats:
    """Distance in mm of each point to the nearest target.

    Args:
        points: grid places (axis, point) in voxels, at least one.
        targets: grid places (axis, target), at least one.
        spacing: of the grid in mm, in the order of the axes.
        radius: every distance up to it, in mm, is wanted.
        enough: so many of the smallest distances are wanted, however large they are.

    Returns:
        One distance per point. inf for a point that is farther away than was asked for.
    """
    axes = sorted(range(3), key=lambda axis: spacing[axis])
    line_step, first_step, second_step = (spacing[axis] for axis in axes)
    # A distance that rounding has moved beyond the radius is still wanted; without any radius, so is the distance 0.
    reached = radius * (1.0 + 1e-6) + 1e-6 * line_step
    lines, line_squares, limit = _lines(line_step, first_step, second_step, math.inf if enough else reached)
    margin = np.array([0, *np.abs(lines).max(axis=1)], dtype=np.int32)[:, None]
    points, targets = points[axes], targets[axes]
    low = np.minimum(points.min(axis=1), targets.min(axis=1))[:, None] - margin
    high = np.maximum(points.max(axis=1), targets.max(axis=1))[:, None] + margin
    shape = tuple((high - low + 1).ravel().tolist())
    along = _steps_along_lines(targets - low, shape).ravel()
    along_squares = np.append((np.arange(_NONE) * line_step) ** 2, np.inf)

    found = np.full(points.shape[1], np.inf)
    best = found.copy()
    waiting, indices = np.ravel_multi_index(tuple(points - low), shape), np.arange(found.size)
    steps = lines[0] * shape[2] + lines[1]
    asked = 0
    while waiting.size:
        next_square = line_squares[asked] if asked < steps.size else limit
        final = best <= next_square
        closed = int(np.count_nonzero(final))
        satisfied = found.size - waiting.size + closed >= enough and next_square >= reached**2
        if satisfied or closed * 8 >= waiting.size or asked == steps.size:
            found[indices[final]] = np.sqrt(best[final])
            waiting, indices, best = waiting[~final], indices[~final], best[~final]
        if satisfied:
            break
        if asked == steps.size:
            grid = (line_step, first_step, second_step)
            if waiting.size * targets.shape[1] <= _PAIRS_PER_VOXEL * along.size:
                found[indices] = _distances_by_tree(points[:, indices], targets, grid)
            else:
                found[indices] = _distances_by_transform(along.reshape(shape) != 0, waiting, grid)
            break
        if waiting.size:
            asking = slice(asked, asked + max(_BATCH // waiting.size, 1))
            squares = along_squares.take(along.take(steps[asking, None] + waiting))
            squares += line_squares[asking, None]
            np.minimum(best, squares.min(axis=0), out=best)
            asked = min(asking.stop, steps.size)
    return found


@lru_cache(maxsize=16)
def _lines(line_step: float, first_step: float, second_step: float, wanted: float) -> tuple[Ints, Floats, float]:
    """Lines around a line, nearest first: places (axis, line) in voxels, squared distances in mm^2, and a limit.

    All lines are there whose squared distance does not exceed the limit; targets beyond it are not found.
    """
    most = math.sqrt(_MOST_LINES * first_step * second_step / math.pi)
    radius = min(most, (_NONE - 1) * line_step, wanted)
    axes = [np.arange(-n, n + 1) for n in (math.floor(radius / first_step), math.floor(radius / second_step))]
    lines = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1)
    squares = (lines[0] * first_step) ** 2 + (lines[1] * second_step) ** 2
    order = np.argsort(squares, kind="stable")
    order = order[squares[order] <= radius**2]
    return lines[:, order], squares[order], radius**2


def _steps_along_lines(targets: Places, shape: tuple[int, ...]) -> Bytes:
    """For each voxel, the steps to the nearest target along the first axis, at most `_NONE`."""
    steps = np.full(shape, _NONE, dtype=np.uint8)
    steps[tuple(targets)] = 0
    farther = np.empty(shape[1:], dtype=np.uint8)
    for sweep in (steps, steps[::-1]):
        for before, plane in pairwise(sweep):
            np.add(before, 1, out=farther)
            np.minimum(plane, farther, out=plane)
    return steps


def _distances_by_tree(points: Places, targets: Places, spacing: Spacing) -> Floats:
    from scipy.spatial import KDTree

    distances: Floats = KDTree(targets.T * spacing).query(points.T * spacing)[0]
    return distances


def _distances_by_transform(free: npt.NDArray[np.bool_], points: Ints, spacing: Spacing) -> Floats:
    """Distances in mm of flat places to the nearest voxel that is not free."""
    from edt import edt

    with _TRANSFORMS:
        distances: Array = edt(free, anisotropy=spacing, black_border=False)
        return distances.ravel()[points].astype(np.float64)
