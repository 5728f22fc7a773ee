"""What a preset of CREPs cGAN may say, and what it says where it is silent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from creps_settings import tiny
from pydantic import ValidationError

from algorithms.creps_cgan.settings import RecipeConfig
from synthct.inference.settings import SweepSettings


def test_defaults_are_the_paper_s() -> None:
    config = RecipeConfig()
    assert (config.batch, config.learning_rate, config.weight_decay) == (8, 1e-4, 1e-3)
    assert (config.style_weight, config.style_reduction, config.adversarial_weight) == (20.0, "sum", 1.0)
    assert (config.loop.epochs, config.loop.schedule, config.loop.clip_norm) == (200, "fixed", None)
    assert (config.sampling.patch, config.sampling.augment) == ((32, 224, 224), False)
    assert (config.ct_low, config.ct_high, config.ct_scale) == (-1000.0, 3000.0, 1000.0)
    assert (config.image_high, config.image_scale) == (2000.0, 1000.0)
    wanted = SweepSettings(patch=(32, 224, 224), step=0.5, rule="monai", merging="median-upper", whole_patches=True)
    assert config.windows == wanted


def test_extensions_are_off() -> None:
    config = RecipeConfig()
    assert (config.consistency_weight, config.discriminator_steps, config.disjoint) == (0.0, 1, False)
    assert (config.discriminator_rate, config.discriminator.first_norm) == (None, True)


def test_windows_that_are_given_are_kept() -> None:
    sweep = SweepSettings(patch=(16, 32, 32), step=0.25)
    assert tiny(sweep=sweep.model_dump()).windows == sweep


@pytest.mark.parametrize("name", ["sampling", "sweep"])
def test_patch_must_fit_the_generator(name: str) -> None:
    with pytest.raises(ValidationError, match=r"patch \(24, 24, 25\) .* no multiple"):
        tiny(**{name: {"patch": (24, 24, 25)}})


def test_patch_must_fit_the_discriminator_where_there_is_one() -> None:
    """What predicts may be smaller: no discriminator looks at it."""
    with pytest.raises(ValidationError, match=r"patch \(22, 24, 24\) .* too small for the discriminator"):
        tiny(sampling={"patch": (22, 24, 24)})
    assert tiny(sampling={"patch": (22, 24, 24)}, adversarial_weight=0.0).sampling.patch == (22, 24, 24)
    assert tiny(sweep={"patch": (8, 16, 16)}).windows.patch == (8, 16, 16)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ct_low": 3000.0}, "ct_low 3000 is not below ct_high 3000"),
        ({"style_weight": 0.0, "adversarial_weight": 0.0}, "are 0; expected one above 0"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"discriminator_rate": 0.0}, "greater than 0"),
        ({"discriminator_rate": math.nan}, "finite"),
        ({"discriminator_steps": 0}, "greater than 0"),
        ({"consistency_weight": -1.0}, "greater than or equal to 0"),
        ({"betas": (0.9, 1.0)}, "less than 1"),
        ({"spacing": (2.5, 1.0, 0.0)}, "greater than 0"),
        ({"spacing": (1.0, 1.0)}, "Field required"),
        ({"style_reduction": "max"}, "'sum' or 'mean'"),
        ({"image_high": -5.0}, "greater than 0"),
        ({"identity_weight": 1.0}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        tiny(**changes)
