"""Predicting with nnresunet-afp: resample, normalise, sweep, invert, back onto the grid, finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from algorithms.intensities import air_units, finished
from algorithms.interface import Advance, Prediction
from algorithms.loading import filled_networks, model_settings
from algorithms.nnresunet_afp.network import build_network
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.unet import UNetPlan
from synthct.resample import resample_like, resample_to_spacing, resample_wanted
from synthct.weights import ModelFolder

__all__ = ["AfpPredictor", "ModelConfig", "load", "read_config"]

Millimetres = Annotated[float, Field(gt=0)]
Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")
Voxel = TypeVar("Voxel", bound=np.generic)


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    Attributes:
        network: of the U-Net.
        sweep: windows of prediction; nnU-Net's rule, step 0.3 and the plain mean are paper 002's.
        spacing: in mm, onto which an image is brought.
        image: normalisation of MR (by case) or CBCT (of the data set).
        ct: normalisation of the CT, whose inverse gives HU.
        global_skip: the image is added to the output, both in HU.
        flips: axes that the network sees turned round, and whose result is turned back: of networks whose training
            images were oriented otherwise. What is trained here has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: UNetPlan
    sweep: SweepSettings
    spacing: tuple[Millimetres, Millimetres, Millimetres]
    image: ZScore | CaseZScore = Field(discriminator="kind")
    ct: ZScore
    global_skip: bool = False
    flips: tuple[Axis, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        self.network.require_multiple(self.sweep.patch)
        if self.global_skip and not isinstance(self.image, ZScore):
            raise ValueError("global_skip needs an image in HU; expected image of kind z-score")
        if len(set(self.flips)) != len(self.flips):
            raise ValueError(f"flips are {', '.join(self.flips)}; expected each axis once")
        return self

    @property
    def air(self) -> float:
        """Air in network units."""
        return air_units(self.ct)


class AfpPredictor:
    """Networks (one, or those of several folds) and the engine that sweeps them."""

    def __init__(self, networks: Sequence[nn.Module], config: ModelConfig, engine: Engine) -> None:
        self._networks = [network.eval().to(engine.device) for network in networks]
        self._config = config
        self._engine = engine

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; windows without a voxel of the mask are skipped.

        An image whose spacing is the plan's is not resampled: its sCT's voxels are the network's own.
        """
        config = self._config
        image = resample_to_spacing(case.image, config.spacing, order=3, separate_axis=True)
        values = self._turned(config.image.apply(image.voxels))
        swept = self._engine.sweep(
            self._networks,
            values,
            config.sweep,
            wanted=self._turned(resample_wanted(case.mask, image.geometry)),
            # beyond the edge there is air; in MR and CBCT it is the darkest there is
            fill=float(values.min()),
            air=config.air,
            advance=advance,
        )
        values = self._turned(config.ct.invert(swept.values))
        hu = resample_like(image.with_voxels(values), case.image.geometry)
        deviation = None
        if swept.spread is not None:
            values = self._turned(swept.spread * np.float32(config.ct.std))
            deviation = resample_like(image.with_voxels(values), case.image.geometry).voxels
        return finished(case, hu.voxels, deviation, resampled=image is not case.image, sweep=swept.notes)

    def _turned(self, voxels: npt.NDArray[Voxel]) -> npt.NDArray[Voxel]:
        """Turn a volume round as the network sees it, or back."""
        flips = self._config.flips
        return np.ascontiguousarray(np.flip(voxels, tuple(AXES.index(axis) for axis in flips))) if flips else voxels


def load(model: ModelFolder, engine: Engine) -> AfpPredictor:
    """Build the networks that a model folder describes and fill them.

    Raises:
        WeightsError: the folder's settings or tensors do not fit the network.
    """
    config = read_config(model)

    def build() -> nn.Module:
        return build_network(config.network, config.image, config.ct, global_skip=config.global_skip)

    return AfpPredictor(filled_networks(model, build), config, engine)


def read_config(model: ModelFolder) -> ModelConfig:
    """Read what model.json holds for this algorithm.

    Raises:
        WeightsError: the settings are not those of a model of this algorithm; the message names the first.
    """
    return model_settings(model, ModelConfig)
