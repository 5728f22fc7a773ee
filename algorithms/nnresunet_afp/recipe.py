"""From a SynthRAD folder to a model folder: plan, normalise, train on L1, and on anatomical features where asked."""

from __future__ import annotations

import logging

import numpy as np

from algorithms.extractors import loss_extractor
from algorithms.fitting import fit_network
from algorithms.nnresunet_afp.about import ABOUT
from algorithms.nnresunet_afp.objective import NETWORK, AfpObjective
from algorithms.nnresunet_afp.planning import find_plan
from algorithms.nnresunet_afp.predictor import ModelConfig
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.nnresunet_afp.validation import FeatureJudge
from algorithms.pairs import PairedData, resampled_case
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun
from synthct.anatomy import Task
from synthct.errors import UsageError
from synthct.features.interface import FeatureExtractor
from synthct.intensity import ZScore
from synthct.planning.plan import Plan
from synthct.training.patches import GAIN, Fill, PairedSampler
from synthct.weights import ModelFolder

__all__ = ["SETTINGS", "train"]

SETTINGS = RecipeConfig

SPACING_RATIO = 1.25
"""Ratio of spacings, plan to extractor, from which a warning is given (inference)."""

log = logging.getLogger(__name__)


def train(run: TrainingRun) -> ModelFolder:
    """Train by the run's preset and save the network (fp16) as a model folder.

    Raises:
        UsageError: the settings are not those of a preset, or do not go with the task, the plan or the extractor.
        InputError: a case has no CT, or no training case is left.
        WeightsError: the checkpoint to resume from, the weights to start from or the extractor cannot be used.
    """
    config = parse_settings(RecipeConfig, run.config)
    if config.global_skip and run.cases[0].task is not Task.CBCT:
        raise UsageError("setting 'global_skip' adds the image in HU, which MR is not in; expected it for cbct alone")
    fabric = run.fabric(config.loop.precision)
    extractor = loss_extractor(
        run, fabric, setting="afp_weight", weight=config.afp_weight, expected="a preset such as l1-afp"
    )
    from_scratch = run.init is None and not run.resume and config.l1_weight > 0
    if extractor is not None and from_scratch and fabric.is_global_zero:
        log.warning("no --init: features from scratch; paper 002 has them fine-tune a run of preset l1")
    plan = find_plan(run, config, fabric)
    if fabric.is_global_zero:
        _compare_spacings(extractor, plan)
    if config.global_skip and not isinstance(plan.image, ZScore):
        raise UsageError("setting 'global_skip' needs an image in HU; expected a plan with image of kind z-score")
    model = ModelConfig(
        network=plan.network,
        sweep=config.sweep(plan.patch),
        spacing=plan.spacing,
        image=plan.image,
        ct=plan.ct,
        global_skip=config.global_skip,
    )
    initial = run.initial_weights(NETWORK, ABOUT.name)
    data = PairedData.prepare(
        run,
        fabric,
        image=plan.image.apply,
        reference=plan.ct.apply,
        key=f"{plan.image!r} {plan.ct!r} {plan.spacing}",
        validation=config.validation_cases,
        excluded=config.excluded_cases,
        before=lambda case: resampled_case(case, plan.spacing, separate_axis=True),
    )
    fill = Fill(image=_darkest(data), reference=model.air)
    # values in HU are to be trusted
    sampling = config.sampling(plan.patch, gain=0.0 if isinstance(plan.image, ZScore) else GAIN)
    tensors = fit_network(
        run,
        fabric,
        AfpObjective(config, plan, extractor, fabric),
        network=NETWORK,
        data=data,
        sampler=PairedSampler(data.training, sampling, fill, config.loop.seed),
        batch=plan.batch,
        fill=fill,
        windows=config.sweep(plan.patch, validation=True),
        ct=plan.ct,
        loop=config.loop,
        settings=config.model_copy(update={"plan": plan}),
        initial=initial,
        extractor=extractor,
        judge=None if extractor is None else FeatureJudge(extractor, config, plan, fabric).judge,
    )
    return run.save(
        fabric,
        tensors,
        data,
        algorithm=ABOUT.name,
        config=model.model_dump(mode="json"),
        extractor=extractor,
    )


def _compare_spacings(extractor: FeatureExtractor | None, plan: Plan) -> None:
    """Warn where the extractor was trained on another spacing: it is handed patches as they are."""
    if extractor is None or extractor.spacing is None:
        return
    ratios = [ours / theirs for ours, theirs in zip(plan.spacing, extractor.spacing, strict=True)]
    if any(max(ratio, 1 / ratio) > SPACING_RATIO for ratio in ratios):
        log.warning(
            "the extractor was trained at %s mm (z, y, x), the plan has %s mm: it sees anatomy at another scale",
            *(" x ".join(f"{edge:g}" for edge in spacing) for spacing in (extractor.spacing, plan.spacing)),
        )


def _darkest(data: PairedData) -> float:
    """What lies beyond a volume's edge: the darkest of its images (median over cases), as prediction has it."""
    return float(np.median([np.min(case.image) for case in data.training]))
