"""One case in, one row of scores out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.aggregates import OFFICIAL
from evaluation.image_scores import HU_RANGES, image_columns, repaired
from evaluation.metrics import dice_of_counts, label_counts, masked_mae
from evaluation.segmenters.registry import open_segmenter
from evaluation.segmenters.tissue import BONE, COMPACT_BONE, TISSUES, tissue_labels
from evaluation.structure_scores import in_plane_tolerance, structure_columns
from evaluation.submission import ScoringCase
from synthct.dataset import read_image, read_mask
from synthct.errors import InputError
from synthct.header import read_header, require_size
from synthct.volume import Volume, read_volume

__all__ = ["ScoringSettings", "score_case"]

Array = npt.NDArray[Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class ScoringSettings:
    """How cases are scored; every worker gets the same.

    Attributes:
        protocol: synthrad2025 or synthrad2023.
        segmenters: judges of the structures, as `--segmenter` names them; the first fills the plain column names.
        nsd_tolerance_mm: tolerance of NSD; None for twice the voxel's width in the image plane.
        device: of networks: auto, cpu or cuda.
        cache: folder of segmentations by content; None for none.
        threads: of one worker; None for all usable cores.
    """

    protocol: str = "synthrad2025"
    segmenters: tuple[str, ...] = ("tissue",)
    nsd_tolerance_mm: float | None = None
    device: str = "auto"
    cache: Path | None = None
    threads: int | None = None


def score_case(case: ScoringCase, settings: ScoringSettings | None = None) -> Row:
    """Score one sCT against its CT.

    Returns:
        `case`, `region`, `task`; the image columns (`evaluation.image_scores`); the structure columns of the first
        judge (`evaluation.structure_scores`), of each further judge with _<its name> behind the column's; Dice per
        tissue and of bone as a whole, and the MAE in HU over the reference's bone and compact bone; `nsd_tolerance_mm`;
        `geometry_differs`, None or in words how the sCT's grid differs from its CT's: the official program puts the
        CT's in its place without a look, so the case is scored as it is and flagged (CONTRACT 3.6, 7); `structures`,
        the scores of each structure per judge.

    Raises:
        InputError: a file cannot be used, or the sCT has another size than its CT.
        WeightsError: a judge lacks its weights.
    """
    settings = settings or ScoringSettings()
    reference, prediction, mask, differing = _read(case)
    hu_range = HU_RANGES[settings.protocol]
    images = image_columns(reference.voxels, prediction.voxels, mask, settings.protocol, threads=settings.threads)
    _warn_of_undefined(case, images)
    prediction = replace(prediction, voxels=repaired(prediction.voxels, reference.voxels, hu_range))
    tolerance = settings.nsd_tolerance_mm or in_plane_tolerance(reference.spacing_zyx)
    columns: Row = {}
    structures: dict[str, Any] = {}
    for position, spec in enumerate(settings.segmenters):
        judge = open_segmenter(spec, device=settings.device, cache=settings.cache)
        found = structure_columns(
            judge,
            case.id.region,
            judge.segment_reference(reference, mask, case.segmentation, case=str(case.id)),
            judge.segment(prediction, mask, case=str(case.id)),
            reference.spacing_zyx,
            tolerance_mm=tolerance,
            threads=settings.threads,
        )
        if not found.columns["n_structures"]:
            warnings.warn(
                f"case {case.id}: {judge.name} finds no structure of region {case.id.region.value} in the CT; "
                "officially that is DICE 0 and HD95 0, strictly nothing",
                stacklevel=2,
            )
        suffix = f"_{judge.name}" if position else ""
        columns |= {f"{name}{suffix}": value for name, value in found.columns.items()}
        structures[judge.name] = found.structures
    return {
        "case": str(case.id),
        "region": case.id.region.value,
        "task": case.id.task.value,
        **images,
        **columns,
        **_tissue_columns(reference.voxels, prediction.voxels, mask),
        "nsd_tolerance_mm": tolerance,
        "geometry_differs": differing,
        "structures": structures,
    }


def _read(case: ScoringCase) -> tuple[Volume, Volume, Array, str | None]:
    """CT, sCT (on the CT's grid) and mask of a case, and how the sCT's own grid differs."""
    if case.prediction is None:
        raise InputError(f"case {case.id} has no prediction")
    header = read_header(case.ct)
    for path in (case.prediction, case.mask):
        require_size(read_header(path), header.size, of=case.ct)
    reference = read_image(case.ct)
    prediction = read_volume(case.prediction)
    mask = read_mask(case.mask, reference).voxels
    differing = prediction.geometry.difference(reference.geometry)
    if differing is not None:
        warnings.warn(
            f"case {case.id}: {case.prediction} lies on another grid than {case.ct}: {differing}; it is scored voxel "
            "by voxel, as the official program does, and flagged",
            stacklevel=3,
        )
        prediction = replace(prediction, geometry=reference.geometry)
    return reference, prediction, mask, differing


def _warn_of_undefined(case: ScoringCase, images: dict[str, float | int | None]) -> None:
    for name, score in images.items():
        if score is None:
            told = ", and so is its mean over the cases" if name in OFFICIAL else " and counts in no aggregate"
            warnings.warn(f"case {case.id}: {name} is undefined (null){told}", stacklevel=3)
    if images["n_nonfinite"]:
        warnings.warn(
            f"case {case.id}: {images['n_nonfinite']} voxels inside the mask are no HU (NaN, infinite, beyond int16); "
            "the strict values count them as far off as can be",
            stacklevel=3,
        )


def _tissue_columns(reference: Array, prediction: Array, mask: Array) -> Row:
    """Dice per tissue and of bone, and the MAE over bone: they need no weights, so every row has them."""
    labels, predicted = tissue_labels(reference, mask), tissue_labels(prediction, mask)
    dice = dice_of_counts(label_counts(labels, predicted), TISSUES)
    bone, predicted_bone = (np.isin(map_, BONE) for map_ in (labels, predicted))
    both = label_counts(bone.astype(np.uint8), predicted_bone.astype(np.uint8))
    return {
        **{f"dice_{TISSUES[label]}": score for label, score in dice.items()},
        "dice_bone": dice_of_counts(both, [1])[1],
        "mae_bone": masked_mae(reference, prediction, bone),
        "mae_compact_bone": masked_mae(reference, prediction, labels == COMPACT_BONE),
    }
