"""ldm-brain in its container: a head through the image, the same voxels twice, and `synthct check` passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from containers.checks import run_check
from containers.images import build_image
from containers.ramp_cases import read_sct
from containers.running import MODEL, run_container
from ldm_settings import CT, NETWORKS

from algorithms.ldm_brain.networks import build_networks
from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.predictor import ModelConfig
from algorithms.ldm_brain.sampling import SamplingConfig
from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.intensity import CasePercentile, LinearScale
from synthct.networks.state import own_tensors
from synthct.weights import save_model

pytestmark = [pytest.mark.container, pytest.mark.slow]

SCALE = LinearScale.model_validate(CT)


def save_random(folder: Path, *, constant: bool) -> Path:
    """Networks that answer about 100 HU, or that very value everywhere: the decoder's last bias gives it."""
    torch.manual_seed(0)
    networks = build_networks(NETWORKS)
    *_, weight, bias = networks.autoencoder.decoder.parameters()
    with torch.no_grad():
        bias.fill_((100 - SCALE.offset) / SCALE.scale)
        weight.mul_(0.0 if constant else 0.05 / weight.abs().sum())
    config = ModelConfig(
        networks=NETWORKS,
        noise=NoiseConfig(),
        sampling=SamplingConfig(steps=2),
        scale_factor=1.0,
        spacing=(4.0, 4.0, 4.0),
        patch=(32, 32, 32),
        image=CasePercentile(),
        ct=SCALE,
    )
    save_model(
        folder,
        own_tensors(networks),
        half=False,  # a bias in fp16 is up to half a HU off
        algorithm="ldm-brain",
        tasks=(Task.MRI,),
        regions=(Region.BRAIN,),
        config=config.model_dump(mode="json"),
    )
    return folder


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    return build_image("synthct-test/ldm-brain:exec", "ldm-brain")


def test_every_voxel_of_the_head_comes_from_the_networks(image: str, tmp_path: Path) -> None:
    model = save_random(tmp_path / "model", constant=True)
    write_case("plain", Task.MRI, Region.BRAIN, tmp_path / "input")
    ended = run_container(image, tmp_path / "input", tmp_path / "output", model=model)
    assert ended.code == 0, ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["model"], row["region"], row["steps"], row["seed"]) == (MODEL, Region.BRAIN.value, 2, 0)
    voxels = sitk.GetArrayFromImage(read_sct(ended.output))
    inside = phantom_of(Region.BRAIN, Task.MRI).mask.voxels > 0
    assert set(np.unique(voxels[inside])) == {100}
    assert set(np.unique(voxels[~inside])) == {-1000}


def test_it_passes_the_check(image: str, tmp_path: Path) -> None:
    """With answers that vary: the check rightly asks what a constant sCT is good for."""
    model = save_random(tmp_path / "model", constant=False)
    outcome = run_check(image, "--model", model, "--task", "mri", "--region", "B", "--quick")
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
