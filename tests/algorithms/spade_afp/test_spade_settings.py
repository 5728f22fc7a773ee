"""What a preset of spade-afp may say, what it says where it is silent, and what the presets say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from spade_runs import GLOBAL, JUDGE, SPADE, tiny

from algorithms.intensities import air_units
from algorithms.presets import parse_settings, read_preset
from algorithms.spade_afp.about import ABOUT
from algorithms.spade_afp.network import GlobalConfig, SpadeConfig
from algorithms.spade_afp.plan import describe
from algorithms.spade_afp.settings import CT_SCALE, RecipeConfig
from synthct.errors import UsageError
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, LinearScale


def preset(name: str) -> RecipeConfig:
    return RecipeConfig.model_validate(read_preset(ABOUT, name))


def test_defaults() -> None:
    config = RecipeConfig()
    assert isinstance(config.generator, SpadeConfig)
    assert (config.batch, config.learning_rate, config.betas) == (1, 2e-4, (0.0, 0.9))
    assert config.rates == (1e-4, 4e-4)
    assert (config.adversarial_weight, config.feature_matching_weight) == (1.0, 10.0)
    assert (config.l1_weight, config.afp_weight, config.reduction) == (10.0, 0.0, "mean")
    assert (config.loop.schedule, config.loop.epochs, config.loop.clip_norm) == ("linear-tail", 200, None)
    assert config.windows == SweepSettings(patch=(32, 160, 160), step=0.5, rule="nnunet", merging="median-lower")
    assert config.mr == CaseZScore()


def test_ct_scale_takes_the_whole_range_to_one_and_minus_one() -> None:
    assert CT_SCALE.apply(np.array([-2000, -1024, 1023.5, 3071, 9000])).tolist() == [-1, -1, 0, 1, 1]
    assert CT_SCALE.invert(np.array([-1, 0, 1], np.float32)).tolist() == [-1024, 1023.5, 3071]
    assert air_units(CT_SCALE) == pytest.approx(24 / 2047.5 - 1)


def test_one_rate_for_both() -> None:
    assert tiny(learning_rate=3e-4, two_time_scale=False).rates == (3e-4, 3e-4)
    assert tiny(learning_rate=3e-4).rates == pytest.approx((1.5e-4, 6e-4))


def test_mr_on_an_absolute_scale() -> None:
    assert tiny(image="scale", image_scale=500.0).mr == LinearScale(low=0.0, high=2000.0, scale=500.0)
    assert tiny(image="z-score", image_scale=500.0).mr == CaseZScore()


def test_kind_chooses_the_generator() -> None:
    assert isinstance(tiny(generator=GLOBAL).generator, GlobalConfig)
    assert isinstance(tiny(generator=SPADE).generator, SpadeConfig)
    with pytest.raises(ValidationError, match="Unable to extract tag using discriminator 'kind'"):
        tiny(generator={"width": 2})


@pytest.mark.parametrize("name", ["sampling", "sweep"])
def test_patch_must_fit_the_generator(name: str) -> None:
    with pytest.raises(ValidationError, match=r"patch \(8, 16, 17\) .* no multiple"):
        tiny(**{name: {"patch": (8, 16, 17)}})


def test_patch_must_fit_the_discriminator_where_there_is_one() -> None:
    """What predicts may be smaller: no discriminator looks at it."""
    with pytest.raises(ValidationError, match=r"patch \(8, 8, 8\) .* too small for the discriminator"):
        tiny(sampling={"patch": (8, 8, 8)})
    alone = tiny(sampling={"patch": (8, 8, 8)}, adversarial_weight=0.0, feature_matching_weight=0.0)
    assert not alone.trains_discriminator
    assert tiny(sweep={"patch": (4, 8, 8)}).windows.patch == (4, 8, 8)
    assert tiny(adversarial_weight=0.0).trains_discriminator  # its features are matched


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (dict.fromkeys(("adversarial_weight", "feature_matching_weight", "l1_weight"), 0.0), "are all 0"),
        ({"generator": SPADE | {"output": "tanh"}, "ct": "z-score"}, "expected output linear or ct scale"),
        ({"bounds": (500.0, -500.0)}, "bounds 500 and -500; expected the lower one first"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"betas": (0.0, 1.0)}, "less than 1"),
        ({"afp_weight": math.inf}, "finite"),
        ({"afp_weight": -1.0}, "greater than or equal to 0"),
        ({"reduction": "max"}, "'sum' or 'mean'"),
        ({"image": "log"}, "'z-score' or 'scale'"),
        ({"spacing": (2.5, 1.0, 0.0)}, "greater than 0"),
        ({"discriminator": JUDGE | {"depth": 2}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        tiny(**changes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"generator": SPADE | {"widht": 4}}, "setting 'generator.spade.widht' is unknown; did you mean width?"),
        ({"generator": GLOBAL | {"block": 4}}, "setting 'generator.pix2pixhd.block' is unknown; did you mean blocks?"),
        ({"generator": SPADE | {"norm": "none"}}, "did you mean discriminator.norm?"),
        ({"hidden": 4}, "setting 'hidden' is unknown; did you mean generator.hidden?"),
    ],
)
def test_a_setting_that_is_misspelt_is_answered_with_the_nearest(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(RecipeConfig, settings)
    assert words in str(caught.value)


def test_presets_of_the_paper_differ_in_what_they_are_about_alone() -> None:
    names = ("spade", "spade-l1-afp", "spade-afp", "pix2pixhd", "pix2pixhd-l1-afp")
    configs = {name: preset(name) for name in names}
    shared = [config.model_dump(exclude={"generator", "l1_weight", "afp_weight"}) for config in configs.values()]
    assert shared == [shared[0]] * len(names)
    weights = {name: (config.l1_weight, config.afp_weight) for name, config in configs.items()}
    assert weights == {
        "spade": (10.0, 0.0),
        "spade-l1-afp": (10.0, 1.0),
        "spade-afp": (0.0, 1.0),
        "pix2pixhd": (10.0, 0.0),
        "pix2pixhd-l1-afp": (10.0, 1.0),
    }
    assert configs["spade"].generator == configs["spade-afp"].generator == configs["spade-l1-afp"].generator
    one, other = (configs[name].generator.model_dump() for name in ("pix2pixhd", "pix2pixhd-l1-afp"))
    assert {name for name in one if one[name] != other[name]} == {"upsampling"}


def test_presets_of_the_paper_are_what_it_states() -> None:
    config = preset("spade")
    assert isinstance(config.generator, SpadeConfig)
    assert (config.generator.width, config.generator.spectral_norm) == (32, True)
    assert (config.discriminator.scales, config.discriminator.layers) == (2, 3)
    assert (config.image, config.ct, config.bounds) == ("z-score", "z-score", "percentile")
    assert (config.windows.step, config.windows.merging) == (0.5, "median-lower")
    assert (config.two_time_scale, config.rates) == (True, (1e-4, 4e-4))
    assert (config.reduction, config.sampling.augment, config.loop.keep) == ("mean", False, "last")
    hd = preset("pix2pixhd").generator
    assert isinstance(hd, GlobalConfig)
    assert (hd.width, len(hd.strides), hd.blocks, hd.upsampling) == (32, 4, 9, "transposed")


def test_starters_differ_in_the_generator_alone() -> None:
    one, other = preset("starter"), preset("starter-pix2pixhd")
    assert one.model_dump(exclude={"generator"}) == other.model_dump(exclude={"generator"})
    assert (one.generator.kind, other.generator.kind) == ("spade", "pix2pixhd")
    assert set(one.excluded_cases) == {"1EXA010", "1EXA035", "1EXA051"}
    assert not set(one.excluded_cases) & set(one.validation_cases)
    assert (one.ct, one.image, one.loop.iterations) == ("scale", "scale", 3000)


def test_every_value_of_the_papers_presets_stands_in_the_file() -> None:
    """None is left to a default that nobody gave evidence for."""
    silent = {"validation_cases", "excluded_cases", "image_scale", "reduction"}
    for name in ABOUT.presets:
        if not name.startswith("starter"):
            settings = read_preset(ABOUT, name)
            missing = set(RecipeConfig.model_fields) - set(settings)
            assert missing <= silent
            assert set(preset(name).generator.model_dump()) == set(settings["generator"])
            assert set(preset(name).discriminator.model_dump()) == set(settings["discriminator"])


def test_sizes() -> None:
    """The first preset is what `synthct info` calls full: SPADE's generator."""
    sizes = {name: describe(read_preset(ABOUT, name)) for name in ABOUT.presets}
    assert ABOUT.presets[0] == "spade"
    assert sizes["spade"] == sizes["spade-afp"] == sizes["spade-l1-afp"]
    assert sizes["spade"][1] == (32, 160, 160)
    assert sizes["spade"][0] == pytest.approx(87.6e6, rel=1e-3)
    assert sizes["pix2pixhd"][0] == pytest.approx(136.8e6, rel=1e-3)
    assert sizes["starter"] == (1026297, (16, 128, 128))
    assert sizes["starter-pix2pixhd"][0] == 1477745
