"""Presets of ldm-brain: the paper's is ALGORITHMS 4's, and what cannot be trained is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ldm_runs import PRESET, tiny
from pydantic import ValidationError

from algorithms.interface import find_algorithm
from algorithms.ldm_brain.about import ABOUT
from algorithms.ldm_brain.plan import describe
from algorithms.ldm_brain.recipe import model_config
from algorithms.ldm_brain.settings import STAGES, RecipeConfig
from algorithms.presets import read_preset


def preset(name: str) -> RecipeConfig:
    return RecipeConfig.model_validate(read_preset(ABOUT, name))


def test_the_papers_preset_is_the_specifications_table() -> None:
    config = preset("brain")
    networks = config.networks
    assert (networks.autoencoder.channels, networks.autoencoder.latent_channels) == ((64, 128, 128), 3)
    assert (networks.denoiser.channels, networks.embedding) == ((256, 256, 512), (16, 32, 64))
    assert config.patches.patch == (192, 192, 192)
    assert [edge // networks.factor for edge in config.patches.patch] == [48, 48, 48]
    noise = config.noise
    assert (noise.kind, noise.times, noise.schedule, noise.prediction) == (
        "ddpm",
        1000,
        "scaled_linear_beta",
        "epsilon",
    )
    assert (noise.beta_start, noise.beta_end) == (0.0015, 0.0205)
    assert (config.perceptual_weight, config.adversarial_weight, config.kl_weight) == (1e-3, 1e-2, 1e-6)
    assert (config.warm_up_epochs, config.warm_up_iterations) == (5, 900)
    assert [config.stage(stage).learning_rate for stage in STAGES] == [1e-4, 2.5e-5, 2.5e-5]
    assert (config.discriminator.layers, config.discriminator.channels) == (3, 32)
    assert (config.sampling.steps, config.sampling.eta) == (50, 0.0)


def test_the_papers_preset_is_also_what_nothing_said_means() -> None:
    said, unsaid = preset("brain"), RecipeConfig()
    lengths = {"autoencoder", "diffusion", "controlnet"}
    assert said.model_dump(exclude=lengths) == unsaid.model_dump(exclude=lengths)


def test_rectified_flow_differs_in_noise_and_steps_alone() -> None:
    for flow, diffusion in (("brain-rflow", "brain"), ("starter-rflow", "starter")):
        ours, theirs = preset(flow), preset(diffusion)
        assert ours.noise.kind == "rectified-flow"
        assert ours.model_dump(exclude={"noise", "sampling"}) == theirs.model_dump(exclude={"noise", "sampling"})


def test_starters_stay_away_from_the_test_heads() -> None:
    for name in ("starter", "starter-rflow"):
        config = preset(name)
        assert config.validation_cases == ("1BA011",)
        assert config.excluded_cases == ("1BA013", "1BA014")
        assert config.perceptual_weight == 0  # no extractor is needed


def test_every_preset_makes_a_model_and_its_size_is_counted() -> None:
    about = find_algorithm("ldm-brain")
    sizes = {}
    for name in about.presets:
        config = preset(name)
        assert model_config(config, 2.0).patch == config.patches.patch
        sizes[name], patch = describe(read_preset(about, name))
        assert patch == config.patches.patch
    assert round(sizes["brain"] / 1e6, 1) == 281.4  # 9.3 + 191.2 + 80.9
    assert sizes["brain-rflow"] == sizes["brain"]
    assert sizes["starter"] == sizes["starter-rflow"] < 3e6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patches": {"patch": [16, 18, 16]}}, "is no multiple of the strides' product"),
        ({"diffusion": {"loop": {"precision": "fp32"}}}, "the stages' loops differ in precision"),
        ({"kl_weight": -1.0}, "greater than or equal to 0"),
        ({"afp_weight": 1.0}, "Extra inputs"),
    ],
)
def test_presets_that_cannot_be_trained_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        tiny(**changes)


def test_prediction_that_would_refuse_the_model_refuses_the_preset() -> None:
    """Before hours of training: eta is DDIM's."""
    settings = PRESET | {"noise": {"kind": "rectified-flow"}, "sampling": {"eta": 0.5}}
    with pytest.raises(ValidationError, match="expected 0 for rectified flow"):
        model_config(RecipeConfig.model_validate(settings))
