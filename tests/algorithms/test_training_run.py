"""What a recipe is handed: the run's fingerprint, weights to start from, cases that are left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import save_case
from pix2pix_runs import quiet, settings

from algorithms.pairs import PairedData, require_references
from algorithms.training import Launcher, TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases
from synthct.errors import InputError, WeightsError
from synthct.volume import read_volume, write_volume
from synthct.weights import save_model

NAMES = ("1EXA001", "1EXA002", "1EXA003")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in NAMES:
        save_case(tmp_path / "data" / name)
    return tmp_path / "data"


def training_run(data: Path, run_dir: Path, **changes: Any) -> TrainingRun:
    return TrainingRun(tuple(find_cases(data)), run_dir, {}, quiet(), Launcher("cpu"), **changes)


def fingerprint(run: TrainingRun, validation: tuple[str, ...] = (), **changes: Any) -> str:
    """As a recipe asks for it."""
    options: dict[str, Any] = {"image": np.float32, "reference": np.float32, "key": "k", "excluded": ()}
    data = PairedData.prepare(run, run.fabric("fp32"), validation=validation, **options)
    return run.fingerprint(settings(**changes), data)


def test_a_checkpoint_goes_on_with_the_same_voxels_alone(data: Path, tmp_path: Path) -> None:
    """Times of files do not count, so a data set may be copied to another disk; voxels do, under the same ids too."""
    run = training_run(data, tmp_path / "run")
    first = fingerprint(run)
    for path in data.rglob("*.mha"):
        os.utime(path, (1, 1))
    assert fingerprint(run) == first
    image = next((data / NAMES[1]).glob("mr.*"))
    volume = read_volume(image)
    voxels = volume.voxels.copy()
    voxels[-1, -1, -1] += 1
    write_volume(volume.with_voxels(voxels), image)
    assert fingerprint(run) != first


def test_a_checkpoint_knows_which_cases_are_held_out(data: Path, tmp_path: Path) -> None:
    run = training_run(data, tmp_path / "run")
    assert len({fingerprint(run), fingerprint(run, (NAMES[0],)), fingerprint(run, (NAMES[1],))}) == 3


def test_a_run_that_validates_nothing_says_so(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fold whose held-out cases the preset leaves out, say."""
    caplog.set_level("INFO", logger="algorithms")
    fingerprint(training_run(data, tmp_path / "run"))
    assert caplog.messages[-1] == "3 cases to train on, none to validate on: the last weights will be kept"
    fingerprint(training_run(data, tmp_path / "run"), (NAMES[0],))
    assert caplog.messages[-1] == "2 cases to train on, 1 to validate on"


def test_settings_of_the_network_count_and_the_loops_are_left_to_it(data: Path, tmp_path: Path) -> None:
    run = training_run(data, tmp_path / "run")
    assert fingerprint(run, learning_rate=0.1) != fingerprint(run)
    assert fingerprint(run, loop={"log_interval": 3, "max_steps": 2}) == fingerprint(run)


def save(folder: Path, value: float) -> Path:
    card: dict[str, Any] = {"algorithm": "pix2pix-pelvis", "tasks": (Task.MRI,), "regions": (Region.PELVIS,)}
    save_model(folder, {"t": torch.full((2,), value)}, half=False, **card)
    return folder


def started(tmp_path: Path, init: Path, **changes: Any) -> float:
    weights = TrainingRun((), tmp_path, {}, quiet(), init=init, **changes).initial_weights("net", "pix2pix-pelvis")
    assert weights is not None
    return float(weights["net"]["t"][0])


def test_a_fold_starts_from_its_own_member_of_an_ensemble(tmp_path: Path) -> None:
    """Another member has been trained on the cases that the fold holds out."""
    for fold in (0, 2):
        save(tmp_path / "init" / f"fold_{fold}", 1.0 + fold)
    assert started(tmp_path, tmp_path / "init", fold=2) == 3.0
    for fold in (1, None):
        with pytest.raises(WeightsError, match=r"init: holds an ensemble of 2 models.*such as .*fold_0"):
            started(tmp_path, tmp_path / "init", fold=fold)
    assert started(tmp_path, tmp_path / "init" / "fold_0", fold=1) == 1.0


def test_a_resumed_run_needs_no_weights_to_start_from(tmp_path: Path) -> None:
    run = TrainingRun((), tmp_path, {}, quiet(), init=tmp_path / "gone", resume=True)
    assert run.initial_weights("net", "pix2pix-pelvis") is None


def test_there_must_be_a_case_left() -> None:
    with pytest.raises(InputError, match="no case to train on is left"):
        require_references(())
