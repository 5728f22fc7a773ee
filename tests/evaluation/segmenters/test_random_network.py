"""The random model is what it says: the size and the work of the published one, and visibly not its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from file_pipeline import checkpoint_in
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.random_network import DATASET, make_network, make_plans, write_random_checkpoint
from evaluation.structures import STRUCTURE_NAMES


def test_parameters_and_work_are_those_of_the_real_architecture() -> None:
    with torch.device("meta"):
        network = make_network(make_plans(small=False), 118, seed=0)
        parameters = sum(value.numel() for value in network.parameters())
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 1, 112, 112, 128))
    assert parameters == 16_603_736
    assert counter.get_total_flops() / 1e12 == pytest.approx(0.736, abs=5e-4)
    # Weights and momentum of the published checkpoint; the other 32 MB of its 164,939,235 bytes are a log.
    assert parameters * 8 < 164_939_235 < parameters * 8 + 33e6


def test_the_folder_is_nnunets(results_folder: Path, model_folder: Path) -> None:
    assert model_folder.parent == results_folder / DATASET
    assert model_folder.name == "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    files = sorted(str(path.relative_to(model_folder)) for path in model_folder.rglob("*") if path.is_file())
    assert files == ["RANDOM_WEIGHTS.txt", "dataset.json", "fold_0/checkpoint_final.pth", "plans.json"]
    assert "RANDOM WEIGHTS" in (model_folder / "RANDOM_WEIGHTS.txt").read_text()
    labels = json.loads((model_folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, **{name: label for label, name in STRUCTURE_NAMES.items()}}


def test_the_normalisation_is_that_of_the_contract() -> None:
    plans = make_plans(small=False)
    intensities = plans["foreground_intensity_properties_per_channel"]["0"]
    assert (intensities["percentile_00_5"], intensities["percentile_99_5"]) == (-1004, 1588)
    assert (intensities["mean"], intensities["std"]) == (-50.387, 503.392)
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [112, 112, 128]
    assert configuration["spacing"] == [3.0, 3.0, 3.0]


def test_a_seed_gives_its_weights_and_no_other(tmp_path: Path) -> None:
    def digest(folder: str, seed: int) -> str:
        weights = checkpoint_in(write_random_checkpoint(tmp_path / folder, small=True, seed=seed))["network_weights"]
        return hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest()

    state = torch.random.get_rng_state()
    assert digest("a", 3) == digest("b", 3) != digest("c", 4)
    assert torch.equal(state, torch.random.get_rng_state())
