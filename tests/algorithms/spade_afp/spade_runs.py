"""Small settings, models and extractors for the tests of spade-afp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from algorithms.spade_afp.network import build_generator
from algorithms.spade_afp.predictor import ModelConfig
from algorithms.spade_afp.settings import CT_SCALE, RecipeConfig
from algorithms.training import Launcher, TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.networks.state import own_tensors
from synthct.weights import ModelFolder, save_model

__all__ = [
    "GLOBAL",
    "IMAGE",
    "JUDGE",
    "PATCH",
    "PRESET",
    "SPADE",
    "model_config",
    "save_random",
    "tiny",
    "training_run",
]

PATCH = (8, 16, 16)
SPADE: dict[str, Any] = {"kind": "spade", "width": 2, "hidden": 2, "multiples": [2, 1], "strides": [[1, 2, 2]]}
GLOBAL: dict[str, Any] = {"kind": "pix2pixhd", "width": 2, "strides": [[1, 2, 2]], "blocks": 1}
JUDGE: dict[str, Any] = {"layers": 1, "width": 2, "kernel": [3, 4, 4], "stride": [1, 2, 2], "pool": [1, 2, 2]}
PRESET: dict[str, Any] = {
    "generator": SPADE,
    "discriminator": JUDGE,
    "sampling": {"patch": list(PATCH)},
    "loop": {"iterations_per_epoch": 2, "epochs": 2, "log_interval": 1, "clip_norm": None, "schedule": "linear-tail"},
    "image": "scale",
}
IMAGE = LinearScale(low=0.0, high=4000.0, scale=1000.0)


def tiny(**changes: Any) -> RecipeConfig:
    """A preset of tiny networks; `changes` replaces whole entries."""
    return RecipeConfig.model_validate(PRESET | changes)


def model_config(**changes: Any) -> ModelConfig:
    """What model.json of a tiny network holds."""
    sweep = SweepSettings(patch=PATCH, step=0.5, merging="median-lower")
    return ModelConfig.model_validate(
        {"generator": SPADE, "sweep": sweep, "image": IMAGE.model_dump(), "ct": CT_SCALE.model_dump()} | changes
    )


def save_random(folder: Path, *, seed: int = 0, region: Region = Region.PELVIS, **changes: Any) -> ModelFolder:
    """A model folder with random weights, as training saves it but in float32."""
    config = model_config(**changes)
    torch.manual_seed(seed)
    return save_model(
        folder,
        own_tensors(build_generator(config.generator, spectral_norm=False)),
        half=False,
        algorithm="spade-afp",
        tasks=(Task.MRI,),
        regions=(region,),
        config=config.model_dump(mode="json"),
    )


def training_run(data: Path, run_dir: Path, preset: dict[str, Any] | None = None, **changes: Any) -> TrainingRun:
    """A run on every case of a data set, as `synthct train` hands it to the recipe."""
    settings = PRESET if preset is None else preset
    progress = Progress(disable=True)
    return TrainingRun(tuple(find_cases(data)), run_dir, settings, progress, Launcher("cpu"), **changes)
