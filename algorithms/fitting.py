"""From prepared cases to the weights of one network: the call of the training loop that recipes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from synthct.inference.engine import Engine
from synthct.training.loop import fit
from synthct.training.source import PatchSource
from synthct.training.validation import Judge, SweptValidation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_fabric import Fabric
    from torch import Tensor

    from algorithms.training import TrainingData, TrainingRun
    from synthct.features.interface import FeatureExtractor
    from synthct.inference.settings import SweepSettings
    from synthct.intensity import LinearScale, ZScore
    from synthct.training.objective import Objective
    from synthct.training.patches import Fill, PatchSampler
    from synthct.training.settings import LoopSettings

__all__ = ["fit_network"]


def fit_network(
    run: TrainingRun,
    fabric: Fabric,
    objective: Objective,
    *,
    network: str,
    data: TrainingData,
    sampler: PatchSampler,
    batch: int,
    fill: Fill,
    windows: SweepSettings,
    ct: LinearScale | ZScore,
    loop: LoopSettings,
    settings: BaseModel,
    initial: Mapping[str, Mapping[str, Tensor]] | None = None,
    extractor: FeatureExtractor | None = None,
    judge: Judge | None = None,
) -> Mapping[str, Tensor]:
    """Train on patches, validate by whole volumes, and return the tensors to be saved.

    Args:
        run: the run.
        fabric: its processes.
        objective: networks and losses.
        network: name of the one that predicts.
        data: cases; those held out are swept.
        sampler: of patches.
        batch: patches an iteration and process.
        fill: values beyond a volume's edge, in network units.
        windows: of validation.
        ct: normalisation of the CT, whose inverse gives HU.
        loop: the preset's part.
        settings: what a checkpoint must have in common with the run that takes it up.
        initial: weights to start from, by network.
        extractor: of a feature loss.
        judge: what decides what is best in place of the mean absolute error.

    Raises:
        SynthCTError: see `synthct.training.loop.fit`.
    """
    result = fit(
        objective,
        PatchSource(sampler, batch=batch, workers=run.workers),
        SweptValidation(
            data.validation,
            network=network,
            engine=Engine(fabric.device, precision=run.validation_precision(loop.precision)),
            settings=windows,
            fill=fill,
            to_hu=ct.invert,
            first=judge,
        ),
        loop.limited(run.max_steps),
        run.run_dir,
        fabric,
        progress=run.progress,
        fingerprint=run.fingerprint(settings, data, extractor),
        resume=run.resume,
        initial=initial,
    )
    return result.best[network]
