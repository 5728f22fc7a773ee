"""export.sh packs an ensemble whole, and refuses one with a fold whose training is not over."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from containers.images import ROOT

from synthct.weights import open_model

STARTER = ROOT / "algorithms" / "lookup_table" / "starter"
FILES = ["README.md", "model.json", "weights.safetensors"]


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    """An image that only its labels tell: enough for what export.sh packs beside it."""
    tag = "synthct-test/lookup-table:labelled"
    lines = 'FROM scratch\nLABEL org.opencontainers.image.title="synthct lookup-table"\nUSER 1000\n'
    subprocess.run(["docker", "build", "--tag", tag, "-"], input=lines.encode(), capture_output=True, check=True)
    return tag


def export(image: str, model: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "export.sh", image, "--no-image", "--model", model, "--output", output]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """Two folds as a training leaves them."""
    for name in ("fold_0", "fold_2"):
        shutil.copytree(STARTER, tmp_path / "model" / name)
        (tmp_path / "model" / name / "checkpoint.pt").write_bytes(b"only a training needs it")
    (tmp_path / "model" / "splits.json").write_text("[]")
    return tmp_path / "model"


@pytest.mark.container
def test_an_ensemble_is_packed_and_opens_again(image: str, ensemble: Path, tmp_path: Path) -> None:
    result = export(image, ensemble, tmp_path / "dist")
    assert result.returncode == 0, result.stderr
    with tarfile.open(tmp_path / "dist" / "lookup-table-model.tar.gz") as archive:
        names = sorted(member.name.removeprefix("./") for member in archive if member.isfile())
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert names == [f"{fold}/{name}" for fold in ("fold_0", "fold_2") for name in FILES]
    opened = open_model(tmp_path / "unpacked")
    assert [member.path.name for member in opened.members] == ["fold_0", "fold_2"]
    assert opened.card == open_model(ensemble).card


@pytest.mark.container
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_fold_whose_training_is_not_over(image: str, ensemble: Path, tmp_path: Path, name: str) -> None:
    """Packed without it, the ensemble would lack a member and nobody would be told."""
    (ensemble / "fold_2" / name).unlink()
    result = export(image, ensemble, tmp_path / "dist")
    assert (result.returncode, result.stderr.count("\n")) == (4, 1)
    assert f"{ensemble}/fold_2: holds no {name}; expected every fold" in result.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.container
def test_routes_to_ensembles(image: str, ensemble: Path, tmp_path: Path) -> None:
    routed = tmp_path / "routed"
    shutil.copytree(ensemble, routed / "several")
    shutil.copytree(STARTER, routed / "one")
    (routed / "routes.json").write_text(json.dumps({"mri/EX": "several", "mri/P": "one"}))
    result = export(image, routed, tmp_path / "dist")
    assert result.returncode == 0, result.stderr
    (routed / "several" / "fold_0" / "model.json").unlink()
    refused = export(image, routed, tmp_path / "again")
    assert refused.returncode == 4
    assert "several/fold_0: holds no model.json" in refused.stderr


@pytest.mark.container
def test_folders_of_other_names_are_no_folds(image: str, ensemble: Path, tmp_path: Path) -> None:
    for name in ("fold_0", "fold_2"):
        (ensemble / name).rename(ensemble / f"{name}_old")
    result = export(image, ensemble, tmp_path / "dist")
    assert result.returncode == 3
    assert "holds neither model.json nor routes.json nor fold_0, fold_1, ...; expected a model folder" in result.stderr
