"""Three stages on simulated heads: what each leaves, what it stands on, --resume, --init, folds, and a prediction."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ldm_runs import CASES, PRESET, SETTINGS, config_of, rows, training_run, weights
from ldm_settings import NETWORKS

from algorithms.ldm_brain.codec import decode
from algorithms.ldm_brain.networks import build_autoencoder
from algorithms.ldm_brain.predictor import load
from algorithms.ldm_brain.recipe import train
from algorithms.ldm_brain.stages import without_scale
from synthct.dataset import find_cases, load_case
from synthct.errors import UsageError, WeightsError
from synthct.inference.engine import Engine
from synthct.weights import open_model


def test_each_stage_leaves_a_folder_and_the_whole_holds_their_tensors(trained: Path) -> None:
    stages = {"autoencoder": "autoencoder", "diffusion": "unet", "controlnet": "controlnet"}
    whole = weights(trained)
    for stage, network in stages.items():
        own = weights(trained / stage)
        assert {name.split(".")[0] for name in own} == {network}
        assert {tensor.dtype for tensor in own.values()} == {torch.float32}
        assert config_of(trained / stage)["stage"] == stage
        for name, tensor in own.items():
            assert whole[name].dtype == torch.float16
            assert torch.equal(whole.pop(name), tensor.half()), name
    assert not whole
    assert [path.name for path in (trained / "cache").glob(f"{CASES[0]}-*")]  # one for all stages
    assert not (trained / "diffusion" / "cache").exists()


def test_each_stage_tells_its_validation(trained: Path) -> None:
    for stage, value in (("autoencoder", "mae_hu"), ("diffusion", "mse"), ("controlnet", "mae_hu")):
        last = rows(trained / stage)[-1]
        assert last["iteration"] == "2"
        assert 0 < float(last[f"validation_{value}"]) < 3000
        assert list((trained / stage / "tensorboard").iterdir())


def test_discriminator_begins_after_its_warm_up(trained: Path) -> None:
    first, second = rows(trained / "autoencoder")
    assert first["discriminator_loss"] == first["adversarial"] == ""
    assert 0 < float(second["discriminator_loss"]) < 100


def test_scale_factor_is_saved_and_used(trained: Path) -> None:
    factors = [config_of(folder)["scale_factor"] for folder in (trained, trained / "diffusion", trained / "controlnet")]
    assert factors[0] == factors[1] == factors[2] > 0
    checkpoint = torch.load(trained / "diffusion" / "checkpoint.pt", weights_only=True)
    assert float(checkpoint["state"]["networks"]["scale"]["value"]) == factors[0]
    for row in rows(trained / "diffusion"):
        assert 0.5 < float(row["latent_std"]) < 2.0  # of other patches than those it was found on


def test_a_stage_notes_what_it_stands_on(trained: Path) -> None:
    shas = {stage: open_model(trained / stage).card.sha256 for stage in ("autoencoder", "diffusion")}
    assert config_of(trained / "autoencoder")["before"] == {}
    assert config_of(trained / "diffusion")["before"] == {"autoencoder": shas["autoencoder"]}
    assert config_of(trained / "controlnet")["before"] == shas


def test_the_unet_is_what_stage_two_made_to_the_bit(trained: Path) -> None:
    """Stage three left it alone, and its own average is of the ControlNet."""
    own, whole = weights(trained / "diffusion"), weights(trained)
    kept = torch.load(trained / "diffusion" / "checkpoint.pt", weights_only=True)["state"]["average"]["unet"]
    assert all(torch.equal(own[f"unet.{name}"], tensor) for name, tensor in kept.items())
    assert all(torch.equal(whole[name], tensor.half()) for name, tensor in own.items())
    saved = torch.load(trained / "controlnet" / "checkpoint.pt", weights_only=True)["state"]["networks"]
    assert list(saved) == ["controlnet"]


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion", "controlnet"])
def test_a_stage_that_was_left_resumes_to_the_same_bits(heads: Path, trained: Path, tmp_path: Path, stage: str) -> None:
    """After one of two iterations; in stage one that is where the warm-up ends."""
    run_dir = tmp_path / "run"
    for before in ("autoencoder", "diffusion")[: ("autoencoder", "diffusion", "controlnet").index(stage)]:
        shutil.copytree(trained / before, run_dir / before)
    train(training_run(heads, run_dir, SETTINGS, stage=stage, max_steps=1))
    assert weights(run_dir / stage).keys() == weights(trained / stage).keys()
    assert (run_dir / stage / "weights.safetensors").read_bytes() != (
        trained / stage / "weights.safetensors"
    ).read_bytes()
    train(training_run(heads, run_dir, SETTINGS, stage=stage, resume=True))
    for name in ("weights.safetensors", "model.json"):
        assert (run_dir / stage / name).read_bytes() == (trained / stage / name).read_bytes()
    told, wanted = (
        [(row["iteration"], row[f"{name}_loss"]) for row in rows(folder / stage)]
        for folder in (run_dir, trained)
        for name in [{"diffusion": "unet"}.get(stage, stage)]
    )
    assert told == wanted
    assert (run_dir / "model.json").exists() == (stage == "controlnet")


def test_init_starts_each_stage_from_its_own_network(heads: Path, trained: Path, tmp_path: Path) -> None:
    """At a rate of next to nothing the weights stay, the ControlNet's too, which is then no copy of the UNet's."""
    still = {stage: PRESET[stage] | {"learning_rate": 1e-9} for stage in ("autoencoder", "diffusion", "controlnet")}
    train(training_run(heads, tmp_path / "again", PRESET | still, init=trained, max_steps=1))
    before, after = weights(trained), weights(tmp_path / "again")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name].float(), tensor.float(), rtol=1e-3, atol=1e-4)
    with pytest.raises(WeightsError, match=r"diffusion: holds no tensor of autoencoder; expected a model"):
        train(training_run(heads, tmp_path / "no", PRESET, init=trained / "diffusion", stage="autoencoder"))


def test_a_fold_takes_its_scale_factor_into_the_weights(heads: Path, trained: Path, tmp_path: Path) -> None:
    """So that folds agree in their settings, and open as an ensemble."""
    for number in range(2):
        held_out, settings = (CASES[number],), PRESET | {"scale_patches": 8}
        run = training_run(heads, tmp_path / f"fold_{number}", settings, fold=number, validation=held_out, max_steps=1)
        train(run)
    ensemble = open_model(tmp_path)
    assert len(ensemble.folds) == 2
    assert ensemble.card.config["scale_factor"] == 1.0
    factors = [config_of(tmp_path / f"fold_{number}" / "diffusion")["scale_factor"] for number in range(2)]
    assert factors[0] != factors[1]
    stage = weights(tmp_path / "fold_0" / "autoencoder")
    plain, scaled = (build_autoencoder(NETWORKS.autoencoder).eval() for _ in range(2))
    for network, tensors in ((plain, stage), (scaled, without_scale(stage, factors[0]))):
        network.load_state_dict({name.removeprefix("autoencoder."): tensor for name, tensor in tensors.items()})
    ct = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        latent = plain.encode(ct)[0]
        torch.testing.assert_close(scaled.encode(ct)[0], latent * factors[0])
        torch.testing.assert_close(decode(scaled, latent * factors[0], (8, 8, 8)), decode(plain, latent, (8, 8, 8)))


def test_features_are_stage_ones_alone(heads: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A random extractor is told on every card that came of it."""
    settings = PRESET | {"perceptual_weight": 1e-3, "warm_up_epochs": 5}
    with pytest.raises(UsageError, match="no extractor is named"):
        train(training_run(heads, tmp_path / "none", settings))
    with pytest.raises(UsageError, match="setting 'perceptual_weight' is 0; expected a preset such as brain"):
        train(training_run(heads, tmp_path / "none", random_extractor=True))
    with caplog.at_level(logging.WARNING):
        train(training_run(heads, tmp_path / "run", settings, random_extractor=True, max_steps=1))
    assert "weights are RANDOM" in caplog.text
    (row,) = rows(tmp_path / "run" / "autoencoder")
    l1, kl, features = (float(row[name]) for name in ("l1_hu", "kl", "perceptual"))
    assert features > 0
    assert 0.3 * l1 / 2047.5 < float(row["autoencoder_loss"]) - 1e-3 * features - 1e-6 * kl < 3 * l1 / 2047.5
    cards = [open_model(folder).card for folder in (tmp_path / "run", tmp_path / "run" / "diffusion")]
    for card in cards:
        assert card.random_features
        assert card.trained_on == "3 cases (RANDOM feature extractor)"
        assert len(card.extractors) == 1
    with pytest.raises(UsageError, match="--extractor is for stage autoencoder, and stage diffusion compares no"):
        train(training_run(heads, tmp_path / "run", settings, stage="diffusion", random_extractor=True))


def test_what_was_trained_predicts(heads: Path, trained: Path) -> None:
    case = load_case(next(files for files in find_cases(heads) if files.id == CASES[2]))
    predictor = load(open_model(trained), Engine(torch.device("cpu"), precision="fp32"))
    prediction = predictor.predict(case)
    inside = case.mask.voxels > 0
    assert prediction.volume.voxels.shape == case.image.voxels.shape
    assert (prediction.volume.voxels[~inside] == -1000).all()
    assert len(np.unique(prediction.volume.voxels[inside])) > 50
    assert prediction.notes["steps"] == 2
    with pytest.raises(WeightsError, match=r"diffusion: holds stage diffusion alone"):
        load(open_model(trained / "diffusion"), Engine(torch.device("cpu"), precision="fp32"))


def test_rectified_flow_and_heads_that_are_made_to_fit(heads: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"noise": {"kind": "rectified-flow"}, "sampling": {"steps": 1, "layout": "fit"}}
    folder = train(training_run(heads, tmp_path / "run", settings, max_steps=1))
    assert folder.card.config["noise"]["kind"] == "rectified-flow"
    shapes = [np.load(path, mmap_mode="r").shape for path in (tmp_path / "run" / "cache").glob("*/image.npy")]
    assert len(shapes) == 3
    assert min(map(min, shapes)) < 20  # voxels of a head of 18 x 20 x 22, whose mask had to fit into 16
    assert 0 < float(rows(tmp_path / "run" / "controlnet")[-1]["validation_mae_hu"]) < 3000
