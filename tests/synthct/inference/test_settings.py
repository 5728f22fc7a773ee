"""SweepSettings: what model.json and presets may say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from synthct.inference import SweepSettings


def test_defaults() -> None:
    settings = SweepSettings(patch=(32, 64, 64))
    assert (settings.step, settings.rule, settings.merging) == (0.5, "nnunet", "gaussian")
    assert (settings.mirror_axes, settings.margin) == ((), 1)


def test_survives_json() -> None:
    settings = SweepSettings(patch=(1, 2, 3), step=0.3, merging="median-upper", mirror_axes=(2, 0), rule="monai")
    assert SweepSettings.model_validate(json.loads(settings.model_dump_json())) == settings


def test_is_frozen() -> None:
    settings = SweepSettings(patch=(1, 2, 3))
    with pytest.raises(ValidationError, match="frozen"):
        settings.step = 0.3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"patch": (0, 4, 4)}, "patch"),
        ({"patch": (4, 4)}, "patch"),
        ({"step": 0.0}, "step"),
        ({"step": 1.01}, "step"),
        ({"step": float("nan")}, "step"),
        ({"rule": "dense"}, "rule"),
        ({"merging": "median"}, "merging"),
        ({"mirror_axes": (3,)}, "mirror_axes"),
        ({"mirror_axes": (1, 1)}, "names an axis twice"),
        ({"margin": -1}, "margin"),
        ({"overlap": 0.5}, "overlap"),
    ],
)
def test_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        SweepSettings.model_validate({"patch": (4, 4, 4), **change})
