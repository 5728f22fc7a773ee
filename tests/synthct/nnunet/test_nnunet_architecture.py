"""plans.json: what is read from it, and that everything which our networks do not have is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nnunet_models import make_plans

from benchmarks.random_network import make_plans as make_totalsegmentator_plans
from synthct.errors import WeightsError
from synthct.intensity import ZScore
from synthct.nnunet.architecture import read_unet_plan
from synthct.nnunet.configuration import Configuration, open_configuration

DNA = "dynamic_network_architectures"
Edit = Callable[[dict[str, Any]], object]


def opened(plans: dict[str, Any], name: str = "3d_fullres") -> Configuration:
    return open_configuration(plans, name, "a/plans.json")


def edited(edit: Edit, *, old: bool = False) -> Configuration:
    """A configuration after a change of its arguments (of the whole where the plans are old)."""
    plans = make_plans(old=old)
    content = plans["configurations"]["3d_fullres"]
    edit(content if old else content["architecture"]["arch_kwargs"])
    return opened(plans)


def test_totalsegmentators_plans() -> None:
    """Five stages from 32 to 320 features, in the format of the first releases."""
    configuration = opened(make_totalsegmentator_plans(small=False))
    plan = read_unet_plan(configuration, output_channels=118)
    assert plan.kind == "plain"
    assert plan.features == (32, 64, 128, 256, 320)
    assert plan.strides == ((1, 1, 1), *((2, 2, 2),) * 4)
    assert (plan.encoder_blocks, plan.decoder_blocks) == ((2,) * 5, (2,) * 4)
    assert (plan.upsampling, plan.multiple, plan.output_channels) == ("transposed", (16, 16, 16), 118)
    assert configuration.spacing == (3.0, 3.0, 3.0)
    assert configuration.patch == (112, 112, 128)
    assert configuration.ct_normalisation() == ZScore(mean=-50.387, std=503.392, low=-1004, high=1588)


def test_both_formats_describe_the_same_network() -> None:
    old, new = read_unet_plan(opened(make_plans(old=True))), read_unet_plan(opened(make_plans()))
    assert old.model_copy(update={"features": (4, 8, 12, 16)}) == new
    assert old.features == (4, 8, 12, 12)


def test_short_forms_stand_for_every_stage() -> None:
    def shorten(arguments: dict[str, Any]) -> None:
        arguments.update(features_per_stage=8, kernel_sizes=3, strides=[1, 2, 2, [1, 2, 2]], n_conv_per_stage=2)

    plan = read_unet_plan(edited(shorten))
    assert plan.features == (8, 8, 8, 8)
    assert plan.kernels == ((3, 3, 3),) * 4
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert plan.encoder_blocks == 2


def test_deep_supervision_and_the_usual_values_change_nothing() -> None:
    def spell_out(arguments: dict[str, Any]) -> None:
        arguments.update(deep_supervision=True, nonlin_first=False, nonlin_kwargs={"negative_slope": 0.01})

    assert read_unet_plan(edited(spell_out)) == read_unet_plan(opened(make_plans()))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.update(conv_op="torch.nn.modules.conv.Conv2d"), "conv_op is 'torch.nn.modules.conv.Conv2d'"),
        (lambda a: a.update(conv_bias=False), "conv_bias is False; expected True"),
        (lambda a: a.pop("conv_bias"), "conv_bias is nothing; expected True"),
        (lambda a: a.update(norm_op="torch.nn.BatchNorm3d"), "norm_op is 'torch.nn.BatchNorm3d'"),
        (lambda a: a.update(norm_op_kwargs={"eps": 1e-3, "affine": True}), "norm_op_kwargs is .*expected eps 1e-05"),
        (lambda a: a.update(norm_op_kwargs=None), "norm_op_kwargs is nothing"),
        (lambda a: a.pop("norm_op_kwargs"), "norm_op_kwargs is nothing"),
        (lambda a: a.update(dropout_op="torch.nn.Dropout3d"), "dropout_op is 'torch.nn.Dropout3d'; expected None"),
        (lambda a: a.update(nonlin="torch.nn.ReLU"), "nonlin is 'torch.nn.ReLU'; expected torch.nn.LeakyReLU"),
        (lambda a: a.update(nonlin_kwargs={"negative_slope": 0.2}), "nonlin_kwargs is .*expected a negative slope"),
        (lambda a: a.update(nonlin_first=True), "nonlin_first is True; expected False"),
        (lambda a: a.update(squeeze_excitation=True), "squeeze_excitation is True; expected no such argument"),
        (lambda a: a.update(block=f"{DNA}.building_blocks.residual.BottleneckD"), "block is .*expected .*BasicBlockD"),
        (lambda a: a.update(stem_channels=7), "stem_channels is 7; expected None or 4"),
        (lambda a: a.update(kernel_sizes=[[3, 3]] * 4), r"kernel_sizes is \[3, 3\]; expected three numbers"),
        (lambda a: a.update(kernel_sizes="3"), "kernel_sizes is '3'; expected a list"),
        (lambda a: a.update(n_stages=0), "n_stages is 0; expected a positive whole number"),
        (lambda a: a.update(n_stages=True), "n_stages is True; expected a positive whole number"),
        (lambda a: a.pop("strides"), "arch_kwargs.strides is nothing; expected a value"),
        (lambda a: a.update(strides=[[1, 1, 1]] * 3), "describes no network that can be built .*3 entries; expected 4"),
        (lambda a: a.update(features_per_stage=[4, 8, "x", 16]), r"describes no network .*features\.2"),
    ],
)
def test_what_our_networks_do_not_have_is_refused(edit: Edit, message: str) -> None:
    with pytest.raises(WeightsError, match=rf"^a/plans\.json: 3d_fullres: .*{message}") as caught:
        read_unet_plan(edited(edit))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(UNet_class_name="UNETR"), "UNet_class_name is .*UNETR'; expected PlainConvUNet"),
        (lambda c: c.update(UNet_base_num_features=None), "UNet_base_num_features is nothing"),
        (lambda c: c.update(conv_kernel_sizes=[[3, 3]] * 4), r"conv_kernel_sizes is \[3, 3\]; expected three"),
        (lambda c: c.update(conv_kernel_sizes={}), "conv_kernel_sizes is {}; expected a list"),
        (lambda c: c.pop("pool_op_kernel_sizes"), "pool_op_kernel_sizes is nothing; expected a list"),
        (lambda c: c.pop("UNet_class_name"), "architecture is nothing; expected a class name"),
        (lambda c: c.update(previous_stage="3d_lowres"), "previous_stage is '3d_lowres'; expected nothing"),
    ],
)
def test_old_plans_are_refused_just_so(edit: Edit, message: str) -> None:
    with pytest.raises(WeightsError, match=rf"^a/plans\.json: 3d_fullres: {message}"):
        read_unet_plan(edited(edit, old=True))


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", f"{DNA}.architectures.primus.Primus", "PlainConvUNet", None, 3]
)
def test_classes_are_never_looked_up(name: object) -> None:
    plans = make_plans()
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = name
    with pytest.raises(WeightsError, match=r"network_class_name is .*; expected PlainConvUNet, ResidualEncoderUNet"):
        read_unet_plan(opened(plans))


def test_a_configuration_is_joined_with_what_it_inherits() -> None:
    plans = make_plans()
    plans["configurations"]["small"] = {"inherits_from": "3d_fullres", "patch_size": [4, 16, 16]}
    plans["configurations"]["smaller"] = {"inherits_from": "small", "batch_size": 9}
    configuration = opened(plans, "smaller")
    assert configuration.patch == (4, 16, 16)
    assert configuration.spacing == (3.0, 1.0, 1.0)
    assert configuration.content["batch_size"] == 9
    plans["configurations"]["3d_fullres"]["inherits_from"] = "smaller"
    with pytest.raises(WeightsError, match="configuration smaller inherits from itself by way of smaller, small, 3d"):
        opened(plans, "smaller")


def test_configurations_that_are_not_there() -> None:
    with pytest.raises(WeightsError, match=r"plans\.json: has no configuration 2d; expected one of 3d_fullres"):
        opened(make_plans(), "2d")
    with pytest.raises(WeightsError, match="holds no configurations; expected plans of nnU-Net v2"):
        opened({})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("spacing", [3.0, 1.0], "spacing is .*expected three positive numbers"),
        ("spacing", [3.0, 0.0, 1.0], "spacing is"),
        ("spacing", None, "spacing is nothing"),
        ("patch_size", ["8", 8, 8], "patch_size is"),
        ("normalization_schemes", [], "normalization_schemes is"),
        ("normalization_schemes", "CTNormalization", "normalization_schemes is 'CTNormalization'; expected a name per"),
    ],
)
def test_values_of_a_configuration_that_cannot_be_used(key: str, value: object, message: str) -> None:
    plans = make_plans()
    plans["configurations"]["3d_fullres"][key] = value
    configuration = opened(plans)
    with pytest.raises(WeightsError, match=rf"^a/plans\.json: 3d_fullres: {message}"):
        _ = (configuration.spacing, configuration.patch, configuration.schemes)


def test_ct_statistics() -> None:
    assert opened(make_plans()).ct_normalisation() == ZScore(mean=20, std=400, low=-900, high=1500)
    assert opened(make_plans(scheme="ZScoreNormalization")).ct_normalisation() is None
    plans = make_plans()
    properties = plans.pop("foreground_intensity_properties_per_channel")
    with pytest.raises(WeightsError, match="foreground_intensity_properties_per_channel is nothing; expected the stat"):
        opened(plans).ct_normalisation()
    plans["foreground_intensity_properties_by_modality"] = properties  # the name in the first releases
    assert opened(plans).ct_normalisation() == ZScore(mean=20, std=400, low=-900, high=1500)
    for name, value in (("std", 0.0), ("mean", float("nan")), ("percentile_00_5", None), ("percentile_99_5", "x")):
        plans["foreground_intensity_properties_by_modality"] = {"0": {**properties["0"], name: value}}
        with pytest.raises(WeightsError, match=r"foreground_intensity.*expected finite numbers, std above 0"):
            opened(plans).ct_normalisation()


def test_axes_and_masks() -> None:
    plans = make_plans()
    opened(plans).require_axes_in_order()
    assert not opened(plans).masks_normalisation
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [True]
    assert opened(plans).masks_normalisation
    plans["transpose_forward"] = [2, 0, 1]
    with pytest.raises(WeightsError, match=r"transpose_forward is \[2, 0, 1\]; expected \[0, 1, 2\]"):
        opened(plans).require_axes_in_order()
