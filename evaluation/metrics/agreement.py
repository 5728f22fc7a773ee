"""How well the structures of two label maps agree: Dice, HD95 and NSD of each, and their summary over a case.

The definitions are those of MONAI 1.6.1 (CONTRACT 3.5), which the official program calls once per label on the full
volume. Here one joint count serves the Dice of all labels, one pass per map finds all surfaces, and each structure's
distances are looked up inside the box that holds it in both maps.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.arrays import in_memory_order, in_threads
from evaluation.metrics.distances import nearest_distances
from evaluation.metrics.overlap import LARGEST_LABEL, Counts, dice_of_counts, label_counts
from evaluation.metrics.surface import Surface, label_surfaces
from evaluation.metrics.surfels import surfel_areas
from evaluation.missing import POLICIES, StructureScore, Summary, status_of, summarise
from synthct.errors import UsageError

__all__ = ["StructureAgreement", "StructureScore", "score_structures", "structure_agreement"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]

_ABSENT = (None, None, None)
_ONE_SIDED = (None, 0.0, 0.0)


@dataclass(frozen=True)
class StructureAgreement(Summary):
    """The summary of a case and what it was made from, in the order of the labels."""

    per_structure: dict[int, StructureScore]


def structure_agreement(
    reference_labels: Array,
    prediction_labels: Array,
    labels: Iterable[int],
    spacing: Sequence[float],
    nsd_tolerance_mm: float = 2.0,
    policy: str = "parity",
) -> StructureAgreement:
    """Dice, HD95 and NSD over a case's structures (CONTRACT 3.5).

    Args:
        reference_labels: three-dimensional label map of the reference CT, any integer type and axis order; 0 is the
            background.
        prediction_labels: label map of the sCT, same shape and axis order.
        labels: the structures to score.
        spacing: voxel size in mm along the arrays' axes, in their order.
        nsd_tolerance_mm: two surfaces agree where they are at most so far apart.
        policy: what a missing structure counts for, `parity` or `strict`; defined in `evaluation.missing`, as are all
            empty cases.

    Raises:
        InputError: the arrays are no label maps of one shape.
        UsageError: a label, the spacing, the tolerance or the policy cannot be meant.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is unknown; expected one of {', '.join(POLICIES)}")
    scores = score_structures(reference_labels, prediction_labels, labels, spacing, nsd_tolerance_mm)
    diagonal = math.hypot(*(length * step for length, step in zip(reference_labels.shape, spacing, strict=True)))
    summary = summarise(scores, policy, diagonal)
    fields = {field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)}
    return StructureAgreement(**fields, per_structure=scores)


def score_structures(
    reference_labels: Array,
    prediction_labels: Array,
    labels: Iterable[int],
    spacing: Sequence[float],
    nsd_tolerance_mm: float = 2.0,
    threads: int | None = None,
) -> dict[int, StructureScore]:
    """Agreement on each listed structure, before any policy.

    Args:
        reference_labels: as in `structure_agreement`.
        prediction_labels: as in `structure_agreement`.
        labels: as in `structure_agreement`; one that is listed twice is scored once.
        spacing: as in `structure_agreement`.
        nsd_tolerance_mm: as in `structure_agreement`.
        threads: at most so many; None for all usable processors. The result does not depend on it.

    Returns:
        One entry per label, in the order of the list.

    Raises:
        InputError: the arrays are no label maps of one shape.
        UsageError: a label, the spacing, the tolerance or the number of threads cannot be meant.
    """
    listed = list(dict.fromkeys(_label(label) for label in labels))
    voxel = _spacing(spacing)
    if not (math.isfinite(nsd_tolerance_mm) and nsd_tolerance_mm >= 0):
        raise UsageError(f"the tolerance of NSD is {nsd_tolerance_mm} mm; expected a number of 0 or more")
    counts = label_counts(reference_labels, prediction_labels)
    dice = dice_of_counts(counts, listed)
    in_reference, in_prediction = (_volumes(counts.sum(axis=axis), listed, voxel) for axis in (1, 0))
    axes = sorted(range(3), key=lambda axis: -abs(reference_labels.strides[axis]))  # as in_memory_order does
    grid = voxel[axes[0]], voxel[axes[1]], voxel[axes[2]]
    reference, prediction = in_memory_order(reference_labels, prediction_labels)
    areas = surfel_areas(grid)
    expected = label_surfaces(reference, [label for label in listed if in_reference[label]], threads)
    found = label_surfaces(prediction, [label for label in expected if in_prediction[label]], threads)
    both = sorted(found, key=lambda label: -expected[label].voxels.size)  # the longest work first
    values = in_threads(
        lambda label: _surface_scores(expected[label], found[label], grid, areas, nsd_tolerance_mm), both, threads
    )
    surface_scores: dict[int, tuple[float | None, ...]] = dict(zip(both, values, strict=True))
    scores = {}
    for label in listed:
        volumes = in_reference[label], in_prediction[label]
        hd95, nsd_surfel, nsd_voxel = surface_scores.get(label, _ONE_SIDED if any(volumes) else _ABSENT)
        cut = label in expected and expected[label].cut(reference.shape)
        status = status_of(*volumes, cut)
        scores[label] = StructureScore(label, dice[label], hd95, nsd_surfel, nsd_voxel, *volumes, cut, status)
    return scores


def _volumes(voxels: Counts, labels: Iterable[int], spacing: Spacing) -> dict[int, float]:
    """Volume of each label in mL, from the voxels of labels 0, 1, 2 and so on."""
    millilitres = math.prod(spacing) / 1000
    return {label: int(voxels[label]) * millilitres if label < len(voxels) else 0.0 for label in labels}


def _label(label: int) -> int:
    try:
        number = operator.index(label)
    except TypeError:
        number = -1
    if not 1 <= number <= LARGEST_LABEL:
        raise UsageError(f"label {label!r} cannot be scored; expected integers from 1 to {LARGEST_LABEL}")
    return number


def _spacing(spacing: Sequence[float]) -> Spacing:
    steps = tuple(float(step) for step in spacing)
    if len(steps) != 3 or not all(math.isfinite(step) and step > 0 for step in steps):
        raise UsageError(f"the spacing is {steps} mm; expected three positive numbers")
    return steps[0], steps[1], steps[2]


def _surface_scores(
    reference: Surface, prediction: Surface, spacing: Spacing, areas: Floats, tolerance: float
) -> tuple[float, float, float]:
    """HD95 in mm, NSD by area and NSD by voxels of one structure that both maps hold."""
    percentiles, close, voxels = [], 0, 0
    close_area, area = 0.0, 0.0
    for own, other in ((reference, prediction), (prediction, reference)):
        rank = _rank_95(own.voxels.shape[1])
        distances = nearest_distances(own.voxels, other.voxels, spacing, radius=tolerance, enough=math.floor(rank) + 2)
        percentiles.append(_at_rank(distances, rank))
        close += int(np.count_nonzero(_within(distances, tolerance)))
        voxels += distances.size
        distances = nearest_distances(own.surfels, other.surfels, spacing, radius=tolerance)
        near = _within(distances, tolerance)
        area += _area_of(own.codes, areas)
        close_area += _area_of(own.codes[near], areas)
    return max(percentiles), close_area / area, close / voxels


def _area_of(codes: npt.NDArray[np.uint8], areas: Floats) -> float:
    """Sum of the areas of surface elements; not by BLAS, whose last digit depends on the processor."""
    return float((np.bincount(codes, minlength=256) * areas).sum())


def _rank_95(count: int) -> float:
    """Place of the 95th percentile among so many sorted values.

    In single precision, as torch.quantile has it: among 100,000 values the place is off by up to 0.004, which can
    move the interpolated value by more than the 1e-4 mm to which HD95 is to equal the official one.
    """
    return float(np.float32(0.95) * np.float32(count - 1))


def _at_rank(values: Floats, rank: float) -> float:
    """Value at a place among the sorted values, interpolated linearly between its neighbours."""
    low, high = math.floor(rank), math.ceil(rank)
    ordered = np.partition(values, [low, high])
    return float(ordered[low] + (ordered[high] - ordered[low]) * (rank - low))


def _within(distances: Floats, tolerance: float) -> npt.NDArray[np.bool_]:
    """Distances up to the tolerance; in single precision, so that 20 steps of 0.1 mm are within 2 mm."""
    return distances.astype(np.float32) <= np.float32(tolerance)
