"""Small heads and tiny random networks for the benchmark of ldm-brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_volume
from ldm_settings import CT, NETWORKS

from algorithms.ldm_brain.model import ModelConfig
from algorithms.ldm_brain.networks import build_networks
from algorithms.ldm_brain.noise import NoiseConfig
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.networks.state import own_tensors
from synthct.weights import ModelFolder, save_model

__all__ = ["SPACING", "engine", "head", "save_tiny"]

SHAPE, SPACING = (12, 14, 13), 4.0


def head(name: str, *, seed: int = 0, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Case:
    """A block of noise with a shell of bone in air; grid and model have one spacing."""
    rng = np.random.default_rng(seed)
    mr, hu = rng.integers(0, 6, SHAPE), np.full(SHAPE, -1000)
    mr[2:10, 2:12, 2:11] = rng.integers(300, 500, (8, 10, 9))
    hu[2:10, 2:12, 2:11] = 900
    hu[3:9, 3:11, 3:10] = rng.integers(0, 60, (6, 8, 7))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:11, 1:13, 1:12] = 1
    grid: dict[str, Any] = {"spacing": (SPACING,) * 3, "origin": origin}
    volumes = [make_volume(voxels.astype(np.int16), **grid) for voxels in (mr, hu)]
    return Case(name, Task.MRI, Region.BRAIN, volumes[0], make_volume(mask, **grid), volumes[1])


def save_tiny(folder: Path, *, stage: bool = False, algorithm: str = "ldm-brain") -> ModelFolder:
    """A model folder with random weights; with `stage` the first stage's, of the same autoencoder."""
    torch.manual_seed(0)
    networks = build_networks(NETWORKS)
    with torch.no_grad():
        for tensor in networks.parameters():  # what MONAI begins with 0 would hide MR and steps
            if not tensor.any():
                tensor.normal_(std=0.2)
    noise = NoiseConfig(prediction="v_prediction")
    shared = {"networks": NETWORKS, "noise": noise, "spacing": (SPACING,) * 3, "patch": (16, 16, 16), "ct": CT}
    config = ModelConfig.model_validate(
        {**shared, "sampling": {"steps": 2}, "scale_factor": 1.0, "image": {"kind": "case-percentile"}}
    ).model_dump(mode="json")
    tensors = own_tensors(networks)
    if stage:
        config = {name: config[name] for name in (*shared, "image")} | {"stage": "autoencoder", "layout": "tiles"}
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("autoencoder.")}
    return save_model(
        folder,
        tensors,
        half=False,
        algorithm=algorithm,
        tasks=(Task.MRI,),
        regions=(Region.BRAIN,),
        config=config,
    )


def engine(seed: int = 0) -> Engine:
    return Engine(torch.device("cpu"), seed=seed)
