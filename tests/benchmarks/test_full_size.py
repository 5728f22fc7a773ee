"""The full-size benchmark on tiny cases: what it leaves of a mask, what it counts, and how it finds an algorithm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from builders import make_volume
from pix2pix_runs import settings

from algorithms.interface import find_algorithm
from algorithms.pix2pix_pelvis.predictor import build
from algorithms.pix2pix_pelvis.recipe import model_config
from benchmarks.full_size import FIGURES, body_of, memory_gb, part_of, predict_case, untrained_model, write_inputs
from synthct.volume import Volume
from synthct.weights import open_model

PIX2PIX = find_algorithm("pix2pix-pelvis")


def test_a_part_of_a_mask_by_hand() -> None:
    """Slices 2 to 11, columns 3 to 10: of 10 slices the first 5, of 8 columns the first 4; rows stay."""
    mask = np.zeros((14, 6, 12), np.uint8)
    mask[2:12, 1:5, 3:11] = 1
    wanted = np.zeros_like(mask)
    wanted[2:7, 1:5, 3:7] = 1
    np.testing.assert_array_equal(part_of(mask, 0.5), wanted)
    np.testing.assert_array_equal(part_of(mask, 1.0), mask)
    assert part_of(mask, 0.001).sum() == 4, "one slice, one column"
    assert mask.sum() == 10 * 4 * 8, "the mask itself is left alone"


def test_a_part_is_never_empty() -> None:
    """The first columns of the whole body may lie elsewhere than its first slices."""
    mask = np.zeros((4, 2, 8), np.uint8)
    mask[0, :, 5:], mask[1:] = 1, 1
    kept = part_of(mask, 0.25)
    assert np.argwhere(kept).tolist() == [[0, 0, 5], [0, 1, 5]]


def body() -> tuple[Volume, Volume]:
    """12 x 16 x 32 voxels, in windows of 4 x 16 x 16 half of that apart: 5 x 1 x 3 windows."""
    image = np.random.default_rng(0).integers(100, 900, (12, 16, 32)).astype(np.int16)
    return make_volume(image), make_volume(np.ones(image.shape, np.uint8))


@pytest.mark.parametrize(("share", "windows"), [(1.0, 15), (0.05, 1)])
def test_a_prediction_is_counted_and_projected(tmp_path: Path, share: float, windows: int) -> None:
    """A single slice and two columns lie, with their margin of one voxel, in the first window alone."""
    config = model_config(settings())
    write_inputs(tmp_path, PIX2PIX, config, build(config), body(), share)
    assert open_model(tmp_path / "model").card.trained_on == "nothing: RANDOM weights"
    assert json.loads((tmp_path / FIGURES).read_text())["windows"] == 15
    row = predict_case(tmp_path, "cpu")
    assert (row["windows"], row["skipped"], row["voxels"]) == (windows, 15 - windows, 12 * 16 * 32)
    assert row["seconds"] > 0
    assert 0.05 < row["peak_gb"] < 100
    assert row["beyond_gb"] < row["peak_gb"]
    projected = row.get("PROJECTED_seconds_of_the_whole_case")
    assert projected == (None if share == 1 else pytest.approx(15 * row["seconds"]))


def test_memory_is_what_linux_tells() -> None:
    held = torch.ones(64 << 20, dtype=torch.uint8)
    assert 0.0625 < memory_gb("VmRSS") <= memory_gb("VmHWM")
    assert held.numel() == 1 << 26


def test_algorithms_are_looked_up_by_name() -> None:
    with torch.device("meta"):
        config, network = untrained_model(PIX2PIX, "slices")
    assert config.sweep.patch == (1, 256, 256)
    assert sum(parameter.numel() for parameter in network.parameters()) == 19_590_017
    with pytest.raises(typer.BadParameter, match=r"lookup-table offers no recipe\.model_config"):
        untrained_model(find_algorithm("lookup-table"), None)
    with pytest.raises(typer.BadParameter, match="expected no --preset"):
        untrained_model(find_algorithm("nnresunet-afp"), "l1")


@pytest.mark.slow
def test_bodies_have_the_size_that_is_told() -> None:
    for name, shape, spacing in (
        ("pix2pix-pelvis", (150, 300, 400), (1.0, 1.0, 2.5)),
        ("nnresunet-afp", (100, 512, 512), (1.0, 1.0, 3.0)),
    ):
        image, mask = body_of(find_algorithm(name))
        assert image.voxels.shape == mask.voxels.shape == shape
        assert image.geometry.spacing == spacing
        assert 0.2 < mask.voxels.mean() < 0.8
