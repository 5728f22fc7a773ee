"""creps-cgan in its container: pelvis and brain through one image, each by its model, and `synthct check` passes."""

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

from algorithms.creps_cgan.about import ABOUT
from algorithms.creps_cgan.network import Generator, GeneratorConfig
from algorithms.creps_cgan.predictor import ModelConfig
from algorithms.presets import read_preset
from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.networks.state import own_tensors
from synthct.weights import save_model

pytestmark = [pytest.mark.container, pytest.mark.slow]

PRESETS = {Region.PELVIS: "pelvis", Region.BRAIN: "brain"}
HU = {Region.PELVIS: 100, Region.BRAIN: 200}
WINDOWS = {Region.PELVIS: (1, 3, 3), Region.BRAIN: (3, 1, 1)}
"""Along z, y, x: 410 x 280 x 170 mm on 1 x 1 x 2.5 mm are 68 x 280 x 410 voxels, two patches of 256 in-plane; 195 x 230
x 190 mm on 1 mm are two patches of 96 along z."""


def save_generator(folder: Path, region: Region, *, constant: bool) -> None:
    """A generator of the preset's spacing that answers about one HU, or that very one everywhere.

    There are no biases but those of the norms: the last norm gives about 1 to each of two channels, and the head's
    weights halve the answer between them. A pass over noise sets the running statistics, as training would; without
    it the norms scale nothing, and the answer hardly varies.
    """
    torch.manual_seed(0)
    spacing = read_preset(ABOUT, PRESETS[region])["spacing"]
    config = ModelConfig(
        network=GeneratorConfig(width=2, inner=2, blocks=1),
        sweep=SweepSettings(
            patch=(68, 256, 256) if region is Region.PELVIS else (96, 232, 196),
            rule="monai",
            merging="median-upper",
            whole_patches=True,
        ),
        spacing=spacing,
        image=LinearScale(low=0.0, high=2000.0, scale=1000.0),
        ct=LinearScale(low=-1000.0, high=3000.0, scale=1000.0),
    )
    generator = Generator(config.network)
    norms = [module for module in generator.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        generator.train()(torch.rand(1, 1, 16, 64, 64))
        last = norms[-1]
        last.bias.fill_(1.0)
        generator.head.weight.fill_(HU[region] / 1000 / 2)
        if constant:
            last.weight.zero_()
    save_model(
        folder,
        own_tensors(generator),
        half=True,
        algorithm="creps-cgan",
        tasks=(Task.MRI,),
        regions=(region,),
        config=config.model_dump(mode="json"),
    )


def save_models(root: Path, *, constant: bool) -> Path:
    """Both regions, and the routes to them."""
    for region, name in PRESETS.items():
        save_generator(root / name, region, constant=constant)
    routes = {f"mri/{region}": name for region, name in PRESETS.items()}
    (root / "routes.json").write_text(json.dumps(routes))
    return root


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    return build_image("synthct-test/creps-cgan:exec", "creps-cgan")


@pytest.mark.parametrize("region", list(PRESETS))
def test_each_region_by_its_own_model_and_spacing(image: str, tmp_path: Path, region: Region) -> None:
    models = save_models(tmp_path / "models", constant=True)
    write_case("plain", Task.MRI, region, tmp_path / "input")
    ended = run_container(image, tmp_path / "input", tmp_path / "output", model=models)
    assert ended.code == 0, ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["model"], row["region"]) == (f"{MODEL}/{PRESETS[region]}", region.value)
    assert (row["resampled"], row["sweep"]["merging"]) == (True, "median-upper")
    assert row["sweep"]["windows"] + row["sweep"]["skipped"] == np.prod(WINDOWS[region])
    voxels, inside = sitk.GetArrayFromImage(read_sct(ended.output)), phantom_of(region, Task.MRI).mask.voxels > 0
    assert set(np.unique(voxels[inside])) == {HU[region]}
    assert set(np.unique(voxels[~inside])) == {-1000}


def test_it_passes_the_check(image: str, tmp_path: Path) -> None:
    """With answers that vary: the check rightly asks what a constant sCT is good for."""
    models = save_models(tmp_path / "models", constant=False)
    outcome = run_check(image, "--model", models, "--task", "mri", "--region", "P", "--quick")
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
