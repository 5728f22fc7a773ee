"""The time guard: a step that fits into the seconds that are left."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

from torch import Tensor

from synthct.inference.forward import WindowPredictor
from synthct.inference.plan import Plan, Planner

__all__ = ["STEP_GRID", "fitting_step", "plan_within"]

STEP_GRID = tuple(index / 20 for index in range(1, 21))
"""Steps that the guard chooses from: 0.05, 0.1, ... 1."""


def fitting_step(
    step: float, windows_at: Callable[[float], int], seconds_per_window: float, seconds_left: float
) -> float:
    """Return the smallest step, from the one given upwards on the grid, whose windows fit; 1.0 where none does.

    Args:
        step: as the settings have it; it stays where it fits.
        windows_at: number of windows that a step needs.
        seconds_per_window: as measured.
        seconds_left: of the budget.
    """
    for candidate in (step, *(coarser for coarser in STEP_GRID if coarser > step)):
        if windows_at(candidate) * seconds_per_window <= seconds_left:
            return candidate
    return max(step, STEP_GRID[-1])


def plan_within(budget: float, began: float, planner: Planner, predictor: WindowPredictor, windows: Tensor) -> Plan:
    """Time the network after a warm-up, and take a larger step where the budget asks for it, with a warning.

    Args:
        budget: seconds for the whole sweep.
        began: when the sweep did, on `time.monotonic`'s clock.
        planner: of the volume.
        predictor: whose speed counts.
        windows: (n, channels, z, y, x) on the device, a batch to time it with.
    """
    plan = planner.plan()
    seconds = 0.0
    for _ in ("warm-up", "timed"):
        start = time.perf_counter()
        predictor(windows).sum().item()  # the number waits for the device
        seconds = (time.perf_counter() - start) / len(windows)
    predictor.redone = 0
    left = budget - (time.monotonic() - began)
    step = fitting_step(plan.step, lambda candidate: len(planner.plan(candidate).starts), seconds, left)
    chosen = plan if step == plan.step else planner.plan(step)
    asked, projected = len(plan.starts) * seconds, len(chosen.starts) * seconds
    if asked > left:
        warnings.warn(
            f"{len(plan.starts)} windows at step {plan.step:g} would take {asked:.1f} s, of the budget of {budget:g} s "
            f"{left:.1f} s are left: step {step:g} with {len(chosen.starts)} windows takes {projected:.1f} s"
            + (" and does not fit either" if projected > left else ""),
            stacklevel=4,
        )
    return chosen
