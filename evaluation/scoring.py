"""One case in, one row of scores out; many rows in, the aggregates out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.metrics import dice_of_counts, image_similarity, label_counts, masked_mae, masked_ssim
from evaluation.segmenters.tissue import BONE, COMPACT_BONE, TISSUES, tissue_labels
from evaluation.submission import ScoringCase
from synthct.dataset import read_image, read_mask
from synthct.errors import InputError
from synthct.header import read_header, require_size
from synthct.volume import require_same_grid

__all__ = ["HU_RANGES", "aggregate", "score_case"]

HU_RANGES = {"synthrad2025": (-1024.0, 3071.0), "synthrad2023": (-1024.0, 3000.0)}
"""Range that PSNR and (MS-)SSIM clip to, by protocol (CONTRACT 3.2, 3.7)."""

NOT_YET = (
    "HD95",
    "nsd",
    "nsd_surfel",
    "nsd_voxel",
    "DICE_strict",
    "HD95_strict",
    "n_structures",
    "n_missed",
    "n_spurious",
)
"""Columns of a result that need structures, which the tissue judge does not find: None."""

Row = dict[str, Any]


def score_case(case: ScoringCase, *, protocol: str = "synthrad2025") -> Row:
    """Score one sCT against its CT inside the mask.

    Returns:
        `case`, the official names (mae in HU, psnr in dB, ms_ssim, DICE; HD95 is None until structures are segmented),
        under synthrad2023 its ssim too; Dice per tissue, of bone as a whole, and the MAE in HU over the reference's
        bone and compact bone. DICE is the mean over the tissues that the reference holds: the judge is `tissue`, and
        the result says so.

    Raises:
        InputError: a file cannot be used, or the sCT lies on another grid than its CT.
    """
    if case.prediction is None:
        raise InputError(f"case {case.id} has no prediction")
    header = read_header(case.ct)
    for path in (case.prediction, case.mask):
        require_size(read_header(path), header.size, of=case.ct)
    reference = read_image(case.ct)
    prediction = read_image(case.prediction)
    require_same_grid(reference, prediction)
    mask = read_mask(case.mask, reference).voxels
    image = image_similarity(reference.voxels, prediction.voxels, mask, HU_RANGES[protocol])
    similarity = {"mae": image.mae, "psnr": image.psnr, "ms_ssim": image.ms_ssim}
    if protocol == "synthrad2023":
        similarity["ssim"] = masked_ssim(reference.voxels, prediction.voxels, mask, HU_RANGES[protocol])
    for name, score in similarity.items():
        if score is None:
            warnings.warn(f"case {case.id}: {name} is undefined (null) and counts in no aggregate", stacklevel=2)
    labels = tissue_labels(reference.voxels, mask)
    predicted = tissue_labels(prediction.voxels, mask)
    counts = label_counts(labels, predicted)
    dice = dice_of_counts(counts, TISSUES)
    present = [score for label, score in dice.items() if score is not None and counts[label].sum() > 0]
    bone, predicted_bone = (np.isin(map_, BONE) for map_ in (labels, predicted))
    return {
        "case": str(case.id),
        "region": case.id.region.value,
        "task": case.id.task.value,
        **similarity,
        "DICE": float(np.mean(present)) if present else None,
        **dict.fromkeys(NOT_YET),
        **{f"dice_{TISSUES[label]}": score for label, score in dice.items()},
        "dice_bone": dice_of_counts(label_counts(bone.astype(np.uint8), predicted_bone.astype(np.uint8)), [1])[1],
        "mae_bone": masked_mae(reference.voxels, prediction.voxels, bone),
        "mae_compact_bone": masked_mae(reference.voxels, prediction.voxels, labels == COMPACT_BONE),
    }


def aggregate(rows: Sequence[Row]) -> dict[str, dict[str, float | int | None]]:
    """Summarise every numeric column: mean, max, min, std (population), quartiles, and how many cases counted.

    A value that is None is left out of its column and shows in `count`; a column without any value is all None.
    """
    columns: dict[str, dict[str, float | int | None]] = {}
    for key in rows[0] if rows else ():
        if key in ("case", "region", "task"):
            continue
        values = np.array([row[key] for row in rows if row.get(key) is not None], dtype=np.float64)
        quartiles = np.quantile(values, [0.25, 0.5, 0.75]) if values.size else [None] * 3
        columns[key] = {
            "mean": float(values.mean()) if values.size else None,
            "max": float(values.max()) if values.size else None,
            "min": float(values.min()) if values.size else None,
            "std": float(values.std()) if values.size else None,
            **{
                name: float(value) if value is not None else None
                for name, value in zip(("25pc", "50pc", "75pc"), quartiles, strict=True)
            },
            "count": int(values.size),
        }
    return columns
