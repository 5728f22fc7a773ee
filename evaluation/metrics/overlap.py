"""Dice of label maps, for all labels at once from one table of joint counts (CONTRACT 3.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.arrays import in_memory_order, require_same_volume
from synthct.errors import InputError

__all__ = ["LARGEST_LABEL", "dice_of_counts", "dice_scores", "label_counts"]

LARGEST_LABEL = 1023
"""Label values above it are refused; TotalSegmentator's end at 117."""

_MOST_RUNS = 1 << 20
"""Runs that are kept before they are summed up; a limit on memory, noise has a run per voxel."""

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]


def label_counts(reference: Array, prediction: Array) -> Counts:
    """How many voxels carry label r in the reference and label p in the prediction, for every pair (r, p).

    Label maps are constant over long runs, so runs are counted instead of voxels; the result is exact.

    Args:
        reference: label map of any integer type, three-dimensional, in any axis order; 0 is the background.
        prediction: label map of the same shape and axis order.

    Returns:
        A square table; `counts[r, p]` voxels. Its side is the largest label in either map plus 1. The sum of row r is
        the size of structure r in the reference, the sum of column p that of structure p in the prediction.

    Raises:
        InputError: shapes that differ, arrays that are not three-dimensional, values that are no integers or lie
            outside 0 ... `LARGEST_LABEL`.
    """
    require_same_volume(reference=reference, prediction=prediction)
    largest = max(_largest_label("reference", reference), _largest_label("prediction", prediction))
    size = largest + 1
    counts = np.zeros(size * size, dtype=np.int64)
    waiting: list[tuple[Counts, Counts]] = []
    entries = 0
    for r_plane, p_plane in zip(*in_memory_order(reference, prediction), strict=True):
        runs = _runs(r_plane.ravel(), p_plane.ravel(), size)
        waiting.append(runs)
        entries += runs[0].size
        if entries > _MOST_RUNS:
            counts += _run_totals(waiting, counts.size)
            waiting, entries = [], 0
    if waiting:
        counts += _run_totals(waiting, counts.size)
    return counts.reshape(size, size)


def _runs(reference: Array, prediction: Array, size: int) -> tuple[Counts, Counts]:
    """Value r * size + p and length of each run of voxels in which neither map changes; both maps are flat."""
    changes = reference[1:] != reference[:-1]
    changes |= prediction[1:] != prediction[:-1]
    starts = np.flatnonzero(changes)
    starts += 1
    starts = np.concatenate(([0], starts)) if reference.size else starts
    pairs = reference[starts].astype(np.int64)
    pairs *= size
    pairs += prediction[starts].astype(np.int64)
    return pairs, np.diff(starts, append=reference.size)


def _run_totals(runs: list[tuple[Counts, Counts]], size: int) -> Counts:
    """Voxels per pair of labels; exact, as float64 holds every count."""
    pairs, lengths = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return np.bincount(pairs, weights=lengths, minlength=size).astype(np.int64)


def dice_of_counts(counts: Counts, labels: Iterable[int]) -> dict[int, float | None]:
    """Dice of each label from the table of `label_counts`; the values are those of `dice_scores`."""
    in_reference, in_prediction = counts.sum(axis=1), counts.sum(axis=0)
    scores: dict[int, float | None] = {}
    for label in labels:
        voxels = int(in_reference[label] + in_prediction[label]) if 0 <= label < len(counts) else 0
        scores[label] = 2.0 * int(counts[label, label]) / voxels if voxels else None
    return scores


def dice_scores(reference_labels: Array, prediction_labels: Array, labels: Iterable[int]) -> dict[int, float | None]:
    """Dice of each label: 2 |R and P| / (|R| + |P|); no unit, 0 to 1, higher is better (CONTRACT 3.5).

    Args:
        reference_labels: label map of the reference CT, as in `label_counts`.
        prediction_labels: label map of the sCT.
        labels: the labels to score, in the order of the result.

    Returns:
        One entry per label. None where the label is absent from both maps; 0.0 where it is absent from one of them.
        The official patient value is the mean over the labels that occur in the reference: a label found only in the
        prediction costs nothing there, so leave its 0.0 out (row r of `label_counts` is then empty).

    Raises:
        InputError: as `label_counts`.
    """
    return dice_of_counts(label_counts(reference_labels, prediction_labels), labels)


def _largest_label(name: str, label_map: Array) -> int:
    """Largest value of a label map, 0 for one without voxels; refuses what is no label map."""
    if label_map.dtype.kind not in "iub":
        raise InputError(f"{name} holds {label_map.dtype} values; expected integer labels")
    if label_map.size == 0:
        return 0
    smallest, largest = int(label_map.min()), int(label_map.max())
    if smallest < 0 or largest > LARGEST_LABEL:
        raise InputError(f"{name} holds labels from {smallest} to {largest}; expected 0 to {LARGEST_LABEL}")
    return largest
