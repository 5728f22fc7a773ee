"""nnresunet-afp in its container: three regions and both tasks through one image, and `synthct check` passes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from containers.checks import run_check
from containers.images import build_image
from containers.ramp_cases import read_sct
from containers.running import MODEL, run_container

from algorithms.nnresunet_afp.network import build_network
from algorithms.nnresunet_afp.predictor import ModelConfig
from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import own_tensors
from synthct.networks.unet import UNetPlan
from synthct.weights import save_model

pytestmark = [pytest.mark.container, pytest.mark.slow]

CT = ZScore(mean=0.0, std=100.0, low=-1024, high=3071)
HU = {Region.HEAD_NECK: 100, Region.THORAX: 200, Region.ABDOMEN: 300}


def save_network(folder: Path, task: Task, region: Region, hu: int, *, constant: bool) -> None:
    """A network that answers about one HU, or that very one everywhere; for CBCT it changes the image by as much."""
    torch.manual_seed(0)
    config = ModelConfig(
        network=UNetPlan(features=(4, 4), kernels=((1, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (1, 2, 2))),
        sweep=SweepSettings(patch=(16, 64, 64), step=0.5, merging="mean"),
        spacing=phantom_of(region, task).image.spacing_zyx,
        image=CaseZScore() if task is Task.MRI else CT,
        ct=CT,
        global_skip=task is Task.CBCT,
    )
    network = build_network(config.network, config.image, config.ct, global_skip=config.global_skip)
    last = network.get_submodule("unet.decoder" if task is Task.CBCT else "decoder").get_submodule("seg_layers")[-1]
    with torch.no_grad():
        last.bias.fill_(hu / CT.std)
        if constant:
            last.weight.zero_()
    save_model(
        folder,
        own_tensors(network),
        half=True,
        algorithm="nnresunet-afp",
        tasks=(task,),
        regions=(region,),
        config=config.model_dump(mode="json"),
    )


def save_models(root: Path, *, constant: bool) -> Path:
    """Three regions of both tasks, and the routes to them."""
    routes = {}
    for task in Task:
        for region, hu in HU.items():
            save_network(root / f"{task}-{region}", task, region, hu, constant=constant)
            routes[f"{task}/{region}"] = f"{task}-{region}"
    (root / "routes.json").write_text(json.dumps(routes))
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("nnresunet") / "models", constant=True)


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    return build_image("synthct-test/nnresunet-afp:exec", "nnresunet-afp")


@pytest.mark.parametrize("region", list(HU))
def test_each_region_by_its_own_model(image: str, models: Path, tmp_path: Path, region: Region) -> None:
    write_case("plain", Task.MRI, region, tmp_path / "input")
    ended = run_container(image, tmp_path / "input", tmp_path / "output", model=models)
    assert ended.code == 0, ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["model"], row["region"]) == (f"{MODEL}/mri-{region}", region.value)
    voxels, inside = sitk.GetArrayFromImage(read_sct(ended.output)), phantom_of(region, Task.MRI).mask.voxels > 0
    assert set(np.unique(voxels[inside])) == {HU[region]}
    assert set(np.unique(voxels[~inside])) == {-1000}


def test_cbct_comes_back_changed_by_what_the_network_says(image: str, models: Path, tmp_path: Path) -> None:
    write_case("plain", Task.CBCT, Region.THORAX, tmp_path / "input")
    ended = run_container(image, tmp_path / "input", tmp_path / "output", model=models)
    assert ended.code == 0, ended.lines
    phantom = phantom_of(Region.THORAX, Task.CBCT)
    inside = phantom.mask.voxels > 0
    (row,) = ended.manifest["cases"]
    assert row["resampled"] is False  # so that voxels come back one by one
    wanted = np.clip(phantom.image.voxels.astype(np.float64) + HU[Region.THORAX], -1024, 3071)
    voxels = sitk.GetArrayFromImage(read_sct(ended.output))
    assert np.abs(voxels[inside] - wanted[inside]).max() <= 1


@pytest.mark.parametrize("task", list(Task))
def test_it_passes_the_check(image: str, tmp_path: Path, task: Task) -> None:
    """With answers that vary: the check rightly asks what a constant sCT is good for."""
    models = save_models(tmp_path / "models", constant=False)
    outcome = run_check(image, "--model", models, "--task", task.value, "--region", "AB", "--quick")
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
