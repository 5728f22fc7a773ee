"""Small settings, extractors and cases for the tests of nnresunet-afp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from algorithms.nnresunet_afp.network import build_network
from algorithms.nnresunet_afp.predictor import ModelConfig
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.training import Launcher, TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases
from synthct.features.backbones import build_backbone, read_settings
from synthct.features.folder import save_extractor
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import own_tensors
from synthct.networks.unet import UNetPlan
from synthct.planning.plan import Plan
from synthct.weights import ModelFolder, save_model

__all__ = [
    "CBCT",
    "CPU",
    "CT",
    "NETWORK",
    "PATCH",
    "PRESET",
    "WITH_FEATURES",
    "make_plan_by_hand",
    "model_config",
    "quiet",
    "save_random_model",
    "save_tiny_extractor",
    "settings",
    "training_run",
]

CPU = torch.device("cpu")
CT = ZScore(mean=-100, std=250, low=-1024, high=3071)
CBCT = ZScore(mean=-150, std=300, low=-1024, high=3071)
PATCH = (4, 16, 16)
NETWORK: dict[str, Any] = {
    "kind": "residual",
    "features": [4, 8],
    "kernels": [[1, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2]],
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "upsampling": "trilinear",
}
PRESET: dict[str, Any] = {
    "planner": {"patch": list(PATCH), "network": NETWORK},
    "batch": 1,
    "loop": {"iterations_per_epoch": 2, "epochs": 1, "log_interval": 1},
    "step": 0.5,
}
WITH_FEATURES: dict[str, Any] = {"l1_weight": 5.0, "afp_weight": 1.0, "learning_rate": 1e-3}


def settings(**changes: Any) -> RecipeConfig:
    """A preset of a tiny network; `changes` replaces whole entries."""
    return RecipeConfig.model_validate(PRESET | changes)


def make_plan_by_hand(**changes: Any) -> Plan:
    """A plan for MR and limbs of 5 x 3 x 3 mm."""
    content: dict[str, Any] = {
        "spacing": (5.0, 3.0, 3.0),
        "patch": PATCH,
        "batch": 1,
        "network": NETWORK,
        "image": CaseZScore().model_dump(),
        "ct": CT.model_dump(),
    }
    return Plan.model_validate(content | changes)


def model_config(**changes: Any) -> ModelConfig:
    """What model.json of a tiny network holds."""
    content: dict[str, Any] = {
        "network": UNetPlan.model_validate(NETWORK),
        "sweep": SweepSettings(patch=PATCH, step=0.5, merging="mean"),
        "spacing": (3.0, 1.0, 1.0),
        "image": CaseZScore(),
        "ct": CT,
    }
    return ModelConfig.model_validate(content | changes)


def save_random_model(
    folder: Path, config: ModelConfig, *, seed: int = 1, region: Region = Region.ABDOMEN
) -> ModelFolder:
    """Write a model folder with random weights, all of them: norms that start at 0 would leave blocks out."""
    torch.manual_seed(seed)
    network = build_network(config.network, config.image, config.ct, global_skip=config.global_skip)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return save_model(
        folder,
        own_tensors(network),
        half=False,
        algorithm="nnresunet-afp",
        tasks=(Task.CBCT if isinstance(config.image, ZScore) else Task.MRI,),
        regions=(region,),
        config=config.model_dump(mode="json"),
    )


def save_tiny_extractor(folder: Path, *, seed: int = 3) -> str:
    """Write an extractor folder of two stages and three layers that passes for a trained one; returns its sha256."""
    network = NETWORK | {"kind": "plain", "output_channels": 7, "upsampling": "transposed"}
    backbone = build_backbone("nnunet", read_settings("nnunet", network), seed=seed)
    card = save_extractor(
        folder,
        own_tensors(backbone.stored),
        kind="nnunet",
        network=network,
        normalisation=ZScore(mean=0, std=500, low=-1024, high=2000),
        layers=("encoder.0", "encoder.1", "decoder.0"),
        spacing=(3.0, 1.0, 1.0),
    )
    return card.sha256


def quiet() -> Progress:
    """A progress that shows nothing."""
    return Progress(disable=True)


def training_run(data: Path, run_dir: Path, config: dict[str, Any] | None = None, **changes: Any) -> TrainingRun:
    """A run on every case of a data set, as `synthct train` hands it to the recipe."""
    chosen = PRESET if config is None else config
    return TrainingRun(tuple(find_cases(data)), run_dir, chosen, quiet(), Launcher("cpu"), **changes)
