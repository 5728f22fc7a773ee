"""The official way from a CT to its labels, through files and nnU-Net's own predictor, step by step (CONTRACT 3.4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from totalsegmentator.alignment import undo_canonical
from totalsegmentator.resampling import change_spacing

from synthct.volume import Volume, write_volume

__all__ = ["checkpoint_in", "nnunet_through_files", "totalsegmentator_through_files"]


def checkpoint_in(model: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(
        model / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False
    )
    return content


def nnunet_through_files(source: Path, target: Path, model: Path, *, configuration: str = "3d_fullres") -> None:
    """nnU-Net's sequential prediction of one file; `target` ends in .nii.gz.

    The network is built from the plans: the search for the trainer's class imports training code that does not run
    beside a CPU build of torch, and the NoMirroring trainer builds just this network.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    dataset = json.loads((model / "dataset.json").read_text())
    plans = PlansManager(str(model / "plans.json"))
    settings = plans.get_configuration(configuration)
    network = get_network_from_plans(
        settings.network_arch_class_name,
        settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import,
        1,
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    weights = checkpoint_in(model)["network_weights"]
    predictor.manual_initialization(network, plans, settings, [weights], dataset, "nnUNetTrainer", None)
    predictor.predict_from_files_sequential([[str(source)]], [str(target).removesuffix(".nii.gz")])


def totalsegmentator_through_files(image: Volume, model: Path, folder: Path) -> npt.NDArray[np.uint8]:
    """Labels (z, y, x) of an image, every step with the file that the official evaluation writes."""
    folder.mkdir()
    write_volume(image, folder / "ct.nii.gz")
    original = nib.load(folder / "ct.nii.gz")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(original.get_fdata(), original.affine))
    coarse = change_spacing(canonical, 3.0, order=3, dtype=np.int32, nr_cpus=1)
    nib.save(coarse, folder / "s01_0000.nii.gz")
    nnunet_through_files(folder / "s01_0000.nii.gz", folder / "s01.nii.gz", model)
    predicted = change_spacing(
        nib.load(folder / "s01.nii.gz"),
        3.0,
        canonical.shape,
        order=0,
        dtype=np.uint8,
        nr_cpus=1,
        force_affine=canonical.affine,
    )
    nib.save(undo_canonical(predicted, original), folder / "labels.nii.gz")
    labels = np.asarray(nib.load(folder / "labels.nii.gz").dataobj)
    return np.ascontiguousarray(labels.T.astype(np.uint8))
