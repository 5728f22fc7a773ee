"""`synthct train --fold`: splits, a model per fold, and the ensemble that they make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.command_line import Outcome, synthct
from commands.tiny_training import ONE_THREAD, outputs, save_limbs, write_settings

from algorithms.interface import find_algorithm
from algorithms.runtime import Runtime
from synthct.dataset import find_cases, load_case
from synthct.inference.engine import Engine
from synthct.volume import read_volume
from synthct.weights import open_model

ALL = [f"1EXA{number:03}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_limbs(tmp_path_factory.mktemp("limbs"))


@pytest.fixture(scope="module")
def folds(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """All five folds of a tiny network, and how the command ended."""
    folder = tmp_path_factory.mktemp("folds")
    config = write_settings(folder / "tiny.yaml")
    run_dir = folder / "run"
    options = ("--config", config, "--fold", "all", "--device", "cpu")
    return run_dir, synthct("train", "pix2pix-pelvis", data, run_dir, *options, **ONE_THREAD)


@pytest.mark.slow
def test_every_fold_becomes_a_model(folds: tuple[Path, Outcome]) -> None:
    run_dir, outcome = folds
    assert outcome.code == 0, outcome.err
    per_fold = ["checkpoint.pt", "history.csv", "model.json", "weights.safetensors"]
    expected = [f"fold_{fold}/{name}" for fold in range(5) for name in per_fold]
    assert outputs(run_dir) == sorted(["config.yaml", "run.json", "splits.json", *expected])
    assert outcome.out.count("model folder") == 5
    assert (run_dir / "config.yaml").read_bytes() == (run_dir.parent / "tiny.yaml").read_bytes()
    assert json.loads((run_dir / "run.json").read_text())["cases"] == ALL


@pytest.mark.slow
def test_each_case_is_held_out_once(folds: tuple[Path, Outcome]) -> None:
    splits = json.loads((folds[0] / "splits.json").read_text())
    assert sorted(name for fold in splits for name in fold["val"]) == ALL
    for number, fold in enumerate(splits):
        assert sorted(fold["train"] + fold["val"]) == ALL
        assert f"fold {number}: 4 cases to train on, 1 held out" in folds[1].err
        assert json.loads((folds[0] / f"fold_{number}" / "model.json").read_text())["trained_on"] == "4 cases"


@pytest.mark.slow
def test_volumes_are_cached_once_for_all_folds(folds: tuple[Path, Outcome]) -> None:
    assert sorted(path.name.split("-")[0] for path in (folds[0] / "cache").iterdir()) == ALL
    assert not (folds[0] / "fold_0" / "cache").exists()


@pytest.mark.slow
def test_folder_of_folds_predicts_as_their_mean(folds: tuple[Path, Outcome], data: Path, tmp_path: Path) -> None:
    """Weights of windows are the same for all folds, so the ensemble is the mean of its members, to rounding."""
    options = ("--model", folds[0], "--precision", "fp32")
    outcome = synthct("predict", "pix2pix-pelvis", data / ALL[0], tmp_path, *options, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    ensemble = read_volume(tmp_path / f"{ALL[0]}.mha").voxels.astype(np.float64)
    (files,) = find_cases(data / ALL[0])
    about, engine = find_algorithm("pix2pix-pelvis"), Engine(torch.device("cpu"), precision="fp32")
    runtimes = [Runtime((about,), folds[0] / f"fold_{fold}", False, False, engine) for fold in range(5)]
    singles = [runtime.predict(load_case(files), files).volume.voxels for runtime in runtimes]
    assert len({single.tobytes() for single in singles}) > 1
    assert np.abs(ensemble - np.mean(singles, axis=0)).max() <= 1.0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["models"][str(folds[0])]["sha256"] == open_model(folds[0]).card.sha256


@pytest.mark.slow
def test_spread_covers_the_folds(folds: tuple[Path, Outcome], data: Path, tmp_path: Path) -> None:
    """One window covers each voxel here or there, yet five folds disagree in every voxel of the mask."""
    case = data / ALL[0]
    outcome = synthct("predict", "pix2pix-pelvis", case, tmp_path, "--model", folds[0], "--spread", **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    spread = read_volume(tmp_path / "spread" / f"{ALL[0]}.mha")
    inside = read_volume(case / "mask.mha").voxels > 0
    assert spread.voxels.dtype == np.float32
    assert np.all(spread.voxels[inside] > 0)
    assert np.all(spread.voxels[~inside] == 0)
    assert spread.geometry == read_volume(case / "mr.mha").geometry


@pytest.mark.slow
def test_resume_leaves_finished_folds_alone(folds: tuple[Path, Outcome], data: Path) -> None:
    run_dir, _ = folds
    before = {path: path.stat().st_mtime_ns for path in run_dir.glob("fold_*/*") if path.is_file()}
    command = ("train", "pix2pix-pelvis", data, run_dir, "--config", run_dir / "config.yaml", "--fold", "all")
    refused = synthct(*command, **ONE_THREAD)
    assert refused.code == 2
    assert "a run lies there already" in refused.reason
    resumed = synthct(*command[:4], "--fold", "all", "--resume", **ONE_THREAD)
    assert resumed.code == 0, resumed.err
    assert resumed.err.count("has its model and is left as it is (--fold") == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fold", "5"), ["fold", "5"]),
        (("--fold", "first"), ["first", "all"]),
        (("--splits", "splits.json"), ["--splits", "--fold"]),
        (("--config", "missing.yaml"), ["missing.yaml"]),
    ],
)
def test_folds_that_cannot_be_meant(data: Path, tmp_path: Path, options: tuple[str, ...], words: list[str]) -> None:
    outcome = synthct("train", "pix2pix-pelvis", data, tmp_path / "run", *options, cwd=tmp_path)
    assert outcome.code == 2, outcome.err
    assert [word for word in words if word not in outcome.reason] == []
    assert not (tmp_path / "run").exists()
