"""nnU-Net's own planner, run on figures instead of a data set: the oracle of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["NnUNetPlan", "make_planner", "plan_of"]

NAME = "Dataset001_Figures"


@dataclass(frozen=True)
class NnUNetPlan:
    """What nnU-Net chose; triples turned back to z, y, x."""

    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    features: tuple[int, ...]


def make_planner(folder: Path, monkeypatch: Any, name: str = "ExperimentPlanner") -> Any:
    """Make nnU-Net's planner on a data set that has nothing but its two JSON files."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as module
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as residual,
    )

    raw, preprocessed = folder / "raw", folder / "preprocessed"
    for place in (raw / NAME / "imagesTr", raw / NAME / "labelsTr", preprocessed / NAME):
        place.mkdir(parents=True)
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".mha"}
    (raw / NAME / "dataset.json").write_text(json.dumps(content))
    (preprocessed / NAME / "dataset_fingerprint.json").write_text("{}")
    monkeypatch.setattr(module, "nnUNet_raw", str(raw))  # what its environment variables would say
    monkeypatch.setattr(module, "nnUNet_preprocessed", str(preprocessed))
    return getattr(module if hasattr(module, name) else residual, name)(NAME, 8)


def plan_of(
    planner: Any, spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]], gpu_memory_gb: float = 8.0
) -> NnUNetPlan:
    """Run its rules for 3d_fullres on the cases' spacings and shapes (z, y, x)."""
    import torch
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

    planner.dataset_fingerprint = {
        "spacings": [list(spacing) for spacing in spacings],
        "shapes_after_crop": [list(shape) for shape in shapes],
        "median_relative_size_after_cropping": 1.0,
    }
    planner.dataset_json["numTraining"] = len(shapes)
    planner.UNet_vram_target_GB = gpu_memory_gb
    forward, backward = planner.determine_transpose()
    spacing = planner.determine_fullres_target_spacing()
    table = [compute_new_shape(shape, own, spacing) for own, shape in zip(spacings, shapes, strict=True)]
    median = np.median(table, 0)[forward]
    voxels = float(np.prod(median, dtype=np.float64) * len(shapes))
    with torch.device("meta"):  # it builds networks to count their feature maps; no weights are needed for that
        plan = planner.get_plans_for_configuration(spacing[forward], median, "3d_fullres", voxels, {})
    architecture = plan["architecture"]["arch_kwargs"]

    def back(triple: Sequence[Any]) -> tuple[int, ...]:
        return tuple(int(triple[axis]) for axis in backward)

    return NnUNetPlan(
        spacing=tuple(float(edge) for edge in spacing),
        patch=back(plan["patch_size"]),
        batch=int(plan["batch_size"]),
        strides=tuple(back(stride) for stride in architecture["strides"]),
        kernels=tuple(back(kernel) for kernel in architecture["kernel_sizes"]),
        features=tuple(architecture["features_per_stage"]),
    )
