"""The time guard: a larger step where the windows would take too long."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthct.errors import UsageError
from synthct.inference import SweepSettings
from synthct.inference.budget import STEP_GRID, fitting_step
from synthct.inference.engine import Engine

CPU = torch.device("cpu")
WINDOWS = {0.5: 100, 0.55: 90, 0.6: 80, 0.65: 70, 0.7: 60, 0.75: 50, 0.8: 40, 0.85: 35, 0.9: 30, 0.95: 25, 1.0: 20}


class _Slow(nn.Module):
    """Takes 2 ms for each window, or more."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, window: Tensor) -> Tensor:
        self.calls += len(window)
        time.sleep(0.002 * len(window))
        return window


def test_grid() -> None:
    assert STEP_GRID[0] == 0.05
    assert STEP_GRID[-1] == 1.0
    assert len(STEP_GRID) == 20


@pytest.mark.parametrize(
    ("left", "expected"),
    [(100.0, 0.5), (99.0, 0.55), (80.0, 0.6), (50.5, 0.75), (20.0, 1.0), (19.0, 1.0), (-5.0, 1.0)],
)
def test_fitting_step_by_hand(left: float, expected: float) -> None:
    """At one second a window; what does not fit even at step 1 runs with step 1."""
    assert fitting_step(0.5, lambda step: WINDOWS[step], 1.0, left) == expected


def test_a_step_between_the_grid_stays_where_it_fits() -> None:
    asked = []

    def windows_at(step: float) -> int:
        asked.append(step)
        return 10

    assert fitting_step(0.33, windows_at, 1.0, 10.0) == 0.33
    assert fitting_step(0.33, windows_at, 1.0, 9.0) == 1.0
    assert asked[2] == 0.35
    assert fitting_step(1.0, windows_at, 1.0, 1.0) == 1.0


def _sweep(budget: float | None, step: float = 0.25) -> tuple[_Slow, dict[str, object], np.ndarray]:
    """441 windows at step 0.5; 1,681 at 0.25, which take 3.4 s at least; 121 at step 1, 0.3 s on an idle machine."""
    network, image = _Slow().eval(), np.ones((4, 44, 44), np.float32)
    settings = SweepSettings(patch=(4, 4, 4), step=step, merging="mean")
    swept = Engine(CPU, budget=budget).sweep(network, image, settings)
    return network, swept.notes, swept.values


def test_enough_time_changes_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, notes, _ = _sweep(600.0, 0.5)
    assert (notes["windows"], notes["step"], notes["budget_s"]) == (441, 0.5, 600.0)
    assert "step_asked" not in notes
    assert network.calls == 441 + 2  # a warm-up and a timed window


def test_too_little_time_grows_the_step() -> None:
    with pytest.warns(UserWarning, match=r"1681 windows at step 0\.25 would take .* budget of 2 s") as caught:
        network, notes, values = _sweep(2.0)
    assert len(caught) == 1
    assert "not fit either" not in str(caught[0].message)
    assert 0.25 < notes["step"] <= 1.0  # type: ignore[operator]
    assert (notes["step_asked"], notes["budget_s"]) == (0.25, 2.0)
    assert notes["windows"] == network.calls - 2 < 1681
    np.testing.assert_allclose(values, 1.0)


def test_no_time_at_all_runs_with_step_1_and_says_so() -> None:
    with pytest.warns(UserWarning, match="step 1 with 121 windows .* does not fit either"):
        _, notes, values = _sweep(0.1)
    assert (notes["step"], notes["windows"]) == (1.0, 121)
    np.testing.assert_allclose(values, 1.0)


def test_without_a_budget_no_window_is_timed() -> None:
    network, notes, _ = _sweep(None, 0.5)
    assert network.calls == 441
    assert "budget_s" not in notes


def test_nothing_wanted_needs_no_time() -> None:
    network = _Slow().eval()
    swept = Engine(CPU, budget=1.0).sweep(
        network, np.ones((4, 4, 4), np.float32), SweepSettings(patch=(4, 4, 4)), wanted=np.zeros((4, 4, 4), bool)
    )
    assert (network.calls, swept.notes["windows"]) == (0, 0)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_budget_out_of_range(budget: float) -> None:
    with pytest.raises(UsageError, match="budget"):
        Engine(CPU, budget=budget)
