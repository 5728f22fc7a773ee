"""From a SynthRAD folder to a model folder: normalise, train against a discriminator, fold spectral norm in, save."""

from __future__ import annotations

import logging

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from algorithms.extractors import loss_extractor
from algorithms.fitting import fit_network
from algorithms.loading import model_settings
from algorithms.pairs import PairedData, resampled_case
from algorithms.presets import parse_settings
from algorithms.spade_afp.about import ABOUT
from algorithms.spade_afp.network import build_generator
from algorithms.spade_afp.objective import GENERATOR, SpadeObjective
from algorithms.spade_afp.predictor import ModelConfig
from algorithms.spade_afp.settings import CT_SCALE, RecipeConfig
from algorithms.training import TrainingRun
from synthct.intensity import LinearScale, ZScore
from synthct.networks.spectral import parametrised, plain_tensors
from synthct.networks.state import require_fit
from synthct.planning.fingerprint import fingerprint
from synthct.training.patches import Fill, PairedSampler
from synthct.weights import ModelFolder, open_model

__all__ = ["SETTINGS", "model_config", "train"]

SETTINGS = RecipeConfig

log = logging.getLogger(__name__)


def model_config(config: RecipeConfig, ct: LinearScale | ZScore = CT_SCALE) -> ModelConfig:
    """Return what model.json will hold of a preset; `ct` is the data set's own where the preset asks a z-score."""
    return ModelConfig(generator=config.generator, sweep=config.windows, spacing=config.spacing, image=config.mr, ct=ct)


def train(run: TrainingRun) -> ModelFolder:
    """Train by the run's preset and save the generator (fp16), spectral norm folded in, as a model folder.

    Raises:
        UsageError: the settings are not those of a preset, or name features without an extractor.
        InputError: a case has no CT, or no training case is left.
        WeightsError: the checkpoint to resume from, the weights to start from or the extractor cannot be used.
    """
    config = parse_settings(RecipeConfig, run.config)
    fabric = run.fabric(config.loop.precision)
    extractor = loss_extractor(
        run, fabric, setting="afp_weight", weight=config.afp_weight, expected="a preset such as spade-afp"
    )
    model = model_config(config, _ct_normalisation(run, config, fabric))
    initial = _initial_weights(run, config, model, fabric)
    data = PairedData.prepare(
        run,
        fabric,
        image=model.image.apply,
        reference=model.ct.apply,
        key=f"{model.image!r} {model.ct!r} {model.spacing}",
        validation=config.validation_cases,
        excluded=config.excluded_cases,
        before=lambda case: resampled_case(case, model.spacing),
    )
    fill = Fill(image=_beyond(model, data), reference=model.air)
    tensors = fit_network(
        run,
        fabric,
        SpadeObjective(config, model.ct, extractor, fabric),
        network=GENERATOR,
        data=data,
        sampler=PairedSampler(data.training, config.sampling, fill, config.loop.seed),
        batch=config.batch,
        fill=fill,
        windows=config.windows,
        ct=model.ct,
        loop=config.loop,
        settings=config,
        initial=initial,
        extractor=extractor,
    )
    return run.save(
        fabric,
        plain_tensors(tensors),
        data,
        algorithm=ABOUT.name,
        config=model.model_dump(mode="json"),
        extractor=extractor,
    )


def _ct_normalisation(run: TrainingRun, config: RecipeConfig, fabric: Fabric) -> LinearScale | ZScore:
    """The fixed scale, or the z-score of the run's CTs, those that a fold holds out included: folds can then be joined.

    The preset's excluded cases are not read.
    """
    if config.ct == "scale":
        return CT_SCALE
    cases = [files for files in run.cases if files.id not in config.excluded_cases]
    if fabric.is_global_zero:
        log.info("reading the CTs of %d cases for their mean and deviation", len(cases))
    return fingerprint(cases).ct_z_score(config.bounds)


def _initial_weights(
    run: TrainingRun, config: RecipeConfig, model: ModelConfig, fabric: Fabric
) -> dict[str, dict[str, Tensor]] | None:
    """Weights of --init as the generator in training has them: with spectral norm, where the preset does.

    The vectors of spectral norm are drawn from the preset's seed, so that the run can be repeated.
    """
    given = run.initial_weights(GENERATOR, ABOUT.name)
    if given is None or run.init is None:
        return None
    before = model_settings(open_model(run.init), ModelConfig)
    if fabric.is_global_zero and (before.image, before.ct, before.spacing) != (model.image, model.ct, model.spacing):
        log.warning("the model to start from was trained in other units: image %s, CT %s, spacing %s; this run has "
                    "image %s, CT %s, spacing %s",
                    before.image, before.ct, before.spacing, model.image, model.ct, model.spacing)  # fmt: skip
    plain = given[GENERATOR]
    require_fit(lambda: build_generator(config.generator, spectral_norm=False), plain, str(run.init))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed)
        return {GENERATOR: parametrised(plain, build_generator(config.generator))}


def _beyond(model: ModelConfig, data: PairedData) -> float:
    """MR beyond a volume's edge, in network units: 0 on an absolute scale, else the darkest (median over cases)."""
    if isinstance(model.image, LinearScale):
        return 0.0
    return float(np.median([np.min(case.image) for case in data.training]))
