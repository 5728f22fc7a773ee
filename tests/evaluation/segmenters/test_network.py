"""Loading a network: what does not fit together is refused by name; what fits is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_pipeline import checkpoint_in, nnunet_through_files
from wave_images import make_image

from evaluation.segmenters import open_segmenter
from synthct.errors import InputError, WeightsError
from synthct.volume import read_volume, write_volume

pytestmark = pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format:UserWarning:nnunetv2")


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    shutil.copytree(model_folder, tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def change_checkpoint(model: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = checkpoint_in(model)
    edit(content)
    torch.save(content, model / "fold_0" / "checkpoint_final.pth")


def segment(model: Path) -> Any:
    image = make_image((6, 20, 15), (3.0, 3.0, 3.0))
    return open_segmenter(f"nnunet:{model}", device="cpu").segment(image, image.voxels, case="1")


def test_a_checkpoint_that_is_damaged_is_named(model: Path) -> None:
    path = model / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=rf"{path}: cannot be loaded"):
        segment(model)


def test_a_checkpoint_of_another_network_is_named(model: Path) -> None:
    def cut(content: dict[str, Any]) -> None:
        content["network_weights"] = {
            key: value[:3] if value.ndim else value for key, value in content["network_weights"].items()
        }

    change_checkpoint(model, cut)
    with pytest.raises(WeightsError, match=r"checkpoint_final\.pth: does not fit the network of .*plans\.json"):
        segment(model)


def test_a_configuration_that_the_plans_lack_is_named(model: Path) -> None:
    change_checkpoint(model, lambda content: content["init_args"].update(configuration="3d_lowres"))
    with pytest.raises(WeightsError, match=r"plans\.json: does not fit .*checkpoint_final\.pth .*3d_lowres"):
        segment(model)


def test_a_network_of_two_images_is_refused(model: Path) -> None:
    change(model / "dataset.json", lambda content: content["channel_names"].update({"1": "PET"}))
    with pytest.raises(WeightsError, match=r"dataset\.json: the network wants 2 images; expected 1"):
        segment(model)


def test_a_cascade_is_refused(model: Path) -> None:
    change(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(previous_stage="3d_lowres"))
    with pytest.raises(WeightsError, match=r"plans\.json: the network wants the labels of 3d_lowres"):
        segment(model)


@pytest.mark.parametrize(
    "name",
    ["subprocess.Popen", "os.system", "torch_evil.Net", "torch.nn.parallel.distributed.os.system", "torch.nn.No"],
)
@pytest.mark.parametrize("place", ["network", "layer"])
def test_plans_cannot_name_any_class(place: str, name: str, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "was-here"

    def point(plans: dict[str, Any]) -> None:
        plans["configurations"]["3d_fullres"]["architecture"] = {
            "network_class_name": name if place == "network" else "torch.nn.Identity",
            "arch_kwargs": {"nonlin": name, "nonlin_kwargs": {"command": f"touch {target}"}},
            "_kw_requires_import": ["nonlin"] if place == "layer" else [],
        }

    change(model / "plans.json", point)
    with pytest.raises(WeightsError, match=rf"plans\.json: names the class {name}; expected a layer of torch\.nn\."):
        segment(model)
    assert not target.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("preprocessor_name", "Pool"), ("preprocessor_name", "NoSuch"), ("resampling_fn_data", "no_such_function")],
)
def test_plans_cannot_name_any_function(key: str, value: str, model: Path) -> None:
    change(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update({key: value}))
    with pytest.raises(WeightsError, match=rf"plans\.json: does not fit .*{value}"):
        segment(model)


def test_a_network_that_cannot_be_built_is_refused(model: Path) -> None:
    change(
        model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(conv_kernel_sizes=[[3, 3, 3]])
    )
    with pytest.raises(WeightsError, match=r"plans\.json: describes no network that can be built"):
        segment(model)


def test_plans_without_a_network_are_refused(model: Path) -> None:
    change(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].pop("patch_size"))
    with pytest.raises(WeightsError, match=r"plans\.json: does not fit"):
        segment(model)


def test_weights_that_give_nan_are_refused(model: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        for value in content["network_weights"].values():
            value.fill_(float("nan"))

    change_checkpoint(model, spoil)
    with pytest.raises(WeightsError, match=r"checkpoint_final\.pth: its network gives NaN or infinite"):
        segment(model)


@pytest.mark.parametrize("value", [0, -1000])
def test_an_image_without_any_structure_is_segmented_too(value: int, results_folder: Path) -> None:
    image = make_image((9, 12, 10), (3.0, 2.0, 2.0))
    image.voxels[:] = value
    labels = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu").segment(image, image.voxels, case="1")
    assert labels.shape == image.voxels.shape


def test_an_image_thinner_than_half_a_voxel_is_refused(results_folder: Path, model: Path) -> None:
    image = make_image((1, 12, 10), (1.2, 3.0, 3.0))
    with pytest.raises(InputError, match=r"image: measures 1\.2 mm along one axis; expected over 1\.5 mm"):
        open_segmenter(f"totalsegmentator:{results_folder}", device="cpu").segment(image, image.voxels, case="1")
    network = open_segmenter(f"nnunet:{model}", device="cpu")
    with pytest.raises(InputError, match=r"measures 1\.2 mm along axis 0, .*; expected more than .* 1\.5 mm"):
        network.segment(image, image.voxels, case="1")
    bordered = make_image((6, 12, 10), (1.2, 3.0, 3.0))
    bordered.voxels[:3], bordered.voxels[4:] = 0, 0
    with pytest.raises(InputError, match=r"measures 1\.2 mm along axis 0"):
        network.segment(bordered, image.voxels, case="1")


def test_a_network_of_two_dimensions_in_todays_format_of_plans(model: Path, tmp_path: Path) -> None:
    """The whole of nnU-Net's own prediction as the judge, as in test_parity."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    arguments = {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": [[3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin_kwargs": {"inplace": True},
    }
    classes = {"conv_op": torch.nn.Conv2d, "norm_op": torch.nn.InstanceNorm2d, "nonlin": torch.nn.LeakyReLU}
    torch.manual_seed(0)
    network = PlainConvUNet(input_channels=1, num_classes=118, **arguments, **classes)
    torch.nn.init.normal_(network.decoder.seg_layers[-1].weight, std=2.0)

    def add(plans: dict[str, Any]) -> None:
        flat = {**plans["configurations"]["3d_fullres"], "patch_size": [24, 16], "spacing": [2.0, 2.0]}
        names = {key: f"{value.__module__}.{value.__name__}" for key, value in classes.items()}
        flat["architecture"] = {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {**arguments, **names},
            "_kw_requires_import": ["conv_op", "norm_op", "nonlin", "dropout_op"],
        }
        plans["configurations"]["2d"] = flat
        plans["image_reader_writer"] = "SimpleITKIO"

    change(model / "plans.json", add)
    change_checkpoint(
        model,
        lambda content: content.update(network_weights=network.state_dict(), init_args={"configuration": "2d"}),
    )
    image = make_image((5, 33, 40), (4.0, 1.5, 1.5))
    write_volume(image, tmp_path / "ct.nii.gz")
    nnunet_through_files(tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", model, configuration="2d")
    expected = read_volume(tmp_path / "labels.nii.gz").voxels
    labels = open_segmenter(f"nnunet:{model}", device="cpu").segment(image, image.voxels, case="1")
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(labels, expected)
