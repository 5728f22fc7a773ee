"""A model with random weights in TotalSegmentator's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.random_network import write_random_checkpoint


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TotalSegmentator's results folder with a tiny network of 117 labels; nobody may change it."""
    folder = tmp_path_factory.mktemp("results")
    write_random_checkpoint(folder, small=True)
    return folder
