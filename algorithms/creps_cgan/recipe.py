"""From a SynthRAD folder to a model folder, without pairs: resample, scale, train against a discriminator, save."""

from __future__ import annotations

import logging

from algorithms.creps_cgan.about import ABOUT
from algorithms.creps_cgan.objective import GENERATOR, CrepsObjective
from algorithms.creps_cgan.predictor import ModelConfig
from algorithms.creps_cgan.ranks import RankTable
from algorithms.creps_cgan.settings import RecipeConfig
from algorithms.extractors import loss_extractor
from algorithms.fitting import fit_network
from algorithms.pairs import PairedData, resampled_case
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun
from algorithms.unpaired import UnpairedData
from synthct.intensity import LinearScale
from synthct.training.patches import Fill, UnpairedSampler
from synthct.weights import ModelFolder

__all__ = ["SETTINGS", "train"]

SETTINGS = RecipeConfig

log = logging.getLogger(__name__)


def train(run: TrainingRun) -> ModelFolder:
    """Train by the run's preset and save the generator (fp16) as a model folder.

    Raises:
        UsageError: the settings are not those of a preset, or name a style loss without an extractor.
        InputError: no case is left for images or for CTs, or a case to validate on has no CT.
        WeightsError: the checkpoint to resume from, the weights to start from or the extractor cannot be used.
    """
    config = parse_settings(RecipeConfig, run.config)
    fabric = run.fabric(config.loop.precision)
    extractor = loss_extractor(
        run, fabric, setting="style_weight", weight=config.style_weight, expected="it above 0", kind="convnext"
    )
    model = ModelConfig(
        network=config.network,
        sweep=config.windows,
        spacing=config.spacing,
        image=LinearScale(low=0.0, high=config.image_high, scale=config.image_scale),
        ct=LinearScale(low=config.ct_low, high=config.ct_high, scale=config.ct_scale),
        mark_outside=config.mark_outside,
        style={} if extractor is None else {"weight": config.style_weight, **extractor.describe()},
    )
    initial = run.initial_weights(GENERATOR, ABOUT.name)
    fill = Fill(image=model.beyond, reference=model.air)
    pairs = PairedData.prepare(
        run,
        fabric,
        image=model.image.apply,
        reference=model.ct.apply,
        key=f"{model.image!r} {model.ct!r} {model.spacing}" + (" marked" if model.mark_outside else ""),
        validation=config.validation_cases,
        excluded=config.excluded_cases,
        before=lambda case: resampled_case(case, model.spacing),
        outside=fill if model.mark_outside else None,
        lone_images=True,
    )
    data = UnpairedData.split(pairs, disjoint=config.disjoint)
    if fabric.is_global_zero:
        log.info("unpaired: %s", data.describe())
    ranks = RankTable().fit(data.images, data.references, model.ct).to(fabric.device) if config.needs_ranks else None
    tensors = fit_network(
        run,
        fabric,
        CrepsObjective(config, extractor, ranks),
        network=GENERATOR,
        data=data,
        sampler=UnpairedSampler(data.images, data.references, config.sampling, fill, config.loop.seed),
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
        tensors,
        data,
        algorithm=ABOUT.name,
        config=model.model_dump(mode="json"),
        extractor=extractor,
    )
