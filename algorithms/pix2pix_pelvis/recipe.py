"""From a SynthRAD folder to a model folder: normalise, train, save. Pairs should be aligned (synthct align-check)."""

from __future__ import annotations

from algorithms.fitting import fit_network
from algorithms.pairs import PairedData
from algorithms.pix2pix_pelvis.about import ABOUT
from algorithms.pix2pix_pelvis.objective import GENERATOR, Pix2PixObjective
from algorithms.pix2pix_pelvis.predictor import ModelConfig
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun
from synthct.training.patches import Fill, PairedSampler
from synthct.weights import ModelFolder

__all__ = ["SETTINGS", "model_config", "train"]

SETTINGS = RecipeConfig


def model_config(config: RecipeConfig) -> ModelConfig:
    """Return what model.json will hold of a preset."""
    return ModelConfig(network=config.network, sweep=config.windows, image=config.mr, ct=config.ct)


def train(run: TrainingRun) -> ModelFolder:
    """Train by the run's preset and save the generator (fp16) as a model folder.

    Raises:
        UsageError: the settings are not those of a preset.
        InputError: a case has no CT, or no training case is left.
        WeightsError: the checkpoint to resume from, or the weights to start from, do not fit.
    """
    config = parse_settings(RecipeConfig, run.config)
    model = model_config(config)
    initial = run.initial_weights(GENERATOR, ABOUT.name)
    fabric = run.fabric(config.loop.precision)
    data = PairedData.prepare(
        run,
        fabric,
        image=model.image.apply,
        reference=model.ct.apply,
        key=f"{model.image!r} {model.ct!r}",
        validation=config.validation_cases,
        excluded=config.excluded_cases,
    )
    fill = Fill(image=0.0, reference=model.air)
    tensors = fit_network(
        run,
        fabric,
        Pix2PixObjective(config),
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
    )
    return run.save(
        fabric,
        tensors,
        data,
        algorithm=ABOUT.name,
        config=model.model_dump(mode="json"),
    )
