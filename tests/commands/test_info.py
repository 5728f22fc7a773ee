"""`synthct info`: what programs read of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands.command_line import synthct

from algorithms.interface import find_algorithm
from synthct.weights import open_model

STARTER = find_algorithm("lookup-table").starter
TASKS = {"mri", "cbct"}
REGIONS = {"AB", "HN", "TH", "B", "P", "EX"}


def info(*arguments: str, **environment: str) -> Any:
    outcome = synthct("info", *arguments, "--json", **environment)
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def require_models(models: list[dict[str, Any]]) -> None:
    """Each model lies where it is said to, and its hash is that of its weights."""
    for model in models:
        assert {"path", "source", "sha256"} <= set(model)
        weights = Path(model["path"]) / "weights.safetensors"
        assert model["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert model["source"] in ("user", "starter")


def test_list_of_algorithms_and_devices() -> None:
    content = info()
    assert set(content) == {"algorithms", "devices"}
    assert content["devices"][0] == "cpu"
    names = [algorithm["name"] for algorithm in content["algorithms"]]
    assert names == sorted(set(names))
    assert {"creps-cgan", "lookup-table", "nnresunet-afp", "pix2pix-pelvis", "spade-afp"} <= set(names)
    for algorithm in content["algorithms"]:
        assert {"name", "tasks", "regions", "models"} <= set(algorithm)
        assert set(algorithm["tasks"]) <= TASKS
        assert set(algorithm["regions"]) <= REGIONS
        assert algorithm["tasks"]
        assert algorithm["regions"]
        require_models(algorithm["models"])
    models = {algorithm["name"]: algorithm["models"] for algorithm in content["algorithms"]}
    assert [(model["path"], model["source"]) for model in models["lookup-table"]] == [(str(STARTER), "starter")]


def test_one_algorithm_in_detail() -> None:
    content = info("lookup-table")
    assert content["name"] == "lookup-table"
    assert content["parameters"] == {"full": 250, "default": 250}  # one median per bin
    assert content["patch"] is None
    assert [model["source"] for model in content["models"]] == ["starter"]
    require_models(content["models"])


def test_size_of_a_network_in_detail() -> None:
    content = info("pix2pix-pelvis")
    sizes = content["parameters"]
    assert list(sizes) == ["full", "slices", "grid", "starter"]
    assert sizes["full"] > sizes["slices"] == sizes["grid"] > sizes["starter"] > 0
    assert len(content["patch"]) == 3
    assert all(isinstance(edge, int) and edge > 0 for edge in content["patch"])
    require_models(content["models"])


def test_full_of_several_generators_is_the_first_presets() -> None:
    content = info("spade-afp")
    parameters = content["parameters"]
    assert parameters["full"] == parameters["spade"] == parameters["spade-l1-afp"] == parameters["spade-afp"]
    assert parameters["pix2pixhd"] > parameters["full"] > parameters["starter"] > 0
    assert (content["tasks"], content["regions"]) == (["mri"], ["TH", "P"])
    assert content["patch"] == [32, 160, 160]
    require_models(content["models"])


@pytest.mark.parametrize("routed", [False, True])
def test_models_of_the_user(tmp_path: Path, routed: bool) -> None:
    folder = tmp_path / "model"
    shutil.copytree(STARTER, folder / "limbs" if routed else folder)
    if routed:
        (folder / "routes.json").write_text('{"mri/EX": "limbs"}')
    algorithms = {algorithm["name"]: algorithm for algorithm in info(MODEL_DIR=str(folder))["algorithms"]}
    models = algorithms["lookup-table"]["models"]
    expected = [(str(folder / "limbs" if routed else folder), "user"), (str(STARTER), "starter")]
    assert [(model["path"], model["source"]) for model in models] == expected
    require_models(models)
    assert [model for model in algorithms["pix2pix-pelvis"]["models"] if model["source"] == "user"] == []


@pytest.mark.parametrize("said", [True, False])
def test_a_model_that_loses_to_the_yardstick_says_so(tmp_path: Path, said: bool) -> None:
    """Its card does, alone or as a fold of an ensemble; to programs and to people."""
    for name in ("alone", "folds/fold_0", "folds/fold_1"):
        folder = tmp_path / name
        shutil.copytree(STARTER, folder)
        card = json.loads((folder / "model.json").read_text())
        told = {"demonstration_only": said} if name != "folds/fold_0" else {}
        (folder / "model.json").write_text(json.dumps(card | told))
    for name in ("alone", "folds"):
        environment = {"MODEL_DIR": str(tmp_path / name)}
        user, starter = info("lookup-table", **environment)["models"]
        assert (user["demonstration_only"], starter["demonstration_only"]) == (said, False)
        lines = [line for line in synthct("info", **environment).out.splitlines() if str(tmp_path) in line]
        assert [line.endswith("; demonstration only)") for line in lines] == [said]
        assert open_model(tmp_path / name).card.demonstration_only is said


def test_for_people_and_for_an_unknown_name() -> None:
    outcome = synthct("info", "lookup-table")
    assert outcome.code == 0
    assert "parameters (full): 250" in outcome.out
    assert str(STARTER) in outcome.out
    unknown = synthct("info", "unet")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.reason.startswith(
        "error: algorithm 'unet' is unknown; expected one of creps-cgan, ldm-brain, lookup-table"
    )
