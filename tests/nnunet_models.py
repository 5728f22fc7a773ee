"""Models in nnU-Net's own format, with random weights: nnU-Net's network class, its plans, its checkpoint's keys."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

DNA = "dynamic_network_architectures"
CLASSES = {"plain": "PlainConvUNet", "hybrid": "ResidualEncoderUNet", "residual": "ResidualUNet"}
FEATURES = [4, 8, 12, 16]
KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
CT = {"mean": 20.0, "std": 400.0, "percentile_00_5": -900.0, "percentile_99_5": 1500.0, "min": -1024.0, "max": 3071.0}


def architecture(kind: str) -> dict[str, Any]:
    """The `architecture` entry that nnU-Net 2.5 writes."""
    blocks = "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage"
    return {
        "network_class_name": f"{DNA}.architectures.unet.{CLASSES[kind]}",
        "arch_kwargs": {
            "n_stages": 4,
            "features_per_stage": FEATURES,
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": KERNELS,
            "strides": STRIDES,
            blocks: [2, 1, 2, 1],
            "n_conv_per_stage_decoder": [1, 2, 1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def old_architecture() -> dict[str, Any]:
    """The same plain network's keys in plans of the first releases (widths 4, 8, 12, 12)."""
    return {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 12,
        "n_conv_per_stage_encoder": [2, 1, 2, 1],
        "n_conv_per_stage_decoder": [1, 2, 1],
        "num_pool_per_axis": [2, 3, 3],
        "pool_op_kernel_sizes": STRIDES,
        "conv_kernel_sizes": KERNELS,
    }


def make_plans(kind: str = "plain", *, scheme: str = "CTNormalization", old: bool = False) -> dict[str, Any]:
    """plans.json of one configuration."""
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 32, 40],
        "spacing": [3.0, 1.0, 1.0],
        "normalization_schemes": [scheme],
        "use_mask_for_norm": [False],
        **(old_architecture() if old else {"architecture": architecture(kind)}),
    }
    return {
        "dataset_name": "Dataset042_Test",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": CT},
        "configurations": {"3d_fullres": configuration},
    }


def nnunet_network(plans: dict[str, Any], outputs: int, seed: int = 0) -> torch.nn.Module:
    """nnU-Net's own network of these plans, every tensor random, in evaluation mode."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(deepcopy(plans)).get_configuration("3d_fullres")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_network_from_plans(
            manager.network_arch_class_name,
            manager.network_arch_init_kwargs,
            manager.network_arch_init_kwargs_req_import,
            1,
            outputs,
            deep_supervision=True,
        )
        with torch.no_grad():  # norms start at 1 and 0, residual blocks at 0: nothing of that would be proved
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape) * (0.5 if parameter.ndim == 1 else 0.2))
    network.decoder.deep_supervision = False
    return network.eval()


def checkpoint_of(network: torch.nn.Module) -> dict[str, Any]:
    """What nnU-Net's trainer saves, numpy numbers and all."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, nesterov=True)
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(0.25)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu"), "unpack_dataset": True},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


def write_nnunet_model(
    folder: Path,
    plans: dict[str, Any],
    *,
    outputs: int = 3,
    folds: tuple[str, ...] = ("0",),
    channel: str = "CT",
) -> dict[str, torch.nn.Module]:
    """Write a model folder; return the network of each fold."""
    folder.mkdir(parents=True)
    names = ["background", *(f"organ {label}" for label in range(1, outputs))]
    labels = {name: label for label, name in enumerate(names)}
    dataset = {"channel_names": {"0": channel}, "labels": labels, "file_ending": ".mha", "numTraining": 4}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    networks = {}
    for number, fold in enumerate(folds):
        networks[fold] = nnunet_network(plans, outputs, seed=number)
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint_of(networks[fold]), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return networks
