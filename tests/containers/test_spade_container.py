"""spade-afp in its container: thorax and pelvis through one image, each by its model, and `synthct check` passes."""

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

from algorithms.spade_afp.network import GeneratorConfig, GlobalConfig, SpadeConfig
from algorithms.spade_afp.network import build_generator as build
from algorithms.spade_afp.predictor import ModelConfig
from algorithms.spade_afp.settings import CT_SCALE
from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore
from synthct.networks.state import own_tensors
from synthct.weights import save_model

pytestmark = [pytest.mark.container, pytest.mark.slow]

NAMES = {Region.PELVIS: "pelvis", Region.THORAX: "thorax"}
HU = {Region.PELVIS: 100, Region.THORAX: 200}
GENERATORS: dict[Region, GeneratorConfig] = {
    Region.PELVIS: SpadeConfig(width=2, hidden=2, multiples=(2, 1), strides=((1, 2, 2),)),
    Region.THORAX: GlobalConfig(width=2, strides=((1, 2, 2),), blocks=1),
}


def save_generator(folder: Path, region: Region, *, constant: bool) -> None:
    """A generator that answers about one HU, or that very one everywhere: its last bias gives it."""
    torch.manual_seed(0)
    config = ModelConfig(
        generator=GENERATORS[region],
        sweep=SweepSettings(patch=(16, 48, 64), step=0.5, merging="median-lower"),
        image=CaseZScore(),
        ct=CT_SCALE,
    )
    generator = build(config.generator, spectral_norm=False)
    *_, weight, bias = generator.parameters()
    with torch.no_grad():
        bias.fill_((HU[region] - CT_SCALE.offset) / CT_SCALE.scale)
        weight.mul_(0.0 if constant else 0.05 / weight.abs().sum())
    save_model(
        folder,
        own_tensors(generator),
        half=False,  # a bias in fp16 is up to half a HU off
        algorithm="spade-afp",
        tasks=(Task.MRI,),
        regions=(region,),
        config=config.model_dump(mode="json"),
    )


def save_models(root: Path, *, constant: bool) -> Path:
    """Both regions, and the routes to them."""
    for region, name in NAMES.items():
        save_generator(root / name, region, constant=constant)
    (root / "routes.json").write_text(json.dumps({f"mri/{region}": name for region, name in NAMES.items()}))
    return root


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    return build_image("synthct-test/spade-afp:exec", "spade-afp")


@pytest.mark.parametrize("region", list(NAMES))
def test_each_region_by_its_own_generator(image: str, tmp_path: Path, region: Region) -> None:
    models = save_models(tmp_path / "models", constant=True)
    write_case("plain", Task.MRI, region, tmp_path / "input")
    ended = run_container(image, tmp_path / "input", tmp_path / "output", model=models)
    assert ended.code == 0, ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["model"], row["region"]) == (f"{MODEL}/{NAMES[region]}", region.value)
    assert (row["resampled"], row["sweep"]["merging"]) == (False, "median-lower")
    voxels, inside = sitk.GetArrayFromImage(read_sct(ended.output)), phantom_of(region, Task.MRI).mask.voxels > 0
    assert set(np.unique(voxels[inside])) == {HU[region]}
    assert set(np.unique(voxels[~inside])) == {-1000}


def test_it_passes_the_check(image: str, tmp_path: Path) -> None:
    """With answers that vary: the check rightly asks what a constant sCT is good for."""
    models = save_models(tmp_path / "models", constant=False)
    outcome = run_check(image, "--model", models, "--task", "mri", "--region", "P", "--quick")
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
