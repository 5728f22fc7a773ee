"""`synthct run` on a folder of several models: routes.json leads each case to its own, of its own algorithm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands.command_line import PROGRAM, Outcome, files_below, synthct
from commands.limb_cases import save_platform_input
from invoke_process import started

from algorithms.lookup_table.table import TableConfig
from synthct.anatomy import Region, Task
from synthct.volume import read_volume
from synthct.weights import file_sha256, save_model

ROUTES = {"mri/B": "brain", "mri/P": "pelvis", "cbct/*": "cone"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables really trained on a simulated head and a simulated pelvis, behind routes; cone beam is 300 HU flat."""
    root = tmp_path_factory.mktemp("routed")
    for kind, name in (("head", "brain"), ("pelvis", "pelvis")):
        for arguments in (
            ("sample", root / kind, "--kind", kind, "--layout", "2023", "--cases", "1"),
            ("train", "lookup-table", root / kind, root / f"run-{kind}"),
        ):
            outcome = synthct(*arguments, OMP_NUM_THREADS="1")
            assert outcome.code == 0, outcome.err
        (card,) = (root / f"run-{kind}").rglob("model.json")
        shutil.copytree(card.parent, root / "models" / name)
    save_table(root / "models" / "cone", Task.CBCT, tuple(Region), 300.0)
    (root / "models" / "routes.json").write_text(json.dumps(ROUTES))
    return root / "models"


def save_table(folder: Path, task: Task, regions: tuple[Region, ...], hu: float) -> None:
    config = TableConfig()
    save_model(
        folder,
        {"table": torch.full((config.bins,), hu)},
        half=False,
        algorithm="lookup-table",
        tasks=(task,),
        regions=regions,
        config=config.model_dump(),
    )


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "models"))


def environment(models: Path, source: Path, output: Path) -> dict[str, str]:
    return {
        "MODEL_DIR": str(models),
        "INPUT_FOLDER": str(source),
        "OUTPUT_FOLDER": str(output),
        "OMP_NUM_THREADS": "1",
    }


def run(models: Path, source: Path, output: Path, *names: str) -> Outcome:
    return synthct("run", *(names or ("lookup-table",)), **environment(models, source, output))


def manifest(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize(("region", "name"), [("Brain", "brain"), ("Pelvis", "pelvis")])
def test_each_region_by_its_own_model(trained: Path, tmp_path: Path, region: str, name: str) -> None:
    source = save_platform_input(tmp_path / "input", region=json.dumps(region))
    outcome = run(trained, source, tmp_path / "output", "pix2pix-pelvis", "lookup-table")
    assert outcome.code == 0, outcome.err
    report = manifest(tmp_path / "output")
    (row,) = report["cases"]
    assert (row["algorithm"], row["model"], row["region"]) == ("lookup-table", str(trained / name), region[0])
    assert report["models"][row["model"]]["sha256"] == file_sha256(trained / name / "weights.safetensors")
    assert list(report["models"]) == [str(trained / name)]


@pytest.mark.slow
def test_one_server_for_all_regions(trained: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "input", tmp_path / "output"
    arguments = ["-c", PROGRAM, "run", "lookup-table", "--api", "invoke", "--port", "0"]
    with started(arguments, environment=environment(trained, source, output)) as process:
        process.wait_until_ready()
        levels = []
        for task, region in (("mri", "Brain"), ("mri", "Pelvis"), ("cbct", "Thorax"), ("mri", "Brain")):
            save_platform_input(source, task=task, region=json.dumps(region))  # type: ignore[arg-type]
            assert process.invoke() == (201, "done")
            voxels = read_volume(output / "images" / "synthetic-ct" / f"scan-of-{task}.mha").voxels
            levels.append(int(voxels.astype(np.int64).sum()))
            assert (set(np.unique(voxels)) == {-1000, 300}) is (task == "cbct")
            assert len(manifest(output)["cases"]) == 1
        assert levels[0] == levels[3]
        assert len(set(levels)) == 3
        save_platform_input(source, region='"Abdomen"')
        status, reason = process.invoke()
        assert status == 500
        assert "leads nowhere for 'mri/AB'" in reason


def test_unknown_region_falls_back_with_a_warning(models: Path, tmp_path: Path) -> None:
    outcome = run(models, save_platform_input(tmp_path / "input", region='"Left Foot"'), tmp_path / "output")
    assert outcome.code == 0, outcome.err
    assert "warning: " in outcome.err
    assert "the region is unknown; falling back to brain" in outcome.err
    assert manifest(tmp_path / "output")["cases"][0]["model"] == str(models / "brain")


def test_card_of_an_algorithm_that_the_image_lacks(models: Path, tmp_path: Path) -> None:
    source = save_platform_input(tmp_path / "input", region='"Brain"')
    outcome = run(models, source, tmp_path / "output", "pix2pix-pelvis")
    assert outcome.code == 4
    assert "brain/model.json: holds a model of lookup-table; expected one of pix2pix-pelvis" in outcome.reason
    assert files_below(tmp_path / "output") == []


def test_single_model_decides_by_its_card(models: Path, tmp_path: Path) -> None:
    source = save_platform_input(tmp_path / "input", region='"Pelvis"')
    outcome = run(models / "pelvis", source, tmp_path / "output", "pix2pix-pelvis", "lookup-table")
    assert outcome.code == 0, outcome.err
    assert manifest(tmp_path / "output")["cases"][0]["algorithm"] == "lookup-table"


def test_server_refuses_a_damaged_route_before_it_is_healthy(models: Path, tmp_path: Path) -> None:
    (models / "cone" / "weights.safetensors").unlink()
    arguments = ["-c", PROGRAM, "run", "lookup-table", "--api", "invoke", "--port", "0"]
    with started(arguments, environment=environment(models, tmp_path / "input", tmp_path / "output")) as process:
        assert process.wait() == 4
        assert "cone/weights.safetensors: no such file" in process.lines[-1]
    source = save_platform_input(tmp_path / "input", region='"Brain"')
    assert run(models, source, tmp_path / "output").code == 0  # exec looks at the case's own model alone


def test_starter_of_the_first_algorithm_that_covers_the_case(tmp_path: Path) -> None:
    source, output = save_platform_input(tmp_path / "input"), tmp_path / "output"
    where = {"INPUT_FOLDER": str(source), "OUTPUT_FOLDER": str(output), "SYNTHCT_STARTER": "1", "OMP_NUM_THREADS": "1"}
    outcome = synthct("run", "lookup-table", "pix2pix-pelvis", **where)
    assert outcome.code == 0, outcome.err
    assert manifest(output)["cases"][0]["algorithm"] == "lookup-table"
    save_platform_input(source, region='"Brain"')
    refused = synthct("run", "lookup-table", "pix2pix-pelvis", **where)
    assert refused.code == 4
    assert "no starter weights of lookup-table, pix2pix-pelvis are for mri, B" in refused.reason
