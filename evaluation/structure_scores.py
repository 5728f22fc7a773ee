"""The structure columns of a row: what one judge finds in the CT and in the sCT, compared (CONTRACT 3.5, 3.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from evaluation.metrics.agreement import StructureScore, score_structures
from evaluation.missing import summarise
from evaluation.segmenters.interface import Segmenter
from evaluation.structures import GROUPS, STRUCTURE_NAMES, STRUCTURES
from synthct.anatomy import Region

__all__ = ["OFFICIAL_NAMES", "StructureColumns", "in_plane_tolerance", "structure_columns"]

OFFICIAL_NAMES = ("DICE", "HD95")
"""Columns that hold the official program's values, of the first judge, under its names."""

TOLERANCE_VOXELS = 2.0
"""NSD tolerance in voxels of the image plane (paper 000): 2 mm where these are 1 mm wide, 1.2 mm at 0.6 mm."""


@dataclass(frozen=True)
class StructureColumns:
    """Columns of a row, and the scores of every structure by name."""

    columns: dict[str, float | int | None]
    structures: dict[str, dict[str, Any]]


def in_plane_tolerance(spacing_zyx: tuple[float, float, float]) -> float:
    """Default tolerance of NSD in mm: twice the voxel's width in the image plane (the finer of x and y)."""
    return TOLERANCE_VOXELS * min(spacing_zyx[1:])


def structure_columns(
    segmenter: Segmenter,
    region: Region,
    reference_labels: npt.NDArray[Any],
    prediction_labels: npt.NDArray[Any],
    spacing_zyx: tuple[float, float, float],
    *,
    tolerance_mm: float,
    threads: int | None = None,
) -> StructureColumns:
    """Compare two label maps of one judge.

    Args:
        segmenter: the judge; where it speaks TotalSegmentator's ids, the region's list is scored (CONTRACT 3.5) and the
            groups of paper 000 beside it, otherwise every label that it knows.
        region: of the case.
        reference_labels: (z, y, x), of the CT.
        prediction_labels: (z, y, x), of the sCT.
        spacing_zyx: in mm.
        tolerance_mm: of NSD.
        threads: at most so many; None for all usable cores.

    Returns:
        DICE and HD95 with the official values; DICE_strict, HD95_strict and nsd* with a missed structure at its worst
        value (`evaluation.missing`; a missed tissue class counts though the volume's edge cuts it); the counts;
        for TotalSegmentator's ids <group>_dice and <group>_nsd, strict too.
    """
    total = segmenter.labels.items() >= STRUCTURE_NAMES.items()
    listed = STRUCTURES[region] if total else tuple(segmenter.labels)
    groups = GROUPS if total else {}
    labels = sorted({*listed, *(label for group in groups.values() for label in group)})
    scores = score_structures(
        reference_labels,
        prediction_labels,
        labels,
        spacing_zyx,
        nsd_tolerance_mm=tolerance_mm,
        threads=threads,
    )
    if segmenter.name == "tissue":
        scores = {label: _without_excuse(score) for label, score in scores.items()}
    diagonal = math.hypot(*(length * step for length, step in zip(reference_labels.shape, spacing_zyx, strict=True)))
    own = {label: scores[label] for label in listed}
    official, strict = (summarise(own, policy, diagonal) for policy in ("parity", "strict"))
    columns: dict[str, float | int | None] = {
        "DICE": official.dice,
        "HD95": official.hd95,
        "nsd": strict.nsd,
        "nsd_surfel": strict.nsd_surfel,
        "nsd_voxel": strict.nsd_voxel,
        "DICE_strict": strict.dice,
        "HD95_strict": strict.hd95,
        "n_structures": strict.n_structures,
        "n_missed": strict.n_missed,
        "n_missed_small": strict.n_missed_small,
        "n_spurious": strict.n_spurious,
        "spurious_ml": strict.spurious_ml,
    }
    for name, members in groups.items():
        group = summarise({label: scores[label] for label in members}, "strict", diagonal)
        columns |= {f"{name}_dice": group.dice, f"{name}_nsd": group.nsd}
    return StructureColumns(columns, _by_name(scores, segmenter.labels))


def _without_excuse(score: StructureScore) -> StructureScore:
    """A tissue class goes through every volume's edge, so the edge excuses nobody from finding it."""
    return replace(score, status="missed") if score.status == "missed_cut" else score


def _by_name(scores: Mapping[int, StructureScore], names: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """The structures that occur in either label map."""
    return {
        names[label]: {
            "dice": score.dice,
            "hd95": score.hd95,
            "nsd": score.nsd_surfel,
            "nsd_voxel": score.nsd_voxel,
            "reference_ml": round(score.reference_ml, 6),
            "prediction_ml": round(score.prediction_ml, 6),
            "status": score.status,
        }
        for label, score in scores.items()
        if score.status != "absent"
    }
