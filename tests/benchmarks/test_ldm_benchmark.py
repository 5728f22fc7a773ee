"""The commands of ldm-brain's benchmark, on tiny networks with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ldm_pairs import engine, head, save_tiny
from typer.testing import CliRunner

from benchmarks.ldm import app
from benchmarks.ldm_figures import figures, mean_hu, sampled, with_mr_of, with_sampling
from synthct.dataset import Case, find_cases, load_case
from synthct.volume import write_volume
from synthct.weights import ModelFolder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return save_tiny(tmp_path_factory.mktemp("ldm") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads."""
    root = tmp_path_factory.mktemp("pairs")
    for number in (1, 2):
        case = head(f"1BA00{number}", seed=number)
        folder = root / case.id
        folder.mkdir()
        assert case.reference is not None
        for stem, volume in (("mr", case.image), ("ct", case.reference), ("mask", case.mask)):
            write_volume(volume, folder / f"{stem}.mha")
    return root


@pytest.fixture
def load(data: Path) -> Callable[[str], Case]:
    return lambda name: load_case(next(files for files in find_cases(data) if files.id == name))


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_command_reconstruction(model: ModelFolder, data: Path, tmp_path: Path) -> None:
    result = run("reconstruction", model.path, data, "--device", "cpu", "--output", tmp_path / "new" / "out.json")
    assert result.exit_code == 0, result.output
    content = told(tmp_path / "new" / "out.json")
    assert content["cases"] == ["1BA001", "1BA002"]
    assert content["process"] == "ddpm"
    assert content["sha256"] == model.card.sha256
    assert content["means"]["grid"]["mae"] == 0
    rows = content["rows"]["autoencoder"]
    assert content["means"]["autoencoder"]["mae"] == pytest.approx((rows["1BA001"]["mae"] + rows["1BA002"]["mae"]) / 2)
    assert "autoencoder" in result.output


def test_command_samples(model: ModelFolder, data: Path, tmp_path: Path, load: Callable[[str], Case]) -> None:
    options = ("--case", "1BA001", "--most", "3", "--steps", "1", "--seed", "7", "--device", "cpu")
    result = run("samples", model.path, data, *options, "--output", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    content = told(tmp_path / "out.json")
    assert list(content["rows"]) == ["mean of 1", "mean of 2", "other MR"]
    assert content["donors"] == {"1BA001": "1BA002"}
    assert content["settings"] == {"samples": 1, "steps": 1}
    case, one = load("1BA001"), with_sampling(model, steps=1)
    drawn = [sampled(one, case, engine(seed))[0] for seed in (7, 8)]
    assert content["rows"]["mean of 1"]["1BA001"] == figures(case, drawn[0])
    assert content["rows"]["mean of 2"]["1BA001"] == figures(case, mean_hu(drawn, case.mask.voxels))
    swapped = with_mr_of(case, load("1BA002"))
    assert content["rows"]["other MR"]["1BA001"] == figures(case, sampled(one, swapped, engine(7))[0])
    assert content["rows"]["other MR"]["1BA001"] != content["rows"]["mean of 1"]["1BA001"]


def test_command_steps(model: ModelFolder, data: Path, tmp_path: Path) -> None:
    options = ("--case", "1BA002", "--step", "1", "--step", "3", "--layout", "fit", "--device", "cpu")
    result = run("steps", model.path, data, *options, "--output", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    content = told(tmp_path / "out.json")
    assert list(content["means"]) == ["1 steps", "3 steps"]
    assert content["layout"] == "fit"
    for row in content["means"].values():
        assert row["seconds"] > 0
        assert row["peak_mb"] > 50
    assert content["means"]["1 steps"]["mae"] != content["means"]["3 steps"]["mae"]


@pytest.mark.parametrize(
    ("command", "options", "code", "line"),
    [
        ("steps", ("--case", "1BA009"), 2, "holds no case 1BA009; expected some of 1BA001, 1BA002"),
        ("steps", ("--step", "0"), 2, "--step 0 cannot be had"),
        ("samples", ("--other", "1BA009"), 2, "--other 1BA009"),
        ("samples", ("--other", "1BA001"), 2, "no other subject's MR for 1BA001"),
        ("reconstruction", ("--device", "abacus"), 2, "device 'abacus' is unknown"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    model: ModelFolder, data: Path, command: str, options: tuple[str, ...], code: int, line: str
) -> None:
    result = run(command, model.path, data, *options)
    assert result.exit_code == code, result.output
    assert line in " ".join(result.output.split())


def test_models_that_cannot_be_measured_are_refused(data: Path, tmp_path: Path) -> None:
    stage = save_tiny(tmp_path / "autoencoder", stage=True)
    result = run("samples", stage.path, data, "--device", "cpu")
    assert result.exit_code == 4
    assert "holds stage autoencoder alone" in result.output
    other = save_tiny(tmp_path / "other", algorithm="spade-afp")
    assert run("steps", other.path, data).exit_code == 4


def test_a_case_without_ct_is_named(model: ModelFolder, tmp_path: Path) -> None:
    case = head("1BA001")
    (tmp_path / case.id).mkdir()
    for stem, volume in (("mr", case.image), ("mask", case.mask)):
        write_volume(volume, tmp_path / case.id / f"{stem}.mha")
    result = run("reconstruction", model.path, tmp_path)
    assert result.exit_code == 3
    assert "case 1BA001 has no CT" in result.output
