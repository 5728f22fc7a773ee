"""Heads that the tests of ldm-brain train on, and what was trained on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ldm_runs import SETTINGS, save_heads, training_run

from algorithms.ldm_brain.recipe import train


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three small heads; nobody writes into it."""
    return save_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="session")
def trained(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two iterations of each stage, and a case to validate on; nobody writes into it."""
    run_dir = tmp_path_factory.mktemp("run") / "model"
    train(training_run(heads, run_dir, SETTINGS))
    return run_dir


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same run, to be changed."""
    shutil.copytree(trained, tmp_path / "copied")
    return tmp_path / "copied"
