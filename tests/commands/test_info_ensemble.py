"""`synthct info` and `synthct check` of a model folder that holds folds."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from commands.command_line import synthct

from algorithms.interface import find_algorithm
from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.declared import choose_task_and_region
from synthct.weights import open_model


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    """An ensemble of the table's starter, twice."""
    for name in ("fold_0", "fold_3"):
        shutil.copytree(find_algorithm("lookup-table").starter, tmp_path / "model" / name)
    return tmp_path / "model"


def test_info_lists_an_ensemble(folds: Path) -> None:
    outcome = synthct("info", "lookup-table", "--json", MODEL_DIR=str(folds))
    assert outcome.code == 0, outcome.err
    first = json.loads(outcome.out)["models"][0]
    assert (first["path"], first["source"], first["folds"]) == (str(folds), "user", 2)
    assert first["sha256"] == open_model(folds).card.sha256
    assert first["regions"] == ["EX"]


def test_a_fold_that_is_still_trained_is_named(folds: Path) -> None:
    (folds / "fold_4").mkdir()
    (folds / "fold_4" / "checkpoint.pt").touch()
    outcome = synthct("info", MODEL_DIR=str(folds))
    assert (outcome.code, "fold_4/model.json: no such file; expected every fold" in outcome.reason) == (4, True)


def test_info_lists_an_ensemble_behind_routes(folds: Path) -> None:
    top = folds.parent
    (top / "routes.json").write_text(json.dumps({"mri/EX": "model"}))
    models = json.loads(synthct("info", "lookup-table", "--json", MODEL_DIR=str(top)).out)["models"]
    assert [model["path"] for model in models if model["source"] == "user"] == [str(folds)]


@pytest.mark.parametrize("packed", [False, True])
def test_check_takes_the_case_that_the_folds_declare(folds: Path, tmp_path: Path, packed: bool) -> None:
    model = folds
    if packed:
        model = tmp_path / "model.tar.gz"
        with tarfile.open(model, "w:gz") as archive:
            for path in sorted(folds.iterdir()):
                archive.add(path, arcname=f"./{path.name}")
    assert choose_task_and_region(None, None, model) == (Task.MRI, Region.EXTREMITY)
