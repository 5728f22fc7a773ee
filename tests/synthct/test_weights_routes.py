"""routes.json: a (task, region) pair leads to one of several models, and never out of the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.weights import find_model, save_model

ROUTES = {"mri/AB": "abdomen", "mri/*": "any", "cbct/TH": "deep/thorax"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("abdomen", "any", "deep/thorax"):
        _save(tmp_path / "models" / name)
    (tmp_path / "models" / "routes.json").write_text(json.dumps(ROUTES))
    return tmp_path / "models"


def _save(path: Path) -> None:
    save_model(path, {"t": torch.zeros(1)}, half=False, algorithm="x", tasks=tuple(Task), regions=tuple(Region))


def _lead(folder: Path, task: Task | None, region: Region | None) -> Path:
    return find_model(folder, folder / "no", use_starter=False, task=task, region=region, algorithm="x").path


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


@pytest.mark.parametrize(("task", "region"), [(Task.CBCT, Region.ABDOMEN), (None, None)])
def test_pair_without_a_route(folder: Path, task: Task | None, region: Region | None) -> None:
    with pytest.raises(WeightsError, match="leads nowhere for") as caught:
        _lead(folder, task, region)
    assert f"'{task or '*'}/{region or '*'}'" in str(caught.value)


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
