"""From a SynthRAD folder to a model folder: align, normalise, train, save."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from algorithms.pix2pix_pelvis.about import ABOUT
from algorithms.pix2pix_pelvis.loop import RecipeConfig, fit
from algorithms.pix2pix_pelvis.patches import TrainingCase
from algorithms.pix2pix_pelvis.predictor import ModelConfig
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun, require_references
from synthct.dataset import CaseFiles, load_case
from synthct.errors import InputError
from synthct.inference.finish import HU_MAX, HU_MIN
from synthct.intensity import LinearScale
from synthct.training.alignment import align_reference, smoothed_information
from synthct.weights import ModelFolder, save_model

__all__ = ["RecipeConfig", "train"]

log = logging.getLogger(__name__)


def train(run: TrainingRun) -> ModelFolder:
    """Train by the run's preset and save the generator (fp16) as a model folder.

    Raises:
        UsageError: the settings are not those of a preset.
        InputError: a case has no CT, or no training case is left.
    """
    config = parse_settings(RecipeConfig, run.config)
    model = ModelConfig(
        network=config.network,
        patch=config.inference_patch or config.patch,
        image=LinearScale(low=0.0, high=4.0 * config.image_scale, scale=config.image_scale),
        ct=LinearScale(low=HU_MIN, high=HU_MAX, scale=config.ct_scale),
    )
    present = {case.id for case in run.cases}
    absent = [name for name in (*config.validation_cases, *config.excluded_cases) if name not in present]
    if absent:
        log.info("the preset names cases that the data set does not hold: %s", ", ".join(absent))
    files = require_references(tuple(case for case in run.cases if case.id not in config.excluded_cases))
    bar = run.progress.add_task("reading and aligning", total=len(files))
    training: list[TrainingCase] = []
    validation: list[TrainingCase] = []
    for case in files:
        held_out = case.id in config.validation_cases
        prepared = _prepare(case, model, config, held_out=held_out)
        if prepared is not None:
            (validation if held_out else training).append(prepared)
        run.progress.update(bar, advance=1)
    if not training:
        raise InputError("no training case is left after leaving out validation, test and misaligned ones")
    generator = fit(training, validation, config, run.run_dir, run.device, run.progress)
    used = {case.id for case in training}
    return save_model(
        run.run_dir,
        generator.state_dict(),
        half=True,
        algorithm=ABOUT.name,
        tasks=(files[0].task,),
        regions=replace(run, cases=tuple(case for case in files if case.id in used)).regions,
        starter=run.starter,
        trained_on=run.origin(len(training)),
        config=model.model_dump(mode="json"),
    )


def _prepare(files: CaseFiles, model: ModelConfig, config: RecipeConfig, *, held_out: bool) -> TrainingCase | None:
    """Read and normalise one case; None for a training pair that stays misaligned."""
    case = load_case(files)
    if case.reference is None:
        raise InputError(f"{files.image.parent}: case {files.id} has no CT")
    inside = case.mask.voxels > 0
    reference = case.reference
    if config.align:
        aligned = align_reference(case.image, case.reference, case.mask)
        reference, inside = aligned.reference, inside & aligned.valid
        log.info(
            "%s: moved by %.1f mm and %.1f degrees, mutual information %.3f -> %.3f nats",
            files.id,
            aligned.translation_mm,
            aligned.rotation_deg,
            aligned.information_before,
            aligned.information_after,
        )
    if not held_out and config.min_information > 0:
        information = smoothed_information(case.image, reference.voxels, inside)
        if information < config.min_information:
            log.info("%s: left out, mutual information %.3f nats is too low", files.id, information)
            return None
    return TrainingCase(
        files.id,
        model.image.apply(case.image.voxels),
        model.ct.apply(reference.voxels),
        inside.astype(np.float32),
    )
