"""From simulated limbs to a model folder: spectral norm folded in, --init, --resume, features, folds, spread."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands.command_line import Outcome, synthct
from commands.limb_cases import save_limb
from commands.tiny_training import ONE_THREAD
from nnresunet_runs import save_tiny_extractor
from safetensors.torch import load_file
from spade_runs import GLOBAL, PRESET, SPADE, training_run

from algorithms.spade_afp.network import SpadeConfig, build_generator
from algorithms.spade_afp.objective import GENERATOR
from algorithms.spade_afp.predictor import build
from algorithms.spade_afp.recipe import model_config, train
from algorithms.spade_afp.settings import CT_SCALE, RecipeConfig
from synthct.dataset import find_cases
from synthct.errors import InputError, UsageError, WeightsError
from synthct.networks.spectral import plain_tensors
from synthct.planning.fingerprint import fingerprint
from synthct.volume import read_volume
from synthct.weights import open_model

CASES = ("1EXA001", "1EXA002", "1EXA003")
TWO_STEPS = {"loop": PRESET["loop"] | {"epochs": 1}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limbs")
    for number, name in enumerate(CASES, 1):
        save_limb(root / name, seed=number)
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("extractor")
    return folder, save_tiny_extractor(folder)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four iterations with a moving average and a case to validate on."""
    run_dir = tmp_path_factory.mktemp("run") / "model"
    loop = PRESET["loop"] | {"ema": 0.9, "checkpoint_interval": 2}
    train(training_run(data, run_dir, PRESET | {"loop": loop, "validation_cases": ["1EXA003"]}))
    return run_dir


def test_model_holds_plain_weights(trained: Path) -> None:
    """Those of a network without spectral norm: no vectors, and each block's convolutions of norm 1."""
    card = json.loads((trained / "model.json").read_text())
    assert (card["algorithm"], card["tasks"], card["regions"]) == ("spade-afp", ["mri"], ["EX"])
    assert card["config"]["sweep"]["merging"] == "median-lower"
    assert card["config"]["image"]["kind"] == "linear"
    assert (card["config"]["ct"]["offset"], card["config"]["ct"]["scale"]) == (1023.5, 2047.5)
    tensors = load_file(trained / "weights.safetensors")
    plain = build_generator(SpadeConfig.model_validate(SPADE), spectral_norm=False).state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in plain.items()
    }
    normed = [tensor for name, tensor in tensors.items() if ".convs." in name and name.endswith(".weight")]
    assert len(normed) == 4
    for tensor in normed:
        largest = torch.linalg.svdvals(tensor.float().flatten(1))[0]
        assert 0.97 < float(largest) < 1.2  # power iteration from below; the average is of other weights


def test_what_is_saved_computes_what_was_validated(trained: Path) -> None:
    """The checkpoint's average, spectral norm and all, against the folded weights of the model folder."""
    checkpoint = torch.load(trained / "checkpoint.pt", weights_only=True)
    best = checkpoint["state"]["best"]["weights"][GENERATOR]
    normed = build_generator(SpadeConfig.model_validate(SPADE))
    normed.load_state_dict(best)
    plain = build_generator(SpadeConfig.model_validate(SPADE), spectral_norm=False)
    plain.load_state_dict(plain_tensors(best))
    saved = build_generator(SpadeConfig.model_validate(SPADE), spectral_norm=False)
    saved.load_state_dict({name: each.float() for name, each in load_file(trained / "weights.safetensors").items()})
    image = torch.rand(1, 1, 8, 16, 16)
    with torch.inference_mode():
        outputs = [network.eval()(image) for network in (normed, plain, saved)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=2e-2, atol=2e-2)  # kept in fp16


def test_log_tells_each_term(trained: Path) -> None:
    with (trained / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [row for row in rows if row["generator_loss"]]
    assert len(steps) == 4
    for row in steps:
        adversarial, matching, l1 = (float(row[name]) for name in ("adversarial", "matching", "l1_hu"))
        assert float(row["generator_loss"]) == pytest.approx(adversarial + 10 * matching + 10 * l1 / 2047.5, rel=1e-3)
        assert 0 < float(row["discriminator_loss"]) < 10


def test_a_run_that_was_left_resumes_to_the_same_weights(data: Path, trained: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(json.dumps(PRESET))
    settings["loop"] |= {"ema": 0.9, "checkpoint_interval": 2}
    settings["validation_cases"] = ["1EXA003"]
    train(training_run(data, tmp_path / "run", settings, max_steps=2))
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() != (trained / "weights.safetensors").read_bytes()
    train(training_run(data, tmp_path / "run", settings, resume=True))
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["spade", "pix2pixhd"])
def test_init_starts_from_a_model(data: Path, tmp_path: Path, kind: str) -> None:
    """At a rate of next to nothing the weights stay, spectral norm or none."""
    generator = SPADE if kind == "spade" else GLOBAL
    settings = PRESET | TWO_STEPS | {"generator": generator}
    first = train(training_run(data, tmp_path / "first", settings))
    still = settings | {"learning_rate": 1e-9}
    again = train(training_run(data, tmp_path / "again", still, init=first.path))
    before, after = (load_file(path / "weights.safetensors") for path in (first.path, again.path))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name].float(), tensor.float(), rtol=5e-3, atol=1e-3)
    fresh = train(training_run(data, tmp_path / "fresh", still | {"loop": settings["loop"] | {"seed": 7}}))
    other = load_file(fresh.path / "weights.safetensors")
    assert max(float((other[name] - before[name]).abs().max()) for name in before) > 0.05


def test_init_can_be_repeated_and_is_refused_where_it_does_not_fit(
    data: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = PRESET | TWO_STEPS
    files = []
    for name in ("one", "two"):
        torch.manual_seed(len(files))
        train(training_run(data, tmp_path / name, settings, init=trained))
        files.append((tmp_path / name / "weights.safetensors").read_bytes())
    assert files[0] == files[1]
    for changed in ({"generator": SPADE | {"width": 3}}, {"generator": GLOBAL}):
        with pytest.raises(WeightsError, match="model"):
            train(training_run(data, tmp_path / "no", settings | changed, init=trained))
    with caplog.at_level(logging.WARNING):
        train(training_run(data, tmp_path / "units", settings | {"image": "z-score"}, init=trained))
    assert "the model to start from was trained in other units" in caplog.text


def test_features_beside_l1_and_in_its_place(
    data: Path, extractor: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for l1_weight in (10.0, 0.0):
        settings = PRESET | TWO_STEPS | {"afp_weight": 1.0, "l1_weight": l1_weight}
        folder = train(training_run(data, tmp_path / f"run{l1_weight:g}", settings, extractor=extractor[0]))
        assert folder.card.extractors == (extractor[1],)
        with (folder.path / "history.csv").open(newline="") as file:
            row = next(csv.DictReader(file))
        rest = float(row["adversarial"]) + 10 * float(row["matching"]) + float(row["afp"])
        assert float(row["afp"]) > 0
        assert float(row["generator_loss"]) == pytest.approx(rest + l1_weight * float(row["l1_hu"]) / 2047.5, rel=1e-3)
    with caplog.at_level(logging.WARNING):
        settings = PRESET | TWO_STEPS | {"afp_weight": 1.0}
        random = train(training_run(data, tmp_path / "random", settings, extractor=extractor[0], random_extractor=True))
    assert random.card.random_features
    assert "weights are RANDOM" in caplog.text


def test_an_extractor_and_its_weight_go_together(data: Path, extractor: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'afp_weight' is 0; expected a preset such as spade-afp"):
        train(training_run(data, tmp_path / "run", extractor=extractor[0]))
    with pytest.raises(UsageError, match="no extractor is named"):
        train(training_run(data, tmp_path / "run", PRESET | {"afp_weight": 1.0}))
    with pytest.raises(UsageError, match=r"setting 'generator\.spade\.depth' is unknown"):
        train(training_run(data, tmp_path / "run", PRESET | {"generator": SPADE | {"depth": 1}}))
    with pytest.raises(InputError, match="no training case is left"):
        train(training_run(data, tmp_path / "run", PRESET | {"validation_cases": list(CASES)}))
    assert not (tmp_path / "run" / "model.json").exists()


def test_z_scores_are_the_papers(data: Path, tmp_path: Path) -> None:
    """Percentiles, mean and deviation of the run's CTs, but for those that are never to be read."""
    settings = PRESET | TWO_STEPS | {"image": "z-score", "ct": "z-score", "excluded_cases": ["1EXA003"]}
    folder = train(training_run(data, tmp_path / "run", settings))
    cases = [files for files in find_cases(data) if files.id != "1EXA003"]
    assert folder.card.config["ct"] == fingerprint(cases).ct_z_score("percentile").model_dump()
    assert folder.card.config["image"] == {"kind": "case-z-score"}
    fixed = train(training_run(data, tmp_path / "fixed", settings | {"bounds": "fixed"}))
    assert (fixed.card.config["ct"]["low"], fixed.card.config["ct"]["high"]) == (-1024.0, 3071.0)


def test_model_config_of_a_preset() -> None:
    """And the network that it describes: what `benchmarks.full_size` measures."""
    config = RecipeConfig.model_validate(PRESET | {"spacing": [5.0, 2.0, 2.0]})
    model = model_config(config)
    assert (model.generator, model.sweep, model.spacing) == (config.generator, config.windows, (5.0, 2.0, 2.0))
    assert (model.image, model.ct) == (config.mr, CT_SCALE)
    assert build(model).state_dict().keys() == build_generator(model.generator, spectral_norm=False).state_dict().keys()


def test_another_spacing_is_trained_on(data: Path, tmp_path: Path) -> None:
    train(training_run(data, tmp_path / "run", PRESET | TWO_STEPS | {"spacing": [5.0, 4.0, 4.0]}))
    shapes = {np.load(path, mmap_mode="r").shape for path in (tmp_path / "run" / "cache").glob("*/image.npy")}
    assert shapes == {(12, 30, 30)}


def call(data: Path, run_dir: Path, *options: str | Path, **changes: Any) -> Outcome:
    config = run_dir.parent / f"{run_dir.name}.yaml"
    config.write_text(yaml.safe_dump(json.loads(json.dumps(PRESET | TWO_STEPS | changes))))
    return synthct("train", "spade-afp", data, run_dir, "--config", config, "--device", "cpu", *options, **ONE_THREAD)


@pytest.mark.slow
def test_folds_predict_with_spread(data: Path, tmp_path: Path) -> None:
    splits = [{"train": [CASES[0], CASES[1]], "val": [CASES[2]]}, {"train": [CASES[2], CASES[1]], "val": [CASES[0]]}]
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    outcome = call(data, tmp_path / "run", "--fold", "all", "--splits", tmp_path / "splits.json", ct="z-score")
    assert outcome.code == 0, outcome.err
    cards = [open_model(tmp_path / "run" / f"fold_{fold}").card for fold in (0, 1)]
    assert cards[0].config == cards[1].config  # the CTs of all folds give one z-score
    assert cards[0].sha256 != cards[1].sha256
    case, made = data / CASES[0], tmp_path / "made"
    options = ("--model", tmp_path / "run", "--spread", "--precision", "fp32")
    predicted = synthct("predict", "spade-afp", case, made, *options, **ONE_THREAD)
    assert predicted.code == 0, predicted.err
    sct, spread = read_volume(made / f"{CASES[0]}.mha"), read_volume(made / "spread" / f"{CASES[0]}.mha")
    inside = read_volume(case / "mask.mha").voxels > 0
    assert sct.geometry == spread.geometry == read_volume(case / "mr.mha").geometry
    assert np.all(sct.voxels[~inside] == -1000)
    assert np.all(spread.voxels[inside] > 0)
    assert np.all(spread.voxels[~inside] == 0)


@pytest.mark.slow
def test_the_starter_preset_trains_and_predicts_as_it_is(data: Path, tmp_path: Path) -> None:
    options = ("--preset", "starter", "--max-steps", "1", "--device", "cpu")
    outcome = synthct("train", "spade-afp", data, tmp_path / "run", *options, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    predicted = synthct(
        "predict", "spade-afp", data / CASES[0], tmp_path / "made", "--model", tmp_path / "run", **ONE_THREAD
    )
    assert predicted.code == 0, predicted.err
    assert (tmp_path / "made" / f"{CASES[0]}.mha").exists()
    refused = synthct("train", "spade-afp", data, tmp_path / "none", "--preset", "spade-l1-afp", **ONE_THREAD)
    assert (refused.code, (tmp_path / "none" / "model.json").exists()) == (2, False)
    assert "no extractor is named" in refused.reason
