"""One run of benchmarks/ablations.py: train an arm on a fold, predict the held-out cases, score them, keep the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation_arms import ARMS, write_settings
from benchmarks.checkerboard import PERIODS, checkerboard_index
from evaluation.metrics import structure_agreement
from evaluation.segmenters.tissue import LOWER_LIMITS, SPONGY_BONE
from synthct.dataset import Case, CaseFiles, find_cases, load_case
from synthct.errors import InputError, SynthCTError
from synthct.files import write_text
from synthct.planning.plan import Plan
from synthct.volume import Volume, read_volume, require_same_grid

__all__ = ["Experiment", "bone_scores", "link_held_out", "perform"]

BONE_HU = LOWER_LIMITS[SPONGY_BONE]
SAME_VOXEL = 1e-3
FROM_METRICS = ("mae", "dice_bone", "mae_bone", "mae_compact_bone", "nsd_tolerance_mm")
COMMAND = "from synthct.cli import main; main()"


@dataclass(frozen=True)
class Experiment:
    """What all runs share.

    Attributes:
        data: data set root.
        work: folder of plans, settings, runs and scores.
        excluded: cases of `data` that are never read.
        iterations: of each arm, all its stages together.
        threads: of each command.
        extractor: its folder; None where no arm needs one.
    """

    data: Path
    work: Path
    excluded: tuple[str, ...]
    iterations: int
    threads: int
    extractor: Path | None

    def rows_file(self, arm: str, fold: int) -> Path:
        """Where the rows of a run lie when it is done."""
        return self.work / "scores" / arm / f"fold_{fold}" / "rows.json"


def link_held_out(cases: Sequence[CaseFiles], names: Sequence[str], folder: Path) -> Path:
    """Make a data set root that holds the named cases alone, as links, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for files in cases:
        link = folder / files.id
        if files.id in names and not link.is_symlink():
            try:
                link.symlink_to(files.image.parent.resolve(), target_is_directory=True)
            except FileExistsError:
                continue  # the other half of the runs was faster
    return folder


def perform(experiment: Experiment, arm: str, fold: int, held_out: Path) -> Path:
    """Train, predict and score one arm on one fold; what is finished is not done again.

    Args:
        experiment: what all runs share; `work` holds plans/ and splits.json.
        arm: of `ARMS`.
        fold: of splits.json.
        held_out: data set root of the fold's held-out cases.

    Returns:
        The file of its rows.

    Raises:
        SynthCTError: a command failed; the message ends with its last line.
    """
    rows_file = experiment.rows_file(arm, fold)
    if rows_file.exists():
        return rows_file
    scores = rows_file.parent
    model, seconds = _train(experiment, arm, fold)
    predictions = scores / "predictions"
    _synthct(experiment, arm, fold, "predict", ARMS[arm].algorithm, held_out, predictions, "--model", model,
             "--device", "cpu", "--precision", "fp32")  # fmt: skip
    _synthct(experiment, arm, fold, "evaluate", predictions, held_out, scores, "--segmenter", "tissue",
             "--workers", "1", "--device", "cpu")  # fmt: skip
    metrics = json.loads((scores / "metrics.json").read_text(encoding="utf-8"))
    cases = {files.id: files for files in find_cases(held_out)}
    plan_file = _plan_file(experiment, arm)
    plan = None if plan_file is None else Plan.read(plan_file)
    rows = [_row(row, cases[row["case"]], predictions, plan) for row in metrics["results"]]
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    content = {
        "arm": arm,
        "fold": fold,
        "seconds": seconds,
        "extractors": card["extractors"],
        "trained_on": card["trained_on"],
        "rows": rows,
    }
    return write_text(rows_file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def bone_scores(reference: Volume, sct: Volume, mask: Volume, tolerance_mm: float) -> dict[str, float | None]:
    """HD95 in mm and NSD (by area) of bone as a whole: voxels of 150 HU or more inside the mask.

    Returns:
        `hd95_bone`, None unless CT and sCT both hold bone; `nsd_surfel_bone`, 0 where one of them does, None where
        neither does.
    """
    inside = mask.voxels > 0
    wanted, found = (((volume.voxels >= BONE_HU) & inside).astype(np.uint8) for volume in (reference, sct))
    agreement = structure_agreement(wanted, found, [1], reference.spacing_zyx, nsd_tolerance_mm=tolerance_mm)
    score = agreement.per_structure[1]
    return {"hd95_bone": score.hd95, "nsd_surfel_bone": score.nsd_surfel}


def _train(experiment: Experiment, arm: str, fold: int) -> tuple[Path, float | None]:
    """Model folder of the last stage, and seconds of all its stages, starts of the program included."""
    work, kept = experiment.work, experiment.rows_file(arm, fold).with_name("training.json")
    settings = write_settings(work / "configs", arm, experiment.iterations)
    seconds: list[float | None] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    model = None
    for number, (config, stage) in enumerate(zip(settings, ARMS[arm].stages, strict=True)):
        run_dir = work / "runs" / arm / f"stage_{number + 1}"
        before, model = model, run_dir / f"fold_{fold}"
        if (model / "model.json").exists():
            continue
        taken_up = (model / "checkpoint.pt").exists()
        options: list[str | Path] = ["--config", config, "--fold", str(fold), "--splits", work / "splits.json"]
        options += ["--cache", work / "cache", "--device", "cpu", "--workers", "0"]
        options += [part for name in experiment.excluded for part in ("--exclude", name)]
        plan = _plan_file(experiment, arm)
        options += ["--plan", plan] if before is None and plan is not None else []
        options += ["--init", before] if before is not None else []
        if stage.afp and experiment.extractor is not None:
            options += ["--extractor", experiment.extractor]
            options += ["--random-extractor"] if ARMS[arm].random_extractor else []
        if taken_up:
            options.append("--resume")
        began = time.perf_counter()
        _synthct(experiment, arm, fold, "train", ARMS[arm].algorithm, experiment.data, run_dir, *options)
        seconds = [*seconds[:number], None if taken_up else time.perf_counter() - began]
        write_text(kept, json.dumps(seconds) + "\n")
    if model is None:
        raise SynthCTError(f"arm '{arm}' has no stage; expected one at least")
    known = [value for value in seconds if value is not None]
    return model, sum(known) if len(known) == len(settings) else None


def _plan_file(experiment: Experiment, arm: str) -> Path | None:
    name = ARMS[arm].plan_name
    return None if name is None else experiment.work / "plans" / name


def _row(row: dict[str, Any], files: CaseFiles, predictions: Path, plan: Plan | None) -> dict[str, Any]:
    """What the report needs of a case: columns of metrics.json, bone as one structure, the checkerboard index."""
    case = load_case(files)
    if case.reference is None:
        raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected one to compare with")
    sct = read_volume(predictions / f"{files.id}.mha")
    require_same_grid(case.reference, sct)
    found: dict[str, Any] = {"case": files.id, **{name: row.get(name) for name in FROM_METRICS}}
    found |= bone_scores(case.reference, sct, case.mask, row["nsd_tolerance_mm"])
    return found | _checkerboard(case, case.reference, sct, plan)


def _checkerboard(case: Case, ct: Volume, sct: Volume, plan: Plan | None) -> dict[str, float | None]:
    """Index of all periods together and of each; null where resampling moved the strides off the voxel grid.

    Without a plan the network worked on the case's own grid.
    """
    names = {"checkerboard": PERIODS, **{f"checkerboard_{period}": (period,) for period in PERIODS}}
    if plan is not None and not np.allclose(ct.spacing_zyx[1:], plan.spacing[1:], atol=0, rtol=SAME_VOXEL):
        return dict.fromkeys(names)
    arrays = sct.voxels, ct.voxels, case.mask.voxels
    return {name: checkerboard_index(*arrays, periods) for name, periods in names.items()}


def _synthct(experiment: Experiment, arm: str, fold: int, *arguments: str | Path) -> None:
    """Run the command, its words kept in work/logs."""
    log = experiment.work / "logs" / f"{arm}-fold_{fold}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = {f"{library}_NUM_THREADS": str(experiment.threads) for library in ("OMP", "MKL", "OPENBLAS")}
    with log.open("a", encoding="utf-8") as stream:
        status = subprocess.run(
            [sys.executable, "-c", COMMAND, *map(str, arguments)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | threads,
            check=False,
        ).returncode
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing was said")
        raise SynthCTError(f"{log}: synthct {arguments[0]} ended with exit code {status}: {last}")
