"""Predicting with pix2pix-pelvis: normalise, sweep, invert, finish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from algorithms.intensities import air_units, clipped_share, finished
from algorithms.interface import Advance, Prediction
from algorithms.loading import filled_networks, model_settings
from algorithms.pix2pix_pelvis.network import NetworkConfig, UNetGenerator
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.weights import ModelFolder

__all__ = ["ModelConfig", "Pix2PixPredictor", "build", "load"]


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    The windows of `sweep` are half a patch apart by default, with Gaussian weights: the paper tells no overlap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig
    sweep: SweepSettings
    image: LinearScale
    ct: LinearScale

    @model_validator(mode="after")
    def _patch_fits_the_network(self) -> ModelConfig:
        self.network.require_patch(self.sweep.patch)
        return self

    @property
    def air(self) -> float:
        """Air in network units."""
        return air_units(self.ct)


class Pix2PixPredictor:
    """Generators (one, or those of several folds) and the engine that sweeps them."""

    def __init__(self, generators: Sequence[UNetGenerator], config: ModelConfig, engine: Engine) -> None:
        self._generators = [generator.eval().to(engine.device) for generator in generators]
        self._config = config
        self._engine = engine

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; windows without a voxel of the mask are skipped, and MR beyond the edge is 0."""
        config = self._config
        clipped = clipped_share(case, config.image)
        swept = self._engine.sweep(
            self._generators,
            config.image.apply(case.image.voxels),
            config.sweep,
            wanted=case.mask.voxels > 0,
            fill=0.0,
            air=config.air,
            advance=advance,
        )
        deviation = None if swept.spread is None else swept.spread * np.float32(config.ct.scale)
        hu = config.ct.invert(swept.values)
        return finished(case, hu, deviation, clipped_share=round(clipped, 4), sweep=swept.notes)


def build(config: ModelConfig) -> UNetGenerator:
    """Build the network that predicts, with random weights."""
    return UNetGenerator(config.network)


def load(model: ModelFolder, engine: Engine) -> Pix2PixPredictor:
    """Build the generators that a model folder describes and fill them.

    Raises:
        WeightsError: the folder's settings or tensors do not fit the network.
    """
    config = model_settings(model, ModelConfig)
    return Pix2PixPredictor(filled_networks(model, lambda: build(config)), config, engine)
