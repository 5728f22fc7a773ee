"""A model folder in nnU-Net's format with RANDOM weights: TotalSegmentator's 3 mm architecture without its knowledge.

    python -m benchmarks.random_network models/random

The real weights may not be had everywhere; time, memory and parity of the segmentation do not depend on their values.
The architecture: five stages of 32 to 320 features are what 0.736 TFLOP per 112 x 112 x 128 patch and a checkpoint of
165 MB (weights and momentum, 133 MB; the rest is the log of 4000 epochs with 117 Dice values each) leave possible.
plans.json is in the format of the first nnU-Net v2 releases, as that of the published model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from evaluation.structures import STRUCTURE_NAMES

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
NOTE = "RANDOM WEIGHTS: made by benchmarks/random_network.py for tests and timing. Its labels mean nothing.\n"
SPREAD = 3.0
"""Factor on the last layer's weights, so that many labels win somewhere."""


def make_plans(*, small: bool, reader: str = "NibabelIOWithReorient") -> dict[str, Any]:
    stages = 3 if small else 5
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 3.0, 3.0],
        "original_median_shape_after_transp": [100, 120, 120],
        "image_reader_writer": reader,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "max": 3071.0,
                "mean": -50.387,
                "median": 20.0,
                "min": -1024.0,
                "percentile_00_5": -1004.0,
                "percentile_99_5": 1588.0,
                "std": 503.392,
            }
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [24, 32, 40] if small else [112, 112, 128],
                "median_image_size_in_voxels": [100.0, 120.0, 120.0],
                "spacing": [3.0, 3.0, 3.0],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "UNet_class_name": "PlainConvUNet",
                "UNet_base_num_features": 4 if small else 32,
                "n_conv_per_stage_encoder": [1 if small else 2] * stages,
                "n_conv_per_stage_decoder": [1 if small else 2] * (stages - 1),
                "num_pool_per_axis": [stages - 1] * 3,
                "pool_op_kernel_sizes": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "conv_kernel_sizes": [[3, 3, 3]] * stages,
                "unet_max_num_features": 320,
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
                "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {
                    "is_seg": False,
                    "order": 1,
                    "order_z": 0,
                    "force_separate_z": None,
                },
                "batch_dice": True,
            }
        },
    }


def make_network(plans: dict[str, Any], outputs: int, seed: int) -> torch.nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    configuration = plans["configurations"]["3d_fullres"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    stages = len(configuration["conv_kernel_sizes"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PlainConvUNet(
            1,
            stages,
            [min(base * 2**stage, most) for stage in range(stages)],
            torch.nn.Conv3d,
            configuration["conv_kernel_sizes"],
            configuration["pool_op_kernel_sizes"],
            configuration["n_conv_per_stage_encoder"],
            outputs,
            configuration["n_conv_per_stage_decoder"],
            True,
            torch.nn.InstanceNorm3d,
            {"eps": 1e-5, "affine": True},
            None,
            None,
            torch.nn.LeakyReLU,
            {"inplace": True},
        )
        last = network.decoder.seg_layers[-1]
        torch.nn.init.normal_(last.weight, std=SPREAD * last.weight.shape[1] ** -0.5)
        torch.nn.init.zeros_(last.bias)
    return network


def write_random_checkpoint(
    folder: Path, *, small: bool = False, seed: int = 0, plans: dict[str, Any] | None = None
) -> Path:
    """Write the model below `folder` as TotalSegmentator's results folder holds it; return the model's own folder."""
    plans = plans or make_plans(small=small)
    model = folder / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres"
    (model / "fold_0").mkdir(parents=True, exist_ok=True)
    names = ["background", *STRUCTURE_NAMES.values()]
    dataset = {
        "name": "TotalSegmentator",
        "channel_names": {"0": "CT"},
        "labels": {name: label for label, name in enumerate(names)},
        "numTraining": 1559,
        "file_ending": ".nii.gz",
    }
    network = make_network(plans, len(names), seed)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True)
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        # nnU-Net logs numpy numbers, which a loader of tensors alone refuses.
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float64(0.25)] * 117]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": None,
    }
    (model / "plans.json").write_text(json.dumps(plans, indent=4), encoding="utf-8")
    (model / "dataset.json").write_text(json.dumps(dataset, indent=4), encoding="utf-8")
    (model / "RANDOM_WEIGHTS.txt").write_text(NOTE, encoding="utf-8")
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    return model


def main(folder: Path, small: Annotated[bool, typer.Option("--small")] = False, seed: int = 0) -> None:
    typer.echo(f"random weights in {write_random_checkpoint(folder, small=small, seed=seed)}")


if __name__ == "__main__":
    typer.run(main)
