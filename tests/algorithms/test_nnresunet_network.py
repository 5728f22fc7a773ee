"""The synthesis network with the image added, presets' settings, and the sizes that `synthct info` tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nnresunet_runs import CBCT, CT, NETWORK, model_config, settings
from pydantic import ValidationError

from algorithms.interface import find_algorithm
from algorithms.nnresunet_afp.network import ImageAdded, build_network
from algorithms.nnresunet_afp.plan import describe
from algorithms.nnresunet_afp.recipe import train
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.presets import parse_settings, read_preset
from algorithms.training import check_settings, load_recipe
from synthct.errors import UsageError
from synthct.intensity import CaseZScore
from synthct.networks.unet import UNetPlan

ABOUT = find_algorithm("nnresunet-afp")
TINY = UNetPlan.model_validate(NETWORK)
FULL, STANDARD = 61_882_885, 30_702_693
"""nnResU-Net with trilinear up-sampling, and the plain nnU-Net with transposed convolutions (ALGORITHMS 1.1)."""
REGIONS = [f"{task}-{region}" for task in ("mri", "cbct") for region in ("hn", "th", "ab")]
IMAGE_HU = np.array([-1024, -1000, -37, 0, 55, 1500, 3071], np.float32)


class Nothing(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(image)


def test_a_network_that_says_nothing_returns_the_cbct_in_hu() -> None:
    skip = ImageAdded(Nothing(), CBCT, CT)
    image = torch.from_numpy(CBCT.apply(IMAGE_HU)).reshape(1, 1, 1, 1, -1)
    np.testing.assert_allclose(CT.invert(skip(image).numpy()).ravel(), IMAGE_HU, atol=1e-3)


def test_what_the_network_says_is_added_in_units_of_the_ct() -> None:
    """Gain and shift worked out by hand: 300 / 250, and (-150 + 100) / 250."""
    skip = ImageAdded(torch.nn.Identity(), CBCT, CT)
    assert (skip.gain, skip.shift) == pytest.approx((1.2, -0.2))
    assert skip(torch.tensor([0.0, 1.0, -2.0])).tolist() == pytest.approx([-0.2, 2.0, -4.6])


def test_the_skip_is_built_for_an_image_in_hu_alone() -> None:
    torch.manual_seed(1)
    skip = build_network(TINY, CBCT, CT, global_skip=True)
    torch.manual_seed(1)
    bare = build_network(TINY, CBCT, CT, global_skip=False)
    image = torch.randn(1, 1, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(skip(image), bare(image) + 1.2 * image - 0.2)
    assert [name.removeprefix("unet.") for name in skip.state_dict()] == list(bare.state_dict())
    with pytest.raises(ValueError, match=r"global_skip adds the image in HU; expected a data set's z-score"):
        build_network(TINY, CaseZScore(), CT, global_skip=True)
    with pytest.raises(ValidationError, match="global_skip needs an image in HU"):
        model_config(global_skip=True)
    assert model_config(global_skip=True, image=CBCT).global_skip


def test_presets_have_the_papers_sizes() -> None:
    sizes = {preset: describe(read_preset(ABOUT, preset)) for preset in ABOUT.presets}
    assert ABOUT.presets[0] == "l1", "the first preset is the paper's: its size is told as `full`"
    assert (sizes["l1"], sizes["l1-afp"]) == ((FULL, None), (FULL, None))
    assert sizes["nnunet"] == (STANDARD, None)
    assert sizes["starter"][0] < FULL / 10
    for name in REGIONS:
        assert sizes[name][0] == FULL
    assert {name: sizes[name][1] for name in REGIONS[:3]} == {
        "mri-hn": (64, 160, 192),
        "mri-th": (48, 160, 256),
        "mri-ab": (56, 160, 224),
    }


def test_the_size_follows_what_the_planner_is_told() -> None:
    """Transposed convolutions: ALGORITHMS 1.1's 57.15 M. One more block, other widths: other sizes."""
    assert round(describe({"planner": {"upsampling": "transposed"}})[0] / 1e6, 2) == 57.15
    assert describe({"planner": {"encoder_blocks": 3}})[0] > FULL
    assert describe({"planner": {"decoder_blocks": 1}})[0] < FULL
    assert describe({"planner": {"base_features": 16, "max_features": 160}})[0] < FULL / 3
    tiny = describe({"planner": {"network": NETWORK, "patch": [4, 16, 16]}})
    assert tiny[0] == sum(weight.numel() for weight in build_network(TINY, CBCT, CT, global_skip=False).parameters())
    assert tiny[1] == (4, 16, 16)


@pytest.mark.parametrize("preset", ABOUT.presets)
def test_every_preset_is_what_the_recipe_takes(preset: str) -> None:
    config = check_settings(ABOUT, read_preset(ABOUT, preset))
    assert isinstance(config, RecipeConfig)
    assert config.l1_weight + config.afp_weight > 0
    assert (config.loop.schedule, config.loop.clip_norm) == ("poly", 12.0)
    if "starter" not in preset:
        assert (config.optimiser, config.augment, config.mirror_axes) == ("sgd", False, ())


def test_the_stages_of_paper_002_and_the_loss_of_paper_000() -> None:
    stage1, stage2, alone = (parse_settings(RecipeConfig, read_preset(ABOUT, name)) for name in ("l1", "l1-afp", "afp"))
    assert (stage1.l1_weight, stage1.afp_weight, stage1.learning_rate) == (1.0, 0.0, 1e-2)
    assert (stage2.l1_weight, stage2.afp_weight, stage2.learning_rate) == (5.0, 1.0, 1e-3)
    assert (stage2.reduction, stage2.batch, stage2.loop.epochs) == ("sum", 1, 500)
    assert (alone.l1_weight, alone.afp_weight, alone.reduction) == (0.0, 1.0, "mean")
    assert (stage1.step, stage1.merging) == (0.3, "mean")


@pytest.mark.parametrize("name", REGIONS)
def test_presets_of_regions_are_stage_one_with_a_patch_of_their_own(name: str) -> None:
    stage1, own = (parse_settings(RecipeConfig, read_preset(ABOUT, preset)) for preset in ("l1", name))
    assert own.planner.patch is not None
    assert not own.global_skip
    UNetPlan().require_multiple(own.planner.patch)
    planner = own.planner.model_copy(update={"patch": None, "spacing": None})
    loop = own.loop.model_copy(update={"epochs": stage1.loop.epochs})
    assert own.model_copy(update={"planner": planner, "loop": loop}) == stage1
    assert 1000 <= own.loop.epochs <= 1500
    assert own.loop.epochs == 1000 or not name.endswith("hn")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"loop": {"epoch": 5}}, "setting 'loop.epoch' is unknown; did you mean epochs?"),
        ({"patch": [4, 16, 16]}, "setting 'patch' is unknown; did you mean plan.patch or planner.patch?"),
        ({"planner": {"upsample": "trilinear"}}, "setting 'planner.upsample' is unknown; did you mean upsampling?"),
        ({"l1_wieght": 5}, "setting 'l1_wieght' is unknown; did you mean l1_weight?"),
        ({"reduction": "median"}, "setting 'reduction': Input should be 'sum' or 'mean'"),
        ({"afp_weight": -1}, "setting 'afp_weight': Input should be greater than or equal to 0"),
        ({"planner": {"kind": "vit"}}, "setting 'planner.kind': Input should be 'plain', 'residual' or 'hybrid'"),
        (
            {"planner": {"patch": [4, 16, 17], "network": NETWORK}},
            "setting 'planner': patch (4, 16, 17) (z, y, x) is no multiple",
        ),
        ({"l1_weight": 0.0}, "settings: l1_weight and afp_weight are both 0"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_settings(ABOUT, changes)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_the_recipe_is_found_by_its_name() -> None:
    assert load_recipe(ABOUT) is train


def test_windows_of_prediction_and_of_validation() -> None:
    config = settings(step=0.3, validation_step=0.5, mirror_axes=(2,), merging="median-lower")
    final, between = config.sweep((4, 16, 16)), config.sweep((4, 16, 16), validation=True)
    assert (final.step, final.mirror_axes, final.merging) == (0.3, (2,), "median-lower")
    assert (between.step, between.mirror_axes, between.merging) == (0.5, (), "median-lower")
