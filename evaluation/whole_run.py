"""One whole evaluation from two folders: what `synthct evaluate` and the evaluation container both do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.executor import default_workers
from evaluation.rows import ScoredCase
from evaluation.segmenters.registry import describe_segmenter
from evaluation.submission import (
    Problem,
    ScoringCase,
    find_predictions,
    find_references,
    match,
    read_notes,
)
from synthct.errors import InputError
from synthct.header import read_header

__all__ = ["FoundCases", "find_cases", "fitting_workers", "judges_differ", "lines_about", "summary"]

SHOWN = ("mae", "psnr", "ssim", "ms_ssim", "DICE", "HD95", "nsd", "dice_bone", "mae_compact_bone")


@dataclass(frozen=True)
class FoundCases:
    """What is to be scored.

    Attributes:
        cases: with their predictions, in the order of their ids.
        problems: cases that cannot even be tried, one line each.
        notes: what predictions and ground truth say of themselves (`evaluation.notes.read_notes`).
    """

    cases: list[ScoringCase]
    problems: tuple[Problem, ...]
    notes: dict[str, Any]


def find_cases(predictions: Path, ground_truth: Path, *, reference: str = "ct") -> FoundCases:
    """Match the predictions with their references.

    Args:
        predictions: flat folder of <case id>.mha, or the platform's /input with predictions.json.
        ground_truth: data set root, or ct/ mask/ segmentation/.
        reference: which CT of a data set, `ct` or `ct_def`.

    Raises:
        InputError: a folder cannot be used, or no case can be scored.
        UsageError: the ground truth says that it holds another reference.
    """
    references = find_references(ground_truth, reference=reference)
    cases, problems = match(references, find_predictions(predictions))
    return FoundCases(cases, problems, read_notes(predictions, cases, ground_truth=ground_truth))


def judges_differ(specs: Sequence[str]) -> bool:
    """Tell whether each judge bears a name of its own, as columns need it; this also proves that each can be had.

    Raises:
        UsageError, WeightsError, InputError: as `evaluation.segmenters.registry.describe_segmenter`.
    """
    names = [describe_segmenter(spec)[0] for spec in specs]
    return len(set(names)) == len(names)


def fitting_workers(cases: Sequence[ScoringCase], specs: Sequence[str]) -> int:
    """How many processes fit this machine, by the largest case and the judges; at least 1."""
    kinds = {spec.partition(":")[0] for spec in specs}
    return default_workers(len(cases), voxels=max(map(_voxels, cases), default=0), kinds=kinds)


def lines_about(scored: ScoredCase) -> list[str]:
    """What a user is told of a finished case: its warnings, and why it has no scores; one line each."""
    lines = [f"warning: {text}" for text in scored.warnings]
    if scored.failure is not None:
        lines.append(f"warning: case {scored.case} is not scored: {scored.failure}")
    return lines


def summary(metrics: dict[str, Any], path: Path) -> str:
    """The means over the cases that a user looks at first, and where the rest lies; one line."""
    means: dict[str, Any] = metrics["aggregates"]
    shown = [f"{name} {mean:.4g}" for name in SHOWN if (mean := means.get(name, {}).get("mean")) is not None]
    count = len(metrics["results"])
    cases = f"{count} case{'s' if count > 1 else ''}"
    return f"{cases}, judged by {metrics['segmenter']}: {', '.join(shown)}; details in {path}"


def _voxels(case: ScoringCase) -> int:
    """How many voxels a case's CT announces; 0 where its header is bad, which its worker will say."""
    try:
        return math.prod(read_header(case.ct).size)
    except InputError:
        return 0
