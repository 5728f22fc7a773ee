"""Factors that depend on the iteration alone, so that a resumed run needs no state for them."""

from __future__ import annotations

import math

from synthct.training.settings import LoopSettings

__all__ = ["average_decay", "rate_factor"]

POLY_EXPONENT = 0.9
"""nnU-Net's."""
AVERAGE_RAMP = 10


def rate_factor(settings: LoopSettings, done: int) -> float:
    """Factor of each optimiser's own learning rate for the step after `done` iterations (0 for the first).

    In the warm-up of w iterations it is (done + 1) / w; after it the schedule runs from 1 over the rest of the plan
    (settings.LoopSettings names the formulas). It never reaches 0 within the plan.
    """
    warm_up = settings.warm_up_iterations
    if done < warm_up:
        return (done + 1) / warm_up
    left: float = 1.0 - (done - warm_up) / (settings.iterations - warm_up)
    match settings.schedule:
        case "poly":
            return math.pow(left, POLY_EXPONENT)
        case "cosine":
            return 0.5 * (1.0 - math.cos(math.pi * left))
        case "linear-tail":
            return min(1.0, 2.0 * left)
        case "fixed":
            return 1.0


def average_decay(settings: LoopSettings, iteration: int) -> float:
    """Weight of the old average at an iteration (from 1): min(ema, t / (t + 10))."""
    return min(settings.ema, iteration / (iteration + AVERAGE_RAMP))
