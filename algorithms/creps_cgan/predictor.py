"""Predicting with creps-cgan: resample, scale, pad, sweep, upper median, invert, back onto the grid, finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.creps_cgan.network import Generator, GeneratorConfig
from algorithms.intensities import air_units, clipped_share, finished
from algorithms.interface import Advance, Prediction
from algorithms.loading import filled_networks, model_settings
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.outline import body_inside
from synthct.resample import resample_like, resample_to_spacing, resample_wanted
from synthct.volume import Volume
from synthct.weights import ModelFolder

__all__ = ["CrepsPredictor", "ModelConfig", "load"]

Millimetres = Annotated[float, Field(gt=0)]

CLIP_HU = (-1024.0, 3000.0)
"""Bounds of the sCT (paper 001)."""

OUTSIDE = -1.0
"""What marks a voxel outside the body, where it is marked; MR is scaled to 0 and above."""


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    Attributes:
        network: the generator.
        sweep: windows of prediction; the paper's are half a patch apart over a volume of whole patches, and merged by
            the upper median.
        spacing: in mm, onto which an image is brought by cubic B-splines; None leaves it on its own.
        image: scale of the MR.
        ct: scale of the CT.
        mark_outside: voxels outside the body (body_inside) are -1 to the generator, as they were in training.
        style: what the style loss of training looked through, and its weight, for whoever reads the card; prediction
            does not look at it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: GeneratorConfig
    sweep: SweepSettings
    spacing: tuple[Millimetres, Millimetres, Millimetres] | None
    image: LinearScale
    ct: LinearScale
    mark_outside: bool = False
    style: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> ModelConfig:
        self.network.require_multiple(self.sweep.patch)
        return self

    @property
    def air(self) -> float:
        """Air in network units."""
        return air_units(self.ct)

    @property
    def beyond(self) -> float:
        """What lies beyond an image's edge, in network units: 0 (the paper), or the mark of what is no body."""
        return OUTSIDE if self.mark_outside else 0.0


class CrepsPredictor:
    """Generators (one, or those of several folds) and the engine that sweeps them."""

    def __init__(self, generators: Sequence[Generator], config: ModelConfig, engine: Engine) -> None:
        self._generators = [generator.eval().to(engine.device) for generator in generators]
        self._config = config
        self._engine = engine

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; windows without a voxel of the mask are skipped."""
        config = self._config
        clipped = clipped_share(case, config.image)
        image = case.image if config.spacing is None else resample_to_spacing(case.image, config.spacing, order=3)
        units = config.image.apply(image.voxels)
        if config.mark_outside:
            units[~body_inside(image, resample_like(case.mask, image.geometry, order=0))] = OUTSIDE
        swept = self._engine.sweep(
            self._generators,
            units,
            config.sweep,
            wanted=resample_wanted(case.mask, image.geometry),
            fill=config.beyond,
            air=config.air,
            advance=advance,
        )
        hu = self._on_grid(np.clip(config.ct.invert(swept.values), *CLIP_HU), image, case)
        deviation = None
        if swept.spread is not None:
            deviation = self._on_grid(swept.spread * np.float32(config.ct.scale), image, case).voxels
        return finished(
            case,
            hu.voxels,
            deviation,
            clipped_share=round(clipped, 4),
            resampled=image is not case.image,
            sweep=swept.notes,
        )

    def _on_grid(self, values: npt.NDArray[np.float32], image: Volume, case: Case) -> Volume:
        """Bring values back onto the case's own grid."""
        return resample_like(image.with_voxels(values), case.image.geometry)


def load(model: ModelFolder, engine: Engine) -> CrepsPredictor:
    """Build the generators that a model folder describes and fill them.

    Raises:
        WeightsError: the folder's settings or tensors do not fit the network.
    """
    config = model_settings(model, ModelConfig)
    generators = filled_networks(model, lambda: Generator(config.network))
    return CrepsPredictor(generators, config, engine)
