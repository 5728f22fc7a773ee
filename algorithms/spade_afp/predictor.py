"""Predicting with spade-afp: resample, normalise, sweep, lower median, invert, back onto the grid, finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from algorithms.intensities import air_units, clipped_share, finished
from algorithms.interface import Advance, Prediction
from algorithms.loading import filled_networks, model_settings
from algorithms.spade_afp.network import GeneratorConfig, build_generator
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, LinearScale, Normalisation, ZScore
from synthct.resample import resample_like, resample_to_spacing, resample_wanted
from synthct.weights import ModelFolder

__all__ = ["ModelConfig", "SpadePredictor", "build", "load"]

_Millimetres = Annotated[float, Field(gt=0)]


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    Attributes:
        generator: kind and shape. Its spectral norm is training's alone: the weights are kept divided by it.
        sweep: windows of prediction; half a patch apart with the lower median is paper 000's.
        spacing: in mm, onto which an image is brought by cubic B-splines; None leaves it on its own.
        image: normalisation of the MR, by case or by one scale.
        ct: normalisation of the CT, whose inverse gives HU.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    generator: GeneratorConfig
    sweep: SweepSettings
    spacing: tuple[_Millimetres, _Millimetres, _Millimetres] | None = None
    image: LinearScale | CaseZScore = Field(discriminator="kind")
    ct: Normalisation

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> ModelConfig:
        self.generator.require_multiple(self.sweep.patch)
        return self

    @property
    def air(self) -> float:
        """Air in network units."""
        return air_units(self.ct)


class SpadePredictor:
    """Generators (one, or those of several folds) and the engine that sweeps them."""

    def __init__(self, generators: Sequence[nn.Module], config: ModelConfig, engine: Engine) -> None:
        self._generators = [generator.eval().to(engine.device) for generator in generators]
        self._config = config
        self._engine = engine

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; windows without a voxel of the mask are skipped.

        MR beyond the edge is the darkest there is in the case where each has its own z-score, and 0 on an absolute
        scale, as in training.
        """
        config, notes = self._config, {}
        if isinstance(config.image, LinearScale):
            notes["clipped_share"] = round(clipped_share(case, config.image), 4)
        image = case.image if config.spacing is None else resample_to_spacing(case.image, config.spacing, order=3)
        values = config.image.apply(image.voxels)
        swept = self._engine.sweep(
            self._generators,
            values,
            config.sweep,
            wanted=resample_wanted(case.mask, image.geometry),
            fill=0.0 if isinstance(config.image, LinearScale) else float(values.min()),
            air=config.air,
            advance=advance,
        )
        hu = resample_like(image.with_voxels(config.ct.invert(swept.values)), case.image.geometry)
        deviation = None
        if swept.spread is not None:
            factor = config.ct.std if isinstance(config.ct, ZScore) else config.ct.scale
            spread = image.with_voxels(swept.spread * np.float32(factor))
            deviation = resample_like(spread, case.image.geometry).voxels
        return finished(case, hu.voxels, deviation, **notes, resampled=image is not case.image, sweep=swept.notes)


def build(config: ModelConfig) -> nn.Module:
    """Build the generator that predicts, without spectral norm, with random weights."""
    return build_generator(config.generator, spectral_norm=False)


def load(model: ModelFolder, engine: Engine) -> SpadePredictor:
    """Build the generators that a model folder describes, without spectral norm, and fill them.

    Raises:
        WeightsError: the folder's settings or tensors do not fit the network.
    """
    config = model_settings(model, ModelConfig)
    return SpadePredictor(filled_networks(model, lambda: build(config)), config, engine)
