"""What lies where no window went, and budgets and seeds that cannot be meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from synthct.errors import UsageError
from synthct.inference import SweepSettings
from synthct.inference.engine import Engine


@pytest.mark.parametrize("merging", ["mean", "gaussian", "median-lower", "median-upper", "median-average"])
def test_whole_number_for_air_leaves_predictions_whole(merging: Any) -> None:
    """Air's HU is an int: it must not turn the result into integers."""
    image = np.full((4, 4, 8), 0.5, np.float32)
    wanted = np.zeros(image.shape, bool)
    wanted[..., 0] = True
    settings = SweepSettings(patch=(4, 4, 4), step=1.0, merging=merging, margin=0)
    swept = Engine(torch.device("cpu"), spread=True).sweep(
        nn.Identity().eval(), image, settings, wanted=wanted, air=-1000
    )
    assert swept.values.dtype == np.float32
    assert np.all(swept.values[..., :4] == 0.5)
    assert np.all(swept.values[..., 4:] == -1000)


def test_budget_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="budget inf"):
        Engine(torch.device("cpu"), budget=float("inf"))


def test_seed_is_kept_for_predictors_that_draw() -> None:
    assert Engine(torch.device("cpu")).seed == 0
    assert Engine(torch.device("cpu"), seed=11).seed == 11
    with pytest.raises(UsageError, match="seed -1 is below 0"):
        Engine(torch.device("cpu"), seed=-1)
