"""Validation by what is trained on: the state with the least loss is kept, not the one with the least MAE."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric

from algorithms.nnresunet_afp.settings import RecipeConfig
from synthct.features.interface import FeatureExtractor
from synthct.losses.anatomical import AnatomicalFeatureLoss
from synthct.planning.plan import Plan

__all__ = ["FeatureJudge"]

FloatArray = npt.NDArray[np.float32]


class FeatureJudge:
    """The training loss of a whole case: L1 over its mask, features over one patch at the middle of the mask.

    A patch is what training's memory is known to hold; features of a whole thorax are not.

    Args:
        extractor: on the run's device.
        config: weights of the terms.
        plan: patch and units.
        fabric: the run's device and precision.
    """

    def __init__(self, extractor: FeatureExtractor, config: RecipeConfig, plan: Plan, fabric: Fabric) -> None:
        self._features = AnatomicalFeatureLoss(extractor, config.reduction)
        self._config = config
        self._plan = plan
        self._fabric = fabric

    def judge(self, prediction: FloatArray, reference: FloatArray, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Return `loss` and `afp`, arrays (z, y, x), HU."""
        config, plan = self._config, self._plan
        window = _middle(inside, plan.patch)
        tensors = [_tensor(array[window], self._fabric.device) for array in (prediction, reference, inside)]
        with torch.no_grad(), self._fabric.autocast():
            afp = float(self._features(*tensors))
        l1 = float(np.abs(prediction - reference)[inside].mean(dtype=np.float64)) / plan.ct.std
        return {"loss": config.l1_weight * l1 + config.afp_weight * afp, "afp": afp}


def _middle(inside: npt.NDArray[np.bool_], patch: tuple[int, int, int]) -> tuple[slice, ...]:
    """A patch around the mask's centre, within the volume, or all of an axis that is shorter."""
    centre = np.argwhere(inside).mean(axis=0) if inside.any() else np.array(inside.shape) / 2
    window = []
    for middle, edge, size in zip(centre, patch, inside.shape, strict=True):
        # + 0.5: the middle is that of voxel centres, the patch begins at a voxel's edge
        first = max(0, min(round(float(middle) + 0.5 - edge / 2), size - edge))
        window.append(slice(first, min(first + edge, size)))
    return tuple(window)


def _tensor(array: npt.NDArray[np.generic], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None].to(device)
