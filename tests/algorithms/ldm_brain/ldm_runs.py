"""Small simulated heads, settings that train on them in a second, and runs as `synthct train` makes them."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

from ldm_models import PATCH
from ldm_settings import NETWORKS
from rich.progress import Progress
from safetensors.torch import load_file
from torch import Tensor

from algorithms.ldm_brain.settings import RecipeConfig
from algorithms.training import Launcher, TrainingRun
from synthct.dataset import find_cases
from synthct.phantom import PhantomCase, make_phantom
from synthct.volume import write_volume

__all__ = ["CASES", "PRESET", "SETTINGS", "config_of", "rows", "save_heads", "tiny", "training_run", "weights"]

CASES = ("1BA001", "1BA002", "1BA003")
_LOOP: dict[str, Any] = {"iterations_per_epoch": 1, "epochs": 2, "log_interval": 1, "clip_norm": None}
_LOOP |= {"schedule": "fixed", "validation_interval": 1, "keep": "last"}
PRESET: dict[str, Any] = {
    "networks": NETWORKS.model_dump(mode="json"),
    "noise": {"prediction": "v_prediction"},
    "sampling": {"steps": 2},
    "patches": {"patch": list(PATCH), "foreground": 0.5, "augment": True},
    "spacing": [12.0, 12.0, 12.0],
    "autoencoder": {"learning_rate": 1e-3, "loop": _LOOP},
    "diffusion": {"learning_rate": 1e-3, "batch": 2, "loop": _LOOP | {"ema": 0.9}},
    "controlnet": {"learning_rate": 1e-3, "loop": _LOOP},
    "perceptual_weight": 0.0,
    "warm_up_epochs": 1,
    "discriminator": {"channels": 4, "layers": 1},
    "scale_patches": 2,
    "validation_steps": 2,
}
SETTINGS = PRESET | {"validation_cases": [CASES[2]]}


@cache
def _head(seed: int) -> PhantomCase:
    return make_phantom("head", task="mri", seed=seed, size=(18, 20, 22), spacing=(12.0, 12.0, 12.0))


def save_heads(root: Path) -> Path:
    """Write three heads as SynthRAD2025 lays them out; each case a folder of its own."""
    for seed, name in enumerate(CASES, 1):
        case, folder = _head(seed), root / name
        folder.mkdir(parents=True)
        for kind, volume in (("mr", case.image), ("mask", case.mask), ("ct", case.reference)):
            write_volume(volume, folder / f"{kind}.mha")
    return root


def tiny(**changes: Any) -> RecipeConfig:
    """A preset of tiny networks; `changes` replaces whole entries."""
    return RecipeConfig.model_validate(PRESET | changes)


def training_run(data: Path, run_dir: Path, preset: dict[str, Any] | None = None, **changes: Any) -> TrainingRun:
    """A run on every case of a data set, as `synthct train` hands it to the recipe."""
    settings = PRESET if preset is None else preset
    progress = Progress(disable=True)
    return TrainingRun(tuple(find_cases(data)), run_dir, settings, progress, Launcher("cpu"), **changes)


def weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of a model folder, as they are stored."""
    return load_file(folder / "weights.safetensors")


def rows(folder: Path) -> list[dict[str, str]]:
    """The lines of a stage's history."""
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def config_of(folder: Path) -> dict[str, Any]:
    """What model.json says of the networks."""
    content: dict[str, Any] = json.loads((folder / "model.json").read_text())["config"]
    return content
