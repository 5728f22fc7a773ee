"""The runtime and `synthct predict` around it: the model of each case, the manifest, what a predictor gets to see."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import Array
from commands.command_line import files_below, synthct
from commands.limb_cases import save_limb
from pix2pix_runs import settings

from algorithms.interface import Predictor, find_algorithm
from algorithms.lookup_table import predictor as table_predictor
from algorithms.lookup_table.table import TableConfig
from algorithms.pix2pix_pelvis.network import UNetGenerator
from algorithms.pix2pix_pelvis.predictor import ModelConfig
from algorithms.runtime import Runtime
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases, load_case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.model_source import StarterWarning
from synthct.weights import ModelFolder, file_sha256, save_model

CPU = torch.device("cpu")
TABLE = find_algorithm("lookup-table")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def save_table(folder: Path, region: Region, hu: float) -> ModelFolder:
    """A table that says the same HU for every MR value."""
    config = TableConfig()
    return save_model(
        folder,
        {"table": torch.full((config.bins,), hu)},
        half=False,
        algorithm=TABLE.name,
        tasks=(Task.MRI,),
        regions=(region,),
        trained_on=f"one number, {hu:g}",
        config=config.model_dump(),
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of two models: limbs are 100 HU, abdomens 200 HU."""
    folder = tmp_path / "models"
    save_table(folder / "limb", Region.EXTREMITY, 100.0)
    save_table(folder / "belly", Region.ABDOMEN, 200.0)
    (folder / "routes.json").write_text(json.dumps({"mri/EX": "limb", "mri/AB": "belly"}))
    return folder


@pytest.fixture
def generator_model(tmp_path: Path) -> Path:
    """An untrained generator for limbs: its output depends on the neighbourhood and on where the windows lie."""
    torch.manual_seed(11)
    config = ModelConfig(
        network=settings().network,
        sweep=SweepSettings(patch=(8, 16, 16)),
        image=LinearScale(low=0, high=4000, scale=1000),
        ct=LinearScale(low=-1024, high=3071, scale=1000),
    )
    tensors = UNetGenerator(config.network).state_dict()
    saved = save_model(
        tmp_path / "generator",
        tensors,
        half=True,
        algorithm="pix2pix-pelvis",
        tasks=(Task.MRI,),
        regions=(Region.EXTREMITY,),
        config=config.model_dump(mode="json"),
    )
    return saved.path


def runtime(model: Path | None, *, starter: bool = False, force: bool = False) -> Runtime:
    return Runtime((TABLE,), model, starter, force, Engine(CPU))


def voxels(path: Path) -> Array:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


@pytest.mark.slow
def test_each_case_gets_its_model(models: Path, tmp_path: Path) -> None:
    """Two cases of two regions, wherever they lie in the tree, become flat files; the manifest says which model ran."""
    data, out = tmp_path / "data", tmp_path / "out"
    save_limb(data / "Task1" / "AB" / "1ABA002", seed=2)
    save_limb(data / "Task1" / "EX" / "1EXA001", seed=1)
    outcome = synthct("predict", "lookup-table", data, out, "--model", models, "--seed", "5", **ONE_THREAD)
    assert (outcome.code, outcome.err) == (0, "")
    assert files_below(out) == ["1ABA002.mha", "1EXA001.mha", "manifest.json"]
    for name, hu in (("1ABA002", 200), ("1EXA001", 100)):
        inside = voxels(next(data.rglob(f"{name}/mask.mha"))) > 0
        assert np.array_equal(voxels(out / f"{name}.mha"), np.where(inside, hu, -1000))
    report = manifest(out)
    seconds = [row.pop("seconds") for row in report["cases"]]
    hashes = {row["case"]: row.pop("sct_sha256") for row in report["cases"]}
    assert hashes == {name: file_sha256(out / f"{name}.mha") for name in ("1ABA002", "1EXA001")}
    assert all(0 <= value < 60 for value in seconds)
    assert report["cases"] == [
        {"case": name, "task": "mri", "region": region, "algorithm": "lookup-table", "model": model, "forced": False}
        for name, region, model in (
            ("1ABA002", "AB", str(models / "belly")),
            ("1EXA001", "EX", str(models / "limb")),
        )
    ]
    assert report["models"] == {
        str(models / name): {
            "sha256": file_sha256(models / name / "weights.safetensors"),
            "starter": False,
            "trained_on": f"one number, {hu}",
            "extractors": [],
            "random_features": False,
            "demonstration_only": False,
        }
        for name, hu in (("belly", 200), ("limb", 100))
    }
    told = {key: report[key] for key in ("synthct", "torch", "algorithm", "device", "mask", "seed")}
    assert told == {
        "synthct": version("synthct"),
        "torch": torch.__version__,
        "algorithm": "lookup-table",
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "mask": "file",
        "seed": 5,
    }
    assert 50 < report["peak_memory_mb"] < 50_000


def test_each_model_is_loaded_once(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loader runs, counted: three limbs and an abdomen load two models."""
    real, loaded = table_predictor.load, []

    def counted(model: ModelFolder, device: torch.device) -> Predictor:
        loaded.append(model.path.name)
        return real(model, device)

    monkeypatch.setattr(table_predictor, "load", counted)
    for name in ("1ABA009", "1EXA001", "1EXA002", "1EXA003"):
        save_limb(tmp_path / "data" / name)
    running = runtime(models)
    cases = find_cases(tmp_path / "data")
    running.check(cases)
    assert loaded == []
    levels = [int(running.predict(load_case(files), files).volume.voxels.max()) for files in cases]
    assert levels == [200, 100, 100, 100]
    assert loaded == ["belly", "limb"]
    assert [row["case"] for row in running.manifest()["cases"]] == ["1ABA009", "1EXA001", "1EXA002", "1EXA003"]


@pytest.mark.slow
def test_case_without_a_route_stops_the_run_before_the_first(models: Path, tmp_path: Path) -> None:
    for name in ("1EXA001", "1THA002"):
        save_limb(tmp_path / "data" / name)
    cases = find_cases(tmp_path / "data")
    with pytest.raises(WeightsError, match="leads nowhere for 'mri/TH'"):
        runtime(models).check(cases)
    out = tmp_path / "out"
    outcome = synthct("predict", "lookup-table", tmp_path / "data", out, "--model", models, **ONE_THREAD)
    assert outcome.code == 4
    assert "leads nowhere for 'mri/TH'" in outcome.reason
    assert files_below(out) == []


def test_forced_case_is_marked(models: Path, tmp_path: Path) -> None:
    save_limb(tmp_path / "1EXA001")
    files = find_cases(tmp_path / "1EXA001")[0]
    with pytest.raises(WeightsError, match="region AB; the case is mri, EX"):
        runtime(models / "belly").check([files])
    forced = runtime(models / "belly", force=True)
    with pytest.warns(UserWarning, match=r"--force: mri, EX lies outside what .*belly was trained for"):
        forced.predict(load_case(files), files)
    assert [row["forced"] for row in forced.manifest()["cases"]] == [True]


def test_one_of_two_algorithms_predicts_by_the_card(models: Path, generator_model: Path, tmp_path: Path) -> None:
    """Limbs go to the generator, abdomens to the table; the manifest says which predicted and lists what was used."""
    (models / "limb").rename(models / "table-of-limbs")
    generator_model.rename(models / "limb")
    for name in ("1ABA009", "1EXA001"):
        save_limb(tmp_path / "data" / name)
    running = Runtime((TABLE, find_algorithm("pix2pix-pelvis")), models, False, False, Engine(CPU))
    levels = {}
    for files in find_cases(tmp_path / "data"):
        levels[files.id] = running.predict(load_case(files), files).volume.voxels
    assert levels["1ABA009"].max() == 200
    assert np.unique(levels["1EXA001"]).size > 20
    rows = running.manifest()["cases"]
    assert [(row["case"], row["algorithm"]) for row in rows] == [
        ("1ABA009", "lookup-table"),
        ("1EXA001", "pix2pix-pelvis"),
    ]
    assert list(running.manifest()["models"]) == [str(models / "belly"), str(models / "limb")]
    assert running.manifest()["algorithm"] == "lookup-table, pix2pix-pelvis"


def test_prepared_models_are_neither_read_nor_loaded_again(models: Path, tmp_path: Path) -> None:
    running = runtime(models)
    running.prepare()
    for path in [*models.rglob("*.json"), *models.rglob("*.safetensors")]:
        path.unlink()
    for name, level in (("1EXA001", 100), ("1ABA002", 200), ("1EXA003", 100)):
        (files,) = find_cases(save_limb(tmp_path / name))
        assert running.predict(load_case(files), files).volume.voxels.max() == level
        assert [row["case"] for row in running.manifest()["cases"]] == [name]
        assert len(running.manifest()["models"]) == 1
        running.forget_cases()
    assert (running.manifest()["cases"], running.manifest()["models"]) == ([], {})


def test_starter_is_never_silent(tmp_path: Path) -> None:
    save_limb(tmp_path / "1EXA001")
    files = find_cases(tmp_path / "1EXA001")[0]
    with pytest.raises(WeightsError, match="no weights for lookup-table"):
        runtime(None).check([files])
    running = runtime(None, starter=True)
    with pytest.warns(StarterWarning, match="lookup-table runs on STARTER weights"):
        running.predict(load_case(files), files)
    assert [model["starter"] for model in running.manifest()["models"].values()] == [True]


@pytest.mark.slow
def test_outline_drawn_instead_of_read(generator_model: Path, tmp_path: Path) -> None:
    """--mask auto: no mask file is needed, the manifest says so, and inside the true mask the sCT is close."""
    case = save_limb(tmp_path / "data" / "1EXA001")
    inside = voxels(case / "mask.mha") > 0
    command = ("predict", "pix2pix-pelvis", case.parent)
    with_file = synthct(*command, tmp_path / "file", "--model", generator_model, **ONE_THREAD)
    (case / "mask.mha").unlink()
    refused = synthct(*command, tmp_path / "no", "--model", generator_model, **ONE_THREAD)
    drawn = synthct(*command, tmp_path / "auto", "--model", generator_model, "--mask", "auto", **ONE_THREAD)
    assert (with_file.code, refused.code, drawn.code) == (0, 3, 0)
    assert refused.reason.endswith("(or --mask auto)")
    assert (manifest(tmp_path / "file")["mask"], manifest(tmp_path / "auto")["mask"]) == ("file", "auto")
    read, made = (voxels(tmp_path / name / "1EXA001.mha").astype(float) for name in ("file", "auto"))
    assert np.ptp(read[inside]) > 100, "otherwise anything is close"
    assert np.abs(read - made)[inside].mean() < 1.0
    assert np.count_nonzero((made != -1000) & ~inside) < 0.2 * np.count_nonzero(inside)


@pytest.mark.slow
def test_predictor_never_sees_the_reference(generator_model: Path, tmp_path: Path) -> None:
    """A case with another CT, a broken CT or none gives the same bytes; so does --spread."""
    results = []
    for index, reference in enumerate(("real", "broken", "none")):
        case = save_limb(tmp_path / str(index) / "1EXA001", reference=reference == "real")
        if reference == "broken":
            (case / "ct.mha").write_text("no image")
        out = tmp_path / "out" / reference
        spread = ["--spread"] if reference == "none" else []
        outcome = synthct("predict", "pix2pix-pelvis", case, out, "--model", generator_model, *spread, **ONE_THREAD)
        assert outcome.code == 0, outcome.err
        assert files_below(out) == [
            "1EXA001.mha",
            "manifest.json",
            *(["spread", "spread/1EXA001.mha"] if spread else []),
        ]
        results.append((out / "1EXA001.mha").read_bytes())
    assert results[0] == results[1] == results[2]
