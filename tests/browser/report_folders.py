"""Folders with pages to look at: cases of small simulated limbs, a board with hostile names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from commands.limb_cases import save_limb
from report_builders import REPORT_SCORES, metrics_of

from synthct.volume import read_volume, write_volume

__all__ = ["make_board", "make_predictions"]


def make_predictions(root: Path, *, manifest: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """Two cases, predictions and data below `root`: 1EXA001 with a CT and a spread, 1EXA002 with neither."""
    data, predictions = root / "data", root / "predictions"
    rng = np.random.default_rng(0)
    for number, reference in ((1, True), (2, False)):
        name = f"1EXA00{number}"
        folder = save_limb(data / "Task1" / "EX" / name, seed=number, reference=True)
        ct = read_volume(folder / "ct.mha")
        if not reference:
            (folder / "ct.mha").unlink()
            (folder / "segmentation.mha").unlink()
        noisy = np.clip(ct.voxels + rng.normal(0, 60, ct.voxels.shape), -1024, 3071).astype(np.int16)
        predictions.mkdir(exist_ok=True)
        write_volume(ct.with_voxels(noisy), predictions / f"{name}.mha")
        if reference:
            (predictions / "spread").mkdir()
            spread = np.abs(rng.normal(0, 30, ct.voxels.shape)).astype(np.float32)
            write_volume(ct.with_voxels(spread), predictions / "spread" / f"{name}.mha")
    (data / "dataset.json").write_text(json.dumps({"simulated": True}))
    if manifest is not None:
        (predictions / "manifest.json").write_text(json.dumps(manifest))
    return predictions, data


def make_board(root: Path, names: list[str], cases: list[str]) -> list[Path]:
    """A metrics.json per name, each entry worse than the one before; returns their folders."""
    folders = []
    for place, name in enumerate(names):
        folder = root / f"entry-{place}"
        folder.mkdir(parents=True)
        content = metrics_of(cases, {key: low + place * step for key, (low, step) in REPORT_SCORES.items()})
        content["manifest"] = {"prediction": {"algorithm": name}}
        (folder / "metrics.json").write_text(json.dumps(content))
        folders.append(folder)
    return folders
