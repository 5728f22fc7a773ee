"""Predicting with ldm-brain: onto the working grid, normalise, draw samples, decode, mean and spread, back, finish."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from algorithms.intensities import finished
from algorithms.interface import Advance, Prediction
from algorithms.ldm_brain.draws import Draws, draw
from algorithms.ldm_brain.layout import WorkingBox, fit_scale, working_spacing
from algorithms.ldm_brain.model import ModelConfig
from algorithms.ldm_brain.networks import LatentDiffusion, build_networks
from algorithms.ldm_brain.settings import STAGES
from algorithms.loading import filled_networks, model_settings
from algorithms.pairs import resampled_case
from synthct.errors import MemoryLimitError, WeightsError
from synthct.inference.finish import AIR_HU
from synthct.inference.forward import prepare
from synthct.memory import is_out_of_memory
from synthct.outline import body_inside
from synthct.resample import resample_like
from synthct.volume import Volume

if TYPE_CHECKING:
    from synthct.dataset import Case
    from synthct.inference.engine import Engine
    from synthct.weights import ModelFolder

__all__ = ["LdmPredictor", "ModelConfig", "build", "load"]


class LdmPredictor:
    """Networks (one model's, or those of several folds) on an engine's device."""

    def __init__(self, networks: Sequence[LatentDiffusion], config: ModelConfig, engine: Engine) -> None:
        for network in networks:
            prepare(network.eval(), engine.device)
        self._networks = networks
        self._config = config
        self._engine = engine
        self._told_of_spread = False

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; every voxel of the mask comes from the networks, whatever its size and spacing.

        `advance` counts the steps of all samples. The spread is the standard deviation (population) over samples; with
        one sample there is none.

        Raises:
            MemoryLimitError: one tile at a time, and the whole volume beside it, do not fit into memory.
        """
        engine, config = self._engine, self._config
        engine.sweeps += 1
        drawn = config.sampling.samples * len(self._networks)
        if engine.spread and drawn == 1 and not self._told_of_spread:
            self._told_of_spread = True
            warnings.warn(
                "one sample is drawn, so there is nothing to spread over; expected sampling.samples above 1 "
                "(synthct predict --set sampling.samples=4)",
                stacklevel=2,
            )
        if not (case.mask.voxels > 0).any():
            return finished(case, np.full(case.image.voxels.shape, AIR_HU, np.float32), None, samples=0)
        try:
            return self._translate(case, advance)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            hope = "more memory" if engine.device.type == "cpu" else "a larger device or --device cpu"
            layout = config.sampling.layout
            if layout == "whole":
                hope += ", or less at once (synthct predict --set sampling.layout=tiles)"
            raise MemoryLimitError(
                f"{case.id}: {'all' if layout == 'whole' else f'a tile of {config.patch}'} of an image of "
                f"{case.image.voxels.shape} (z, y, x) does not fit into the memory of {engine.device}; expected {hope}"
            ) from error

    def _translate(self, case: Case, advance: Advance | None) -> Prediction:
        engine, config = self._engine, self._config
        box, units = self._prepared(case)
        mr = torch.from_numpy(units).to(engine.device)
        draws = draw(self._networks, mr, config, engine, advance=advance)
        hu = resample_like(_placed(box, config.ct.invert(draws.mean)), case.image.geometry)
        deviation = None
        if engine.spread and draws.spread is not None:
            spread = draws.spread * np.float32(config.ct.scale)
            deviation = resample_like(_placed(box, spread), case.image.geometry).voxels
        return finished(case, hu.voxels, deviation, **self._notes(case, box, draws))

    def _prepared(self, case: Case) -> tuple[WorkingBox, npt.NDArray[np.float32]]:
        """The box about the head, and the normalised MR in it, made as training makes it."""
        config = self._config
        spacing = working_spacing(case.mask, config.sampling.layout, config.spacing, config.patch)
        working = resampled_case(replace(case, reference=None), spacing)
        units = config.image.apply(working.image.voxels)
        units[~body_inside(working.image, working.mask)] = 0.0
        box = WorkingBox.about(
            case.mask,
            working.image.geometry,
            layout=config.sampling.layout,
            multiple=config.networks.multiple,
            patch=config.patch,
        )
        return box, box.cut(units)

    def _notes(self, case: Case, box: WorkingBox, draws: Draws) -> dict[str, Any]:
        config, sampling = self._config, self._config.sampling
        notes: dict[str, Any] = {
            "process": config.noise.kind,
            "steps": draws.steps,
            "eta": sampling.eta,
            "samples": draws.samples,
            "seed": self._engine.seed,
            "layout": sampling.layout,
            "blend": sampling.blend,
            "tiles": draws.tiles,
            "spacing": [round(edge, 4) for edge in box.grid.spacing_zyx],
            "precision": self._engine.precision,
        }
        if sampling.layout == "fit":
            notes["fit_scale"] = round(fit_scale(case.mask, config.spacing, config.patch), 4)
        if draws.steps != sampling.steps:
            notes["steps_asked"] = sampling.steps
        if self._engine.budget is not None:
            notes["budget_s"] = self._engine.budget
        return notes


def _placed(box: WorkingBox, values: npt.NDArray[np.float32]) -> Volume:
    return Volume(values, box.geometry)


def build(config: ModelConfig) -> LatentDiffusion:
    """Build the three networks that predict, with random weights."""
    return build_networks(config.networks)


def load(model: ModelFolder, engine: Engine) -> LdmPredictor:
    """Build the networks that a model folder describes and fill them.

    Raises:
        WeightsError: the folder holds a single stage of training, or its settings or tensors do not fit the networks.
    """
    _require_whole(model)
    config = model_settings(model, ModelConfig)
    return LdmPredictor(filled_networks(model, lambda: build(config)), config, engine)


def _require_whole(model: ModelFolder) -> None:
    """Refuse the folder of a single stage of training, and say what it needs."""
    stage = model.card.config.get("stage")
    if stage is None:
        return
    hope = "the run's own folder, one level up"
    if stage in STAGES[:-1]:
        hope += f", after synthct train ldm-brain ... --stage {STAGES[STAGES.index(stage) + 1]} and what follows it"
    raise WeightsError(f"{model.path}: holds stage {stage} alone, which cannot predict; expected {hope}")
