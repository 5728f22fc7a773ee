"""The frozen network that a loss compares by: opened, told, and on the run's device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from synthct.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from algorithms.training import TrainingRun
    from synthct.features.backbones import ExtractorKind
    from synthct.features.interface import FeatureExtractor

__all__ = ["loss_extractor"]

log = logging.getLogger(__name__)


def loss_extractor(
    run: TrainingRun, fabric: Fabric, *, setting: str, weight: float, expected: str, kind: ExtractorKind = "nnunet"
) -> FeatureExtractor | None:
    """Open the extractor that the call names, or draw its weights where the call asks for random ones.

    The log says which it is, and warns where its weights are random or a starter's.

    Args:
        run: the run.
        fabric: its processes.
        setting: name of the term's weight in a preset, for messages.
        weight: of the term.
        expected: what the user is to do where an extractor is given and the weight is 0.
        kind: of the extractor whose weights are drawn where none is named.

    Returns:
        The extractor, on the run's device; None where the weight is 0.

    Raises:
        UsageError: the weight is 0 and an extractor is given, or the reverse.
        WeightsError: the folder holds no extractor, or a damaged one.
    """
    if weight == 0:
        if run.extractor is not None or run.random_extractor:
            raise UsageError(f"--extractor is given, but setting '{setting}' is 0; expected {expected}")
        return None
    extractor = run.feature_extractor(kind)
    if fabric.is_global_zero:
        log.info("features of %s (%d layers, sha256 %s)", extractor.name, len(extractor.layers), extractor.sha256[:12])
        if extractor.random:
            log.warning("the feature extractor's weights are RANDOM: this shows the software, not the loss")
        if extractor.starter:
            log.warning("the feature extractor is a STARTER: its card says how little it knows")
    return extractor.to(fabric.device)
