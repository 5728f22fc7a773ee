"""Models with random weights, made once per test run, and images to segment."""

from __future__ import annotations

from pathlib import Path

import pytest
from wave_images import make_image

from benchmarks.random_network import write_random_checkpoint
from synthct.volume import Volume


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TotalSegmentator's results folder with a tiny network of 117 labels; nobody may change it."""
    folder = tmp_path_factory.mktemp("results")
    write_random_checkpoint(folder, small=True)
    return folder


@pytest.fixture(scope="session")
def model_folder(results_folder: Path) -> Path:
    """The tiny model's own folder, with plans.json."""
    return next(results_folder.glob("*/*/plans.json")).parent


@pytest.fixture(scope="session")
def noisy_image() -> Volume:
    """An image with blobs of several tissues on a grid of anisotropic voxels, no two axes alike."""
    return make_image((14, 40, 31), (4.5, 1.7, 2.2))
