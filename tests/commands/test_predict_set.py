"""`synthct predict --set KEY=VALUE`: a model's own settings for one run, through the real command and in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import save_image
from commands.command_line import synthct

from algorithms.commands.overrides import Overrides
from algorithms.commands.predict import predict
from algorithms.interface import find_algorithm
from algorithms.ldm_brain.networks import LdmConfig, build_networks
from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.predictor import ModelConfig
from synthct.anatomy import Region, Task
from synthct.errors import UsageError, WeightsError
from synthct.intensity import CasePercentile, LinearScale
from synthct.networks.state import own_tensors
from synthct.volume import read_volume
from synthct.weights import ModelFolder, open_model, save_model

LDM = find_algorithm("ldm-brain")
AUTOENCODER = {"channels": (4, 4), "latent_channels": 2, "res_blocks": 1, "norm_groups": 2}
DENOISER = {"channels": (4,), "attention": (False,), "head_channels": (4,), "res_blocks": 1, "norm_groups": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random networks."""
    torch.manual_seed(3)
    config = ModelConfig(
        networks=LdmConfig.model_validate({"autoencoder": AUTOENCODER, "denoiser": DENOISER, "embedding": (2, 2)}),
        noise=NoiseConfig(),
        scale_factor=1.0,
        spacing=(2.0, 2.0, 2.0),
        patch=(16, 16, 16),
        image=CasePercentile(),
        ct=LinearScale(low=-1024, high=3071, scale=1000),
    )
    folder: Path = tmp_path_factory.mktemp("ldm")
    save_model(
        folder,
        own_tensors(build_networks(config.networks)),
        half=False,
        algorithm="ldm-brain",
        tasks=(Task.MRI,),
        regions=(Region.BRAIN,),
        config=config.model_dump(mode="json"),
    )
    return folder


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A bright ball, and a mask a little larger."""
    places = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in places))
    folder = tmp_path / "data" / "1BA001"
    save_image(folder / "mr.mha", np.where(radius < 0.8, 300, 2).astype(np.int16), spacing=(2.0, 2.0, 2.0))
    save_image(folder / "mask.mha", (radius < 1.0).astype(np.uint8), spacing=(2.0, 2.0, 2.0))
    return folder


def manifest(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return content


def test_settings_through_the_real_command(model: Path, case: Path, tmp_path: Path) -> None:
    arguments = ("predict", "ldm-brain", case, tmp_path / "out", "--model", model, "--seed", "7", "--spread")
    chosen = ("--set", "sampling.steps=2", "--set", "sampling.samples=3", "--set", "sampling.layout=fit")
    ended = synthct(*arguments, *chosen)
    assert ended.code == 0, ended.err
    told = manifest(tmp_path / "out")
    assert told["settings"] == {"sampling.steps": 2, "sampling.samples": 3, "sampling.layout": "fit"}
    (row,) = told["cases"]
    assert (row["steps"], row["samples"], row["layout"], row["seed"]) == (2, 3, "fit", 7)
    assert row["fit_scale"] <= 1
    assert "changed nothing" not in ended.err
    assert float(read_volume(tmp_path / "out" / "spread" / "1BA001.mha").voxels.max()) > 0


@pytest.mark.parametrize(
    ("algorithm", "setting", "complaint"),
    [
        (
            "ldm-brain",
            "sampling.step=4",
            "--set sampling.step is unknown; did you mean sampling.steps? expected one of",
        ),
        ("lookup-table", "bins=4", "--set bins: lookup-table has no settings that can be set for a run"),
        ("ldm-brain", "sampling.steps=many", "--set sampling.steps=many: input should be a valid integer"),
    ],
)
def test_refused_by_the_real_command(
    model: Path, case: Path, tmp_path: Path, algorithm: str, setting: str, complaint: str
) -> None:
    ended = synthct("predict", algorithm, case, tmp_path / "out", "--model", model, "--set", setting)
    assert ended.code == 2
    assert complaint in ended.reason
    assert not (tmp_path / "out").exists()


def test_seeds_through_predict(model: Path, case: Path, tmp_path: Path) -> None:
    """The same output twice by default, and another by another seed."""
    results = {}
    for name, more in (("one", {}), ("again", {}), ("zero", {"seed": 0}), ("other", {"seed": 5})):
        predict("ldm-brain", case, tmp_path / name, model=model, device="cpu", settings=["sampling.steps=1"], **more)
        results[name] = read_volume(tmp_path / name / "1BA001.mha").voxels
    assert np.array_equal(results["one"], results["again"])
    assert np.array_equal(results["one"], results["zero"])
    assert not np.array_equal(results["one"], results["other"])


def test_without_settings_the_manifest_has_none(model: Path, case: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="50 steps would take"):
        predict("ldm-brain", case, tmp_path / "out", model=model, device="cpu", budget=0.01)
    told = manifest(tmp_path / "out")
    assert "settings" not in told
    assert told["cases"][0]["steps_asked"] == 50


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["sampling.steps"], r"--set 'sampling.steps' is no setting; expected KEY=VALUE"),
        (["=4"], "expected KEY=VALUE"),
        (["scale_factor=2"], r"scale_factor is unknown; expected one of sampling.steps, sampling.eta"),
        (["sampling.eta=0.1", "sampling.eta=0.2"], r"sampling.eta was given twice \(0.1 and 0.2\)"),
    ],
)
def test_texts_refused(texts: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Overrides.parse(LDM, texts)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("sampling.steps=0", "--set sampling.steps=0: input should be greater than 0"),
        ("sampling.steps=1.5", "--set sampling.steps=1.5: input should be a valid integer"),
        ("sampling.eta=nan", "--set sampling.eta=nan: input should be"),
        ("sampling.layout=crop", "--set sampling.layout=crop: input should be 'tiles', 'whole' or 'fit'"),
        ("sampling.steps=1001", "--set sampling.steps=1001: sampling.steps 1001; expected at most noise.times 1000"),
    ],
)
def test_values_refused(model: Path, setting: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Overrides.parse(LDM, [setting]).apply(open_model(model))


def test_values_land_in_the_card(model: Path) -> None:
    opened = open_model(model)
    overrides = Overrides.parse(LDM, [" sampling.eta = 0.25", "sampling.steps=8"])
    config = ModelConfig.model_validate(overrides.apply(opened).card.config)
    assert (config.sampling.eta, config.sampling.steps, config.sampling.samples) == (0.25, 8, 1)
    assert config.model_copy(update={"sampling": None}) == ModelConfig.model_validate(opened.card.config).model_copy(
        update={"sampling": None}
    )
    assert overrides.notes == {"settings": {"sampling.eta": 0.25, "sampling.steps": 8}}
    untouched = Overrides.parse(LDM, [])
    assert untouched.apply(opened) is opened
    assert untouched.notes == {}


def test_a_broken_card_is_the_folders_own_fault(model: Path, case: Path, tmp_path: Path) -> None:
    """Loading says it, with exit code 4, whatever was set."""
    opened = open_model(model)
    broken = ModelFolder(opened.path, opened.card.model_copy(update={"config": {"stage": "diffusion"}}))
    overrides = Overrides.parse(LDM, ["sampling.steps=8"])
    assert overrides.apply(broken) is broken
    content = json.loads((model / "model.json").read_text())
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
    (copy / "model.json").write_text(json.dumps(content | {"config": {"stage": "diffusion"}}))
    with pytest.raises(WeightsError, match="holds stage diffusion alone"):
        predict("ldm-brain", case, tmp_path / "out", model=copy, device="cpu", settings=["sampling.steps=8"])
