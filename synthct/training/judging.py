"""Validation of a run: its cases are split over the processes, and every process learns the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synthct.training.averaging import evaluating
from synthct.training.interruption import Interruption
from synthct.training.objective import CaseScore, FloatArray, Validation
from synthct.training.processes import broadcast_tensors, gather
from synthct.training.state import TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What one validation found.

    Attributes:
        values: mean over the cases by name, in the order of the first case; the first one decides what is best.
        images: by title, (y, x) in 0..1; of every case.
    """

    values: dict[str, float]
    images: dict[str, FloatArray]

    @property
    def score(self) -> float:
        """The value that decides; lower is better."""
        return next(iter(self.values.values()))


def judge(
    validation: Validation,
    state: TrainingState,
    fabric: Fabric,
    *,
    seed: int,
    interruption: Interruption,
    advance: Callable[[], None] = lambda: None,
) -> Verdict | None:
    """Score every case with the networks that would be kept.

    The random numbers of a case come from `seed` and the case's place alone, and training's own are as they were
    before, so validation neither changes the weights nor depends on the number of processes. `advance` is called after
    each case of this process.

    Returns:
        None where a signal on any process broke it off between two cases.
    """
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    scores: dict[int, CaseScore] = {}
    # batch norm's, which each process has of its own; the first one's are kept
    broadcast_tensors([buffer for network in state.judged.values() for buffer in network.buffers()], fabric)
    with evaluating(state.judged) as networks, torch.random.fork_rng(devices=devices):
        for index in range(fabric.global_rank, len(validation.cases), fabric.world_size):
            if interruption.signal is not None:
                break
            torch.manual_seed((seed << 16) + index)
            scores[index] = validation.score(networks, index)
            advance()
    everyone = {index: score for part in gather(scores, fabric) for index, score in part.items()}
    if len(everyone) < len(validation.cases):
        return None
    ordered = [everyone[index] for index in sorted(everyone)]
    told: dict[str, list[float]] = {}
    for score in ordered:
        for name, value in score.values.items():
            told.setdefault(name, []).append(value)
    values = {name: math.fsum(found) / len(found) for name, found in told.items()}
    images = {title: image for score in ordered for title, image in score.images.items()}
    return Verdict(values, images)
