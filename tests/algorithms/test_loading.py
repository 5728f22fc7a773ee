"""From a model folder to networks: settings and tensors that are not the algorithm's, and ensembles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from algorithms.loading import filled_networks, model_settings
from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.networks.state import own_tensors
from synthct.weights import ModelFolder, open_model, save_model


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(gt=0)


class Whole(BaseModel):
    network: Shape
    step: float = 0.5


def build(width: int) -> nn.Conv3d:
    return nn.Conv3d(1, width, 1)


def save(folder: Path, seed: int = 0, **config: object) -> ModelFolder:
    """A convolution of width 2, from a seed."""
    torch.manual_seed(seed)
    return save_model(
        folder,
        own_tensors(build(2)),
        half=False,
        algorithm="pix2pix-pelvis",
        tasks=(Task.MRI,),
        regions=(Region.PELVIS,),
        config={"network": {"width": 2}} | config,
    )


def test_settings_are_the_schemas(tmp_path: Path) -> None:
    assert model_settings(save(tmp_path / "model", step=0.25), Whole) == Whole(network=Shape(width=2), step=0.25)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"network": {"width": 0}}, "(network.width: Input should be greater than 0)"),
        ({"network": {"width": 2, "depth": 1}}, "(network.depth: Extra inputs are not permitted)"),
        ({"network": None, "step": "x"}, "(network: Input should be a valid dictionary or instance of Shape)"),
    ],
)
def test_settings_of_something_else_are_refused_in_one_line(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    """It names the folder, the algorithm and the first setting that does not fit."""
    with pytest.raises(WeightsError) as caught:
        model_settings(save(tmp_path / "model", **config), Whole)
    assert str(caught.value) == f"{tmp_path / 'model'}: settings do not fit pix2pix-pelvis {words}"


def test_a_network_for_each_fold(tmp_path: Path) -> None:
    for seed in (0, 1):
        save(tmp_path / f"fold_{seed}", seed)
    networks = filled_networks(open_model(tmp_path), lambda: build(2))
    expected = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        expected.append(build(2).weight)
    assert [torch.equal(network.weight, weight) for network, weight in zip(networks, expected, strict=True)] == [
        True
    ] * 2
    assert not torch.equal(expected[0], expected[1])


def test_tensors_are_compared_before_a_network_takes_memory(tmp_path: Path) -> None:
    """A card may declare what no machine holds: here 4 TB."""
    model = save(tmp_path / "model")
    with pytest.raises(WeightsError) as caught:
        filled_networks(model, lambda: build(10**12))
    assert str(caught.value) == (
        f"{tmp_path / 'model' / 'weights.safetensors'}: weight has shape (2, 1, 1, 1, 1); expected "
        "(1000000000000, 1, 1, 1, 1) for this network"
    )


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    model = save(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"weights\.safetensors: holds no 0\.weight \(2 missing\)"):
        filled_networks(model, lambda: nn.Sequential(build(2)))
    assert json.loads((model.path / "model.json").read_text())["config"] == {"network": {"width": 2}}
