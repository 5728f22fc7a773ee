"""Training nnresunet-afp from Python: extractors random, missing or not used, the skip, weights to start from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import files_below
from commands.limb_cases import save_limb
from nnresunet_runs import PATCH, PRESET, WITH_FEATURES, make_plan_by_hand, save_tiny_extractor, training_run
from safetensors.numpy import load_file

from algorithms.nnresunet_afp.predictor import ModelConfig
from algorithms.nnresunet_afp.recipe import train
from synthct.errors import UsageError, WeightsError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limbs")
    for number in (1, 2, 3):
        save_limb(root / f"1EXA00{number}", seed=number)
    return root


@pytest.fixture(scope="module")
def cbcts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cbcts")
    for number in (1, 2):
        save_limb(root / f"2EXA00{number}", seed=number)
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An extractor folder and its sha256."""
    folder = tmp_path_factory.mktemp("extractors") / "compact"
    return folder, save_tiny_extractor(folder)


@pytest.mark.slow
def test_random_features_say_so_everywhere(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, extractor: tuple[Path, str]
) -> None:
    """The shape is the named folder's, the weights are drawn."""
    caplog.set_level("INFO", logger="algorithms")
    run = training_run(data, tmp_path, PRESET | WITH_FEATURES, extractor=extractor[0], random_extractor=True)
    card = train(run).card
    assert any("RANDOM" in message and "not the loss" in message for message in caplog.messages)
    assert any("nnunet with RANDOM weights (seed 0) (3 layers" in message for message in caplog.messages)
    assert card.trained_on == "3 cases (RANDOM feature extractor)"
    assert card.random_features is True
    assert len(card.extractors) == 1
    assert card.extractors != (extractor[1],)


def test_an_extractor_that_the_loss_does_not_use_is_refused(
    data: Path, tmp_path: Path, extractor: tuple[Path, str]
) -> None:
    for options in ({"extractor": extractor[0]}, {"random_extractor": True}):
        with pytest.raises(UsageError, match=r"--extractor is given, but setting 'afp_weight' is 0.* such as l1-afp"):
            train(training_run(data, tmp_path, PRESET, **options))
    assert files_below(tmp_path) == []


def test_a_folder_that_holds_no_extractor(data: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"extractor\.json: no such file; expected an extractor folder"):
        train(training_run(data, tmp_path, PRESET | WITH_FEATURES, extractor=tmp_path))
    assert files_below(tmp_path) == []


def test_a_damaged_extractor_is_refused(data: Path, tmp_path: Path, extractor: tuple[Path, str]) -> None:
    broken = tmp_path / "extractor"
    shutil.copytree(extractor[0], broken)
    with (broken / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xff")
    with pytest.raises(WeightsError, match=r"weights\.safetensors: sha256 is"):
        train(training_run(data, tmp_path / "run", PRESET | WITH_FEATURES, extractor=broken))


def test_the_skip_needs_an_image_in_hu(data: Path, cbcts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="setting 'global_skip' adds the image in HU, which MR is not in"):
        train(training_run(data, tmp_path, PRESET | {"global_skip": True}))
    make_plan_by_hand().write(tmp_path / "plan.yaml")
    by_case = training_run(cbcts, tmp_path / "run", PRESET | {"global_skip": True}, plan=tmp_path / "plan.yaml")
    by_case.run_dir.mkdir()
    with pytest.raises(UsageError, match="needs an image in HU; expected a plan with image of kind z-score"):
        train(by_case)


@pytest.mark.slow
def test_a_cbct_run_with_the_skip_starts_near_its_input(cbcts: Path, tmp_path: Path) -> None:
    """One iteration from a start of nearly nothing: the sCT is still about the CBCT. Another run goes on from it."""
    config = PRESET | {"global_skip": True, "learning_rate": 1e-9, "optimiser": "adam"}
    model = train(training_run(cbcts, tmp_path / "one", config, max_steps=1))
    assert model.card.tasks == ("cbct",)
    content = ModelConfig.model_validate(model.card.config)
    assert (content.global_skip, content.image.kind, content.sweep.patch) == (True, "z-score", PATCH)
    assert all(name.startswith("unet.") for name in load_file(model.weights))
    again = train(training_run(cbcts, tmp_path / "two", config, max_steps=1, init=model.path))
    before, after = (load_file(folder.weights) for folder in (model, again))
    assert max(float(np.abs(before[name] - after[name]).max()) for name in before) < 1e-3
    with pytest.raises(UsageError, match=r"'global_skip' is false, that of .*one is true; expected the same"):
        train(training_run(cbcts, tmp_path / "three", PRESET, max_steps=1, init=model.path))


def test_initial_weights_of_another_shape_are_named(data: Path, tmp_path: Path) -> None:
    """The card says one network, the file holds another."""
    model = train(training_run(data, tmp_path / "one", PRESET, max_steps=1))
    card = model.path / "model.json"
    content = json.loads(card.read_text())
    content["config"]["network"]["features"] = [4, 6]
    card.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"initial weights \(--init\) .* has shape .*; expected"):
        train(training_run(data, tmp_path / "two", PRESET, max_steps=1, init=model.path))


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_extractor_alone(data: Path, tmp_path: Path, extractor: tuple[Path, str]) -> None:
    config = PRESET | WITH_FEATURES
    train(training_run(data, tmp_path / "run", config, extractor=extractor[0], max_steps=1))
    save_tiny_extractor(tmp_path / "other", seed=4)
    for options in ({"extractor": tmp_path / "other"}, {"extractor": extractor[0], "random_extractor": True}):
        with pytest.raises(WeightsError):
            train(training_run(data, tmp_path / "run", config, resume=True, **options))
    card = train(training_run(data, tmp_path / "run", config, resume=True, extractor=extractor[0])).card
    assert card.extractors == (extractor[1],)


@pytest.mark.slow
def test_what_stage_one_was_trained_with_stays_on_the_card(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, extractor: tuple[Path, str]
) -> None:
    """The features of stage one are in the weights of stage two, whatever its own loss."""
    caplog.set_level("WARNING", logger="algorithms")
    features = PRESET | WITH_FEATURES
    first = train(training_run(data, tmp_path / "one", features, extractor=extractor[0], random_extractor=True))
    assert any("no --init" in message for message in caplog.messages)
    # limbs of 5 x 3 x 3 mm, an extractor of 3 x 1 x 1 mm
    caplog.clear()
    second = train(training_run(data, tmp_path / "two", PRESET, init=first.path))
    assert second.card.random_features is True
    assert second.card.extractors == first.card.extractors
    third = train(training_run(data, tmp_path / "three", features, extractor=extractor[0], init=second.path))
    assert set(third.card.extractors) == {*first.card.extractors, extractor[1]}
    assert any("5 x 3 x 3 mm: it sees anatomy at another scale" in message for message in caplog.messages)
    assert not any("no --init" in message for message in caplog.messages)
