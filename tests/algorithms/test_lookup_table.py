"""The yardstick: medians by hand, and the way from case folders through a saved table to an sCT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Array, save_image
from rich.progress import Progress

from algorithms.interface import find_algorithm, load_predictor
from algorithms.lookup_table.recipe import train
from algorithms.lookup_table.table import MIN_VOXELS, TableConfig, fit_table, look_up
from algorithms.training import TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError, UsageError, WeightsError
from synthct.inference.engine import Engine
from synthct.weights import load_tensors, open_model, save_model

CPU = torch.device("cpu")
FOUR_BINS = TableConfig(low=0, high=40, bins=4)


def _column(image: float, *values: int) -> tuple[Array, Array]:
    """Voxels of one input value, with each CT value 50 times."""
    ct = np.repeat(np.array(values, np.int16), MIN_VOXELS)
    return np.full(ct.shape, image, np.float32), ct


def test_bins_by_hand() -> None:
    values = np.array([-5, 0, 9.99, 10, 19, 20, 39.9, 40, 1e6, np.inf, -np.inf], np.float32)
    assert FOUR_BINS.bin_of(values).tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 0]


def test_median_per_bin() -> None:
    pairs = [_column(5, -900, 7, 50), _column(15, 300), _column(25, -1024, 100, 3071), _column(35, 40, 41, 40)]
    assert fit_table(pairs, FOUR_BINS).tolist() == [7, 300, 100, 40]


def test_median_is_over_all_cases() -> None:
    pairs = [_column(5, 10, 10, 10), _column(5, 90), _column(5, 90)]
    assert fit_table(pairs, FOUR_BINS).tolist() == [10] * 4


def test_of_two_middle_values_the_lower_counts() -> None:
    assert fit_table([_column(5, -100, 200)], FOUR_BINS).tolist() == [-100] * 4
    assert fit_table([_column(5, 8, 8, 9, 9)], FOUR_BINS).tolist() == [8] * 4


def test_ct_is_rounded_and_kept_in_range() -> None:
    image = np.repeat(np.float32([5, 15, 25]), MIN_VOXELS)
    ct = np.repeat(np.float32([99.6, 9000, -9000]), MIN_VOXELS)
    assert fit_table([(image, ct)], FOUR_BINS)[:3].tolist() == [100, 3071, -1024]


def test_empty_bins_are_interpolated() -> None:
    config = TableConfig(low=0, high=60, bins=6)
    table = fit_table([_column(15, 100), _column(45, 400)], config)
    assert table.tolist() == [100, 100, 200, 300, 400, 400]
    assert table.dtype == np.float32


def test_sparse_bins_count_as_empty() -> None:
    image, ct = _column(15, 999)
    pairs = [_column(5, 100), _column(25, 300), (image[:-1], ct[:-1])]
    assert fit_table(pairs, FOUR_BINS).tolist() == [100, 200, 300, 300]
    assert fit_table([*pairs, (image[:1], ct[:1])], FOUR_BINS).tolist() == [100, 999, 300, 300]


def test_too_little_data() -> None:
    image, ct = _column(5, 100)
    with pytest.raises(InputError, match="50 voxels"):
        fit_table([(image[:49], ct[:49])], FOUR_BINS)
    with pytest.raises(InputError):
        fit_table([], FOUR_BINS)


def test_look_up_keeps_the_shape() -> None:
    table = np.float32([-1000, 0, 50, 700])
    hu = look_up(np.array([[[1, 11], [22, 99]]], np.int16), table, FOUR_BINS)
    assert hu.tolist() == [[[-1000, 0], [50, 700]]]
    assert hu.dtype == np.float32


@pytest.mark.parametrize(
    "settings", [{"low": 5, "high": 5}, {"low": 5, "high": 4}, {"bins": 1}, {"high": float("inf")}, {"colour": 1}]
)
def test_settings_that_cannot_be_meant(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TableConfig(**settings)


def _data(root: Path, task: int = 1) -> Path:
    """Two cases: input 100 is -500 HU, 500 is 40 HU, 900 is 800 HU; the rest of the slab lies outside the mask."""
    stem = {1: "mr", 2: "cbct"}[task]
    for name in (f"{task}ABA001", f"{task}THB002"):
        image = np.repeat(np.int16([100, 500, 900, 1500]), 64).reshape(4, 8, 8)
        ct = np.repeat(np.int16([-500, 40, 800, 3000]), 64).reshape(4, 8, 8)
        save_image(root / name / f"{stem}.mha", image, origin=(1.5, -2.0, 3.0))
        save_image(root / name / "ct.nii.gz", ct, origin=(1.5, -2.0, 3.0))
        save_image(root / name / "mask.mha", (image < 1000).astype(np.uint8), origin=(1.5, -2.0, 3.0))
    return root


def _run(data: Path, run_dir: Path, config: dict[str, Any] | None = None) -> TrainingRun:
    return TrainingRun(tuple(find_cases(data)), run_dir, config or {}, Progress(disable=True), trained_on="slabs")


@pytest.mark.parametrize("task", [1, 2])
def test_from_case_folders_to_an_sct(tmp_path: Path, task: int) -> None:
    trained = train(_run(_data(tmp_path / "data", task), tmp_path / "model"))
    model = open_model(tmp_path / "model", algorithm="lookup-table")
    assert model == trained
    assert model.card.tasks == (Task.MRI if task == 1 else Task.CBCT,)
    assert model.card.regions == (Region.ABDOMEN, Region.THORAX)
    assert (model.card.starter, model.card.trained_on) == (False, "slabs")
    case = load_case(find_cases(tmp_path / "data")[0])
    steps: list[tuple[int, int]] = []
    predictor = load_predictor(find_algorithm("lookup-table"), model, Engine(CPU))
    prediction = predictor.predict(case, advance=lambda done, total: steps.append((done, total)))
    assert prediction.volume.voxels.dtype == np.int16
    assert prediction.volume.voxels[:, 0, 0].tolist() == [-500, 40, 800, -1000]
    assert prediction.volume.geometry == case.image.geometry
    assert prediction.spread is None
    assert steps == [(1, 1)]


def test_settings_of_the_run_are_used(tmp_path: Path) -> None:
    model = train(_run(_data(tmp_path / "data"), tmp_path / "model", {"high": 1000.0, "bins": 10}))
    assert model.card.config == {"low": 0.0, "high": 1000.0, "bins": 10}
    for wrong in ({"bins": 0}, {"low": 9999.0}, {"colour": "red"}):
        with pytest.raises(UsageError, match="setting"):
            train(_run(tmp_path / "data", tmp_path / "other", wrong))


def test_cases_that_the_fold_holds_out_are_not_fitted(tmp_path: Path) -> None:
    """The held-out case says 700 HU where the other says 40; it needs no CT either."""
    _data(tmp_path / "data")
    held_out = tmp_path / "data" / "1THB002" / "ct.nii.gz"
    save_image(held_out, np.full((4, 8, 8), 700, np.int16), origin=(1.5, -2.0, 3.0))
    run = replace(_run(tmp_path / "data", tmp_path / "model"), validation=("1THB002",), trained_on="")
    model = train(run)
    table = load_tensors(model)["table"].numpy()
    assert look_up(np.int16([100, 500, 900]), table, TableConfig.model_validate(model.card.config)).tolist() == [
        -500.0,
        40.0,
        800.0,
    ]
    assert model.card.trained_on == "1 case"
    assert model.card.regions == (Region.ABDOMEN, Region.THORAX), "folds must not differ in what they declare"
    held_out.unlink()
    assert train(run).card.sha256 == model.card.sha256
    with pytest.raises(InputError, match="no case to train on is left"):
        train(replace(run, validation=("1ABA001", "1THB002")))


def test_training_without_ct_or_with_both_tasks(tmp_path: Path) -> None:
    _data(tmp_path / "data", 1)
    _data(tmp_path / "data", 2)
    with pytest.raises(InputError, match="mix tasks cbct, mri"):
        train(_run(tmp_path / "data", tmp_path / "model"))
    (tmp_path / "data" / "1ABA001" / "ct.nii.gz").unlink()
    with pytest.raises(InputError, match="1ABA001 has no CT"):
        train(_run(tmp_path / "data", tmp_path / "model"))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({"other": torch.zeros(4)}, {"bins": 4}),
        ({"table": torch.zeros(5)}, {"bins": 4}),
        ({"table": torch.zeros(2, 2)}, {"bins": 4}),
        ({"table": torch.zeros(4)}, {"bins": 4, "colour": "red"}),
        ({"table": torch.zeros(4)}, {"bins": 4, "low": 1.0, "high": 1.0}),
    ],
)
def test_model_that_is_no_table(tmp_path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    card: dict[str, Any] = {"algorithm": "lookup-table", "tasks": (Task.MRI,), "regions": (), "config": config}
    model = save_model(tmp_path, tensors, half=False, **card)
    with pytest.raises(WeightsError) as caught:
        load_predictor(find_algorithm("lookup-table"), model, Engine(CPU))
    assert "\n" not in str(caught.value)
