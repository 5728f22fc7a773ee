"""Predicting with pix2pix-pelvis: normalise, sweep, invert, finish."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.interface import Advance, Prediction
from algorithms.pix2pix_pelvis.network import NetworkConfig, Triple, UNetGenerator
from synthct.dataset import Case
from synthct.errors import WeightsError
from synthct.inference.engine import sweep
from synthct.inference.finish import finish_hu
from synthct.intensity import LinearScale
from synthct.weights import ModelFolder, load_tensors

__all__ = ["ModelConfig", "Pix2PixPredictor", "load"]

MOST_CLIPPED = 0.05
"""Share of voxels inside the mask beyond the trained MR range from which a warning is given (inference)."""


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    `step` is the distance of windows as a fraction of the patch. 0.5 is our default: the paper tells no overlap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig
    patch: Triple
    step: float = Field(default=0.5, gt=0, le=1)
    image: LinearScale
    ct: LinearScale

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> ModelConfig:
        self.network.require_multiple(self.patch)
        return self


class Pix2PixPredictor:
    """A generator on a device, ready to predict."""

    def __init__(self, generator: UNetGenerator, config: ModelConfig, device: torch.device) -> None:
        self._generator = generator.eval().to(device)
        self._config = config
        self._device = device

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; windows without a voxel of the mask are skipped, and MR beyond the edge is 0."""
        config = self._config
        inside = case.image.voxels[case.mask.voxels > 0]
        clipped = float(np.mean((inside < config.image.low) | (inside > config.image.high)))
        if clipped > MOST_CLIPPED or inside.min() == inside.max():
            warnings.warn(
                f"{case.id}: MR values from {inside.min():g} to {inside.max():g} ({clipped:.0%} beyond "
                f"{config.image.low:g} to {config.image.high:g}) are not those the model was trained on; its "
                "HU will be wrong",
                stacklevel=2,
            )
        output = sweep(
            self._generator,
            config.image.apply(case.image.voxels),
            patch=config.patch,
            step=config.step,
            device=self._device,
            fill=0.0,
            wanted=case.mask.voxels > 0,
            advance=advance,
        )
        sct = case.image.with_voxels(finish_hu(config.ct.invert(output), case.mask.voxels))
        return Prediction(sct, notes={"clipped_share": round(clipped, 4)})


def load(model: ModelFolder, device: torch.device) -> Pix2PixPredictor:
    """Build the generator that a model folder describes and fill it.

    Raises:
        WeightsError: the folder's settings or tensors do not fit the network.
    """
    try:
        config = ModelConfig.model_validate(model.card.config)
    except ValueError as error:
        raise WeightsError(f"{model.path}: settings do not fit pix2pix-pelvis ({str(error)[:200]})") from error
    generator = UNetGenerator(config.network)
    try:
        generator.load_state_dict(load_tensors(model))
    except RuntimeError as error:
        raise WeightsError(f"{model.weights}: tensors do not fit the network ({str(error)[:200]})") from error
    return Pix2PixPredictor(generator, config, device)
