"""How long and by what schedule a network is trained: the part that every preset shares. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["LoopSettings", "Precision", "Schedule"]

Precision = Literal["fp32", "bf16-mixed", "16-mixed", "auto"]
Schedule = Literal["fixed", "poly", "cosine", "linear-tail"]

EPOCH = 250
"""Iterations of an epoch where a preset says nothing: nnU-Net's figure."""


def _one_epoch(settings: dict[str, Any]) -> int:
    return int(settings.get("iterations_per_epoch", EPOCH))


class LoopSettings(BaseModel):
    """One preset's training loop; everything is counted in iterations, one step of every optimiser each.

    Attributes:
        iterations_per_epoch: an epoch is no pass over the data, only this count.
        epochs: length of the plan that the schedule spans.
        accumulation: micro-batches whose mean gradient makes one step.
        clip_norm: largest 2-norm of the gradient of one turn's networks together; None clips nothing.
        precision: of the networks' forward passes. auto: fp32 on the CPU; on CUDA bf16-mixed from compute capability
            8.0, else 16-mixed (with one loss scaler a turn).
        ema: decay of the weights' moving average, which is what is validated and kept; 0 keeps the weights themselves.
            Step t (from 1) uses min(ema, t / (t + 10)), so that the start is soon forgotten.
        schedule: factor of the learning rate at t of T iterations. fixed: 1; poly: (1 - t/T)^0.9; cosine:
            (1 + cos(pi t/T)) / 2; linear-tail: 1 for the first half, then linearly to 0.
        warm_up_iterations: iterations over which the rate rises linearly first; the schedule spans those after them.
        validation_interval: iterations between validations; one epoch where nothing is said. The last iteration
            validates too.
        checkpoint_interval: iterations between checkpoints; one epoch where nothing is said. The last iteration
            writes one too.
        image_interval: a validation shows its pictures where this many iterations have gone by; one epoch where
            nothing is said.
        log_interval: iterations between log lines.
        keep: weights that are saved in the end: best by validation, or the last, where what is held out is to judge and
            not to choose. The score that is told is the best one either way.
        seed: of weights, dropout and validation.
        max_steps: stop after this iteration, the schedule staying that of the whole plan; None runs the plan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    iterations_per_epoch: int = Field(default=EPOCH, gt=0)
    epochs: int = Field(default=1000, gt=0)
    accumulation: int = Field(default=1, gt=0)
    clip_norm: float | None = Field(default=12.0, gt=0)
    precision: Precision = "auto"
    ema: float = Field(default=0.0, ge=0, lt=1)
    schedule: Schedule = "poly"
    warm_up_iterations: int = Field(default=0, ge=0)
    validation_interval: int = Field(default_factory=_one_epoch, gt=0)
    checkpoint_interval: int = Field(default_factory=_one_epoch, gt=0)
    image_interval: int = Field(default_factory=_one_epoch, gt=0)
    log_interval: int = Field(default=50, gt=0)
    keep: Literal["best", "last"] = "best"
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    max_steps: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> LoopSettings:
        if self.warm_up_iterations >= self.iterations:
            raise ValueError(
                f"warm_up_iterations {self.warm_up_iterations} leaves none of {self.iterations} iterations"
            )
        return self

    @property
    def iterations(self) -> int:
        """Iterations of the whole plan."""
        return self.epochs * self.iterations_per_epoch

    @property
    def last_iteration(self) -> int:
        """Iteration after which this run ends: the plan's last, or max_steps where that comes first."""
        return self.iterations if self.max_steps is None else min(self.max_steps, self.iterations)

    def limited(self, max_steps: int | None) -> LoopSettings:
        """Return the same plan, to be left after `max_steps` iterations; None leaves that to the settings."""
        return self if max_steps is None else self.model_copy(update={"max_steps": max_steps})
