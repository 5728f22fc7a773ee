"""A small phase on disk: its ground truth, submissions of both kinds, and the commands that score them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from commands.command_line import Outcome, synthct
from commands.limb_cases import limb
from submission_files import SCT_FOLDER, save_jobs

from synthct.volume import write_volume

__all__ = [
    "CASES",
    "OFFSETS",
    "TISSUE",
    "evaluate",
    "read_metrics",
    "run_evaluation",
    "save_flat",
    "save_platform_jobs",
    "save_truth",
]

CASES = ("1EXA001", "1EXA002", "1EXA003")
OFFSETS = dict(zip(CASES, (5, 10, 15), strict=True))
"""HU added to the CT to make each sCT; the MAE, then, in HU."""
TISSUE = {"segmenters": ["tissue"]}


def save_truth(folder: Path, settings: dict[str, Any] | None) -> Path:
    """Write ct/ and mask/ of three limbs, and evaluation.json unless it is None."""
    for number, case in enumerate(CASES):
        write_volume(limb(seed=number).reference, folder / "ct" / f"{case}.mha")
        write_volume(limb(seed=number).mask, folder / "mask" / f"{case}.mha")
    (folder / "dataset.json").write_text('{"simulated": true, "reference": "ct"}')
    if settings is not None:
        (folder / "evaluation.json").write_text(json.dumps(settings))
    return folder


def save_flat(folder: Path, *, suffix: str = ".mha") -> Path:
    """Write a flat folder of sCTs, as the zip of a prediction phase is unpacked."""
    for number, case in enumerate(CASES):
        reference = limb(seed=number).reference
        sct = reference.with_voxels((reference.voxels + OFFSETS[case]).astype(np.int16))
        write_volume(sct, folder / f"{case}{suffix}")
    return folder


def save_platform_jobs(folder: Path, flat: Path, jobs: list[dict[str, Any]]) -> Path:
    """Write the /input of an algorithm phase: job n holds the sCT of the case that its inputs name."""
    save_jobs(folder, *jobs)
    for job in jobs:
        case = next(case for case in CASES if f"_{case}." in json.dumps(job["inputs"]))
        (image,) = (folder / job["pk"] / SCT_FOLDER).iterdir()
        shutil.copy(flat / f"{case}.mha", image)
    return folder


def run_evaluation(source: Path, truth: Path, output: Path, *, prefix: tuple[str, ...] = (), **more: str) -> Outcome:
    """Run the container's command on these folders."""
    folders = {"INPUT_FOLDER": str(source), "OUTPUT_FOLDER": str(output), "GROUND_TRUTH_FOLDER": str(truth)}
    return synthct("run", "evaluation", prefix=prefix, **{"NPROCS": "", **folders, **more})


def evaluate(source: Path, truth: Path, output: Path, *options: str, **environment: str) -> bytes:
    """Score with `synthct evaluate`, and give the bytes of its metrics.json."""
    outcome = synthct("evaluate", source, truth, output, *options, **environment)
    assert outcome.code == 0, outcome.err
    return (output / "metrics.json").read_bytes()


def read_metrics(output: Path) -> dict[str, Any]:
    """Read metrics.json as strict JSON."""
    content: dict[str, Any] = json.loads((output / "metrics.json").read_text(), parse_constant=_refuse)
    return content


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
