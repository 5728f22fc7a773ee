"""routes.json: a (task, region) pair leads to one of several models, and never out of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.model_source import StarterWarning, find_source
from synthct.routes import starter_folders
from synthct.weights import save_model

ROUTES = {"mri/AB": "abdomen", "mri/*": "any", "cbct/TH": "deep/thorax"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("abdomen", "any", "deep/thorax"):
        _save(tmp_path / "models" / name)
    (tmp_path / "models" / "routes.json").write_text(json.dumps(ROUTES))
    return tmp_path / "models"


def _save(path: Path, **card: Any) -> None:
    settings = {"algorithm": "x", "tasks": tuple(Task), "regions": tuple(Region)}
    save_model(path, {"t": torch.zeros(1)}, half=False, **(settings | card))


def _lead(folder: Path, task: Task | None, region: Region | None) -> Path:
    return find_source(folder, {"x": folder / "no"}, use_starter=False).open(task, region).path


@pytest.mark.parametrize(
    ("task", "region", "name"),
    [
        (Task.MRI, Region.ABDOMEN, "abdomen"),
        (Task.MRI, Region.BRAIN, "any"),
        (Task.MRI, None, "any"),
        (Task.CBCT, Region.THORAX, "deep/thorax"),
    ],
)
def test_pair_leads_to_its_model(folder: Path, task: Task, region: Region | None, name: str) -> None:
    assert _lead(folder, task, region) == folder / name


@pytest.mark.parametrize(
    ("task", "region", "words"),
    [
        (Task.CBCT, Region.ABDOMEN, "'cbct/AB'; expected an entry 'cbct/AB' or 'cbct/*' that names a folder"),
        (None, None, "'*/*'; expected an entry 'mri/AB' that names a folder"),
    ],
)
def test_pair_without_a_route(folder: Path, task: Task | None, region: Region | None, words: str) -> None:
    with pytest.raises(WeightsError) as caught:
        _lead(folder, task, region)
    assert str(caught.value) == f"{folder / 'routes.json'}: leads nowhere for {words}"


def test_unknown_region_without_any_route_of_its_task(folder: Path) -> None:
    (folder / "routes.json").write_text('{"mri/*": "any"}')
    with pytest.raises(WeightsError, match=r"for 'cbct/\*'; expected an entry 'cbct/\*' that names"):
        _lead(folder, Task.CBCT, None)


def test_unknown_region_falls_back_to_a_model_of_its_task(folder: Path) -> None:
    """CONTRACT 1.2: an unknown region never stops a run."""
    with pytest.warns(UserWarning, match="region is unknown; falling back to deep/thorax"):
        assert _lead(folder, Task.CBCT, None) == folder / "deep/thorax"


@pytest.mark.parametrize("target", ["..", "../outside", "any/../../outside", "link"])
def test_escape_is_refused(folder: Path, tmp_path: Path, target: str) -> None:
    _save(tmp_path / "outside")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "routes.json").write_text(json.dumps({"mri/AB": target}))
    with pytest.raises(WeightsError, match="outside the model folder"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


def test_absolute_path_is_refused(folder: Path, tmp_path: Path) -> None:
    _save(tmp_path / "outside")
    (folder / "routes.json").write_text(json.dumps({"mri/AB": str(tmp_path / "outside")}))
    with pytest.raises(WeightsError, match="outside the model folder"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


def test_linked_model_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "view").symlink_to(folder)
    assert _lead(tmp_path / "view", Task.MRI, Region.ABDOMEN).samefile(folder / "abdomen")


def test_route_to_a_missing_model(folder: Path) -> None:
    (folder / "routes.json").write_text(json.dumps({"mri/AB": "gone"}))
    with pytest.raises(WeightsError, match="no such file"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


@pytest.mark.parametrize("content", ["", "[]", "7", '{"mri/AB": 7}', '{"mri/AB": null}', "[" * 100_000])
def test_routes_that_are_no_routes(folder: Path, content: Any) -> None:
    (folder / "routes.json").write_text(content)
    with pytest.raises(WeightsError, match=r"routes\.json"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


@pytest.mark.parametrize(
    "key", ["mr/AB", "MRI/AB", "mri/ab", "mri/Abdomen", "mri/AB/x", "mri", "mri/", "*/AB", "*/*", "", "ct/*", " mri/AB"]
)
def test_key_that_is_no_route_is_refused_although_another_leads_on(folder: Path, key: str) -> None:
    (folder / "routes.json").write_text(json.dumps({**ROUTES, key: "any"}))
    with pytest.raises(WeightsError, match="is no route; expected TASK/REGION of mri, cbct and AB, HN") as caught:
        _lead(folder, Task.MRI, Region.ABDOMEN)
    assert f"'{key}'" in str(caught.value)


def test_route_that_stands_twice(folder: Path) -> None:
    (folder / "routes.json").write_text('{"mri/AB": "abdomen", "mri/*": "any", "mri/AB": "any"}')
    with pytest.raises(WeightsError, match="'mri/AB' stands twice"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


@pytest.mark.parametrize("target", ["", "a\0b", "n" * 5000])
def test_target_that_names_no_folder(folder: Path, target: str) -> None:
    (folder / "routes.json").write_text(json.dumps({"mri/AB": target}))
    with pytest.raises(WeightsError, match=r"'mri/AB' leads to|no such file|cannot be read"):
        _lead(folder, Task.MRI, Region.ABDOMEN)


def test_all_models_are_opened_once_each(folder: Path) -> None:
    (folder / "routes.json").write_text(json.dumps({**ROUTES, "cbct/AB": "any", "mri/P": "abdomen"}))
    source = find_source(folder, {"x": folder / "no"}, use_starter=False)
    assert [model.path.name for model in source.open_all()] == ["abdomen", "any", "thorax"]
    for weights in folder.rglob("weights.safetensors"):
        weights.unlink()  # nothing is read again
    assert source.open(Task.CBCT, Region.ABDOMEN).path == folder / "any"


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_damage_behind_any_route_is_found_when_all_are_opened(folder: Path, name: str) -> None:
    (folder / "deep" / "thorax" / name).unlink()
    assert _lead(folder, Task.MRI, Region.ABDOMEN) == folder / "abdomen"
    with pytest.raises(WeightsError, match="thorax"):
        find_source(folder, {"x": folder / "no"}, use_starter=False).open_all()


def test_models_of_other_algorithms_are_proven_and_left_out(folder: Path) -> None:
    _save(folder / "other", algorithm="y")
    (folder / "routes.json").write_text(json.dumps({**ROUTES, "cbct/HN": "other"}))
    source = find_source(folder, {"x": folder / "no", "z": folder / "no"}, use_starter=False)
    assert [model.path.name for model in source.open_all()] == ["abdomen", "any", "thorax"]
    with pytest.raises(WeightsError, match="holds a model of y; expected one of x, z"):
        source.open(Task.CBCT, Region.HEAD_NECK)
    (folder / "other" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="other"):
        source.open_all()
    (folder / "routes.json").write_text(json.dumps(ROUTES))
    with pytest.raises(WeightsError, match="holds models of x alone; expected one of z"):
        find_source(folder, {"z": folder / "no"}, use_starter=False).open_all()


def test_first_starter_that_covers_the_case(tmp_path: Path) -> None:
    """Two algorithms in one image: each case goes to the first whose starter is made for it."""
    _save(tmp_path / "a", algorithm="a", tasks=(Task.MRI,), regions=(Region.PELVIS,))
    _save(tmp_path / "b", algorithm="b", tasks=(Task.MRI,), regions=(Region.PELVIS, Region.BRAIN))
    starters = {"a": tmp_path / "a", "b": tmp_path / "b", "c": tmp_path / "none"}
    source = find_source(None, starters, use_starter=True)
    with pytest.warns(StarterWarning):
        assert source.open(Task.MRI, Region.PELVIS).path == tmp_path / "a"
    with pytest.warns(StarterWarning, match="b runs on STARTER"):
        assert source.open(Task.MRI, Region.BRAIN).path == tmp_path / "b"
    assert source.open(Task.MRI, None).path == tmp_path / "a"  # already open, so said already
    with pytest.raises(WeightsError, match="no starter weights of a, b, c are for cbct, P"):
        source.open(Task.CBCT, Region.PELVIS)


def test_starters_of_one_algorithm_by_task(tmp_path: Path) -> None:
    starter = tmp_path / "x" / "starter"
    _save(starter / "cbct", algorithm="x", tasks=(Task.CBCT,), regions=(Region.THORAX,))
    _save(starter / "mri", algorithm="x", tasks=(Task.MRI,), regions=(Region.EXTREMITY,))
    (starter / "README.md").write_text("no model\n")
    assert starter_folders(starter) == [starter / "mri", starter / "cbct"]
    assert starter_folders(starter / "mri") == [starter / "mri"]
    assert starter_folders(tmp_path) == []
    source = find_source(None, {"x": starter}, use_starter=True)
    with pytest.warns(StarterWarning):
        opened = [source.open(Task.CBCT, Region.THORAX), source.open(Task.MRI, Region.BRAIN), source.open(None)]
    assert [folder.path.name for folder in opened] == ["cbct", "mri", "mri"]
    with pytest.raises(WeightsError, match=r"for task mri, region EX; the case is mri, B \(synthct predict --force"):
        opened[1].require(Task.MRI, Region.BRAIN)
