"""Brain and pelvis through one image of two algorithms: routes.json leads each case to its own model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands.command_line import files_below, synthct
from containers.ramp_cases import read_sct, save_input
from containers.running import MODEL, run_container

from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.weights import file_sha256, open_model

pytestmark = pytest.mark.container

STARTER = Path(__file__).resolve().parents[2] / "algorithms" / "pix2pix_pelvis" / "starter"
ROUTES = {"mri/B": "brain", "mri/P": "pelvis"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table trained on a simulated head, and the starter generator, its card made out for the pelvis."""
    root = tmp_path_factory.mktemp("routed")
    for arguments in (
        ("sample", root / "heads", "--kind", "head", "--layout", "2023"),
        ("train", "lookup-table", root / "heads", root / "run"),
    ):
        outcome = synthct(*arguments, OMP_NUM_THREADS="1")
        assert outcome.code == 0, outcome.err
    (card,) = (root / "run").rglob("model.json")
    shutil.copytree(card.parent, root / "models" / "brain")
    shutil.copytree(STARTER, root / "models" / "pelvis")
    pelvis = root / "models" / "pelvis" / "model.json"
    pelvis.write_text(json.dumps(json.loads(pelvis.read_text()) | {"regions": ["P"]}))
    (root / "models" / "routes.json").write_text(json.dumps(ROUTES))
    return root / "models"


@pytest.mark.parametrize(("region", "algorithm"), [(Region.BRAIN, "lookup-table"), (Region.PELVIS, "pix2pix-pelvis")])
def test_each_region_by_its_own_algorithm_and_model(
    routed_image: str, models: Path, tmp_path: Path, region: Region, algorithm: str
) -> None:
    name = ROUTES[f"mri/{region.value}"]
    write_case("plain", Task.MRI, region, tmp_path / "input")
    ended = run_container(routed_image, tmp_path / "input", tmp_path / "output", model=models)
    assert ended.code == 0, ended.lines
    assert f"{algorithm}: case 1{region.value}A001, mri, region {region.value}, on cpu" in ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["algorithm"], row["model"], row["region"]) == (algorithm, f"{MODEL}/{name}", region.value)
    assert list(ended.manifest["models"]) == [f"{MODEL}/{name}"]
    found = ended.manifest["models"][f"{MODEL}/{name}"]
    assert found["sha256"] == file_sha256(models / name / "weights.safetensors")
    assert found["starter"] is (name == "pelvis")
    assert len(ended.about("STARTER")) == (name == "pelvis")
    assert open_model(models / name).card.algorithm == algorithm
    phantom = phantom_of(region, Task.MRI)
    voxels, inside = sitk.GetArrayFromImage(read_sct(ended.output)), phantom.mask.voxels > 0
    assert voxels.shape == inside.shape
    assert set(np.unique(voxels[~inside])) == {-1000}
    assert np.unique(voxels[inside]).size > 20


def test_a_region_without_a_route(routed_image: str, models: Path, tmp_path: Path) -> None:
    source = save_input(tmp_path / "input", region='"Abdomen"')
    ended = run_container(routed_image, source, tmp_path / "output", model=models)
    assert ended.code == 4, ended.lines
    assert ended.reason.startswith(f"error: {MODEL}/routes.json: leads nowhere for 'mri/AB'; expected ")
    assert files_below(ended.output) == []


def test_a_route_to_an_algorithm_that_the_image_lacks(lookup_image: str, models: Path, tmp_path: Path) -> None:
    source = save_input(tmp_path / "input", region='"Pelvis"')
    ended = run_container(lookup_image, source, tmp_path / "output", model=models)
    assert ended.code == 4, ended.lines
    assert ended.reason == (
        f"error: {MODEL}/pelvis/model.json: holds a model of pix2pix-pelvis; expected one of lookup-table"
    )
    assert files_below(ended.output) == []
