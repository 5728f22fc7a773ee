"""From a SynthRAD folder to a model folder in three stages, each standing on the one before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from algorithms.extractors import loss_extractor
from algorithms.intensities import air_units
from algorithms.ldm_brain.about import ABOUT
from algorithms.ldm_brain.autoencoding import AUTOENCODER
from algorithms.ldm_brain.layout import working_spacing
from algorithms.ldm_brain.settings import STAGES, RecipeConfig, Stage
from algorithms.ldm_brain.stage_training import StageTraining, model_config
from algorithms.ldm_brain.stages import require_unbroken, wanted_stages
from algorithms.pairs import PairedData, resampled_case
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun
from synthct.errors import UsageError
from synthct.training.patches import Fill
from synthct.weights import ModelFolder, open_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from synthct.dataset import Case
    from synthct.features.interface import FeatureExtractor

__all__ = ["SETTINGS", "model_config", "train"]

SETTINGS = RecipeConfig

log = logging.getLogger(__name__)


def train(run: TrainingRun) -> ModelFolder:
    """Train one stage, or all that are not finished, and return the last one's model folder.

    A stage's folder lies in the run's and predicts nothing. After stage three the run's folder itself holds all three
    networks (fp16) and can predict.

    Raises:
        UsageError: the settings are not those of a preset, or name features without an extractor, or the reverse.
        InputError: a case has no CT, or no training case is left.
        WeightsError: a stage before is missing or was trained otherwise; or checkpoint, weights to start from or
            extractor cannot be used.
    """
    config = parse_settings(RecipeConfig, run.config)
    model_config(config)  # what prediction would refuse later is refused now
    fabric = run.fabric(config.autoencoder.loop.precision)
    todo = wanted_stages(run)
    fabric.barrier()  # every process has looked before the first one writes
    require_unbroken(run, config, todo)
    if not todo:
        return open_model(run.run_dir, algorithm=ABOUT.name)
    extractor = _extractor(run, config, fabric, todo)
    work = StageTraining(run, config, fabric, _data(run, config, fabric), extractor)
    for stage in todo:
        if fabric.is_global_zero:
            log.info("stage %s", stage)
        trained = work.finish(stage)
    return work.whole(trained) if todo[-1] == STAGES[-1] else trained.folder


def _extractor(
    run: TrainingRun, config: RecipeConfig, fabric: Fabric, todo: tuple[Stage, ...]
) -> FeatureExtractor | None:
    """Open what the feature term compares by, where stage one is trained."""
    if AUTOENCODER in todo:
        return loss_extractor(
            run,
            fabric,
            setting="perceptual_weight",
            weight=config.perceptual_weight,
            expected="a preset such as brain",
        )
    if run.stage is not None and (run.extractor is not None or run.random_extractor):
        raise UsageError(f"--extractor is for stage {AUTOENCODER}, and stage {run.stage} compares no features")
    return None


def _data(run: TrainingRun, config: RecipeConfig, fabric: Fabric) -> PairedData:
    layout, patch = config.layout, config.patches.patch

    def placed(case: Case) -> Case:
        return resampled_case(case, working_spacing(case.mask, layout, config.spacing, patch))

    return PairedData.prepare(
        run,
        fabric,
        image=config.image.apply,
        reference=config.ct.apply,
        key=f"ldm {config.image!r} {config.ct!r} {layout} {config.spacing} {patch if layout == 'fit' else ''}",
        validation=config.validation_cases,
        excluded=config.excluded_cases,
        before=placed,
        outside=Fill(image=0.0, reference=air_units(config.ct)),
    )
