"""The extractor of a loss term: where there is none, where there must be one, and what the log says of its weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from creps_settings import save_tiny_convnext
from lightning_fabric import Fabric
from rich.progress import Progress

from algorithms.extractors import loss_extractor
from algorithms.training import TrainingRun
from synthct.errors import UsageError, WeightsError
from synthct.features.interface import FeatureExtractor

FABRIC = Fabric(accelerator="cpu", devices=1)


def opened(tmp_path: Path, weight: float, **changes: Any) -> FeatureExtractor | None:
    run = TrainingRun((), tmp_path / "run", {}, Progress(disable=True), **changes)
    return loss_extractor(run, FABRIC, setting="style_weight", weight=weight, expected="it above 0", kind="convnext")


def test_without_the_term_there_is_none(tmp_path: Path) -> None:
    assert opened(tmp_path, 0.0) is None


@pytest.mark.parametrize("changes", [{"extractor": Path("somewhere")}, {"random_extractor": True}])
def test_an_extractor_without_its_term_is_refused_unread(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--extractor is given, but setting 'style_weight' is 0; expected it above 0"):
        opened(tmp_path, 0.0, **changes)


def test_a_term_without_an_extractor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no extractor is named; expected --extractor DIR"):
        opened(tmp_path, 1.0)
    with pytest.raises(WeightsError, match="nowhere"):
        opened(tmp_path, 1.0, extractor=tmp_path / "nowhere")


def test_random_weights_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save_tiny_convnext(tmp_path / "extractor", slice_step=2)
    with caplog.at_level(logging.INFO):
        found = opened(tmp_path, 1.0, extractor=folder)
    assert found is not None
    assert found.random
    assert f"(4 layers, sha256 {found.sha256[:12]})" in caplog.text
    assert "the feature extractor's weights are RANDOM" in caplog.text
    assert "STARTER" not in caplog.text


def test_a_starter_is_told_whatever_the_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The style loss may look through a segmentation network too."""
    found = opened(tmp_path, 1.0, extractor=Path("starter"))
    assert found is not None
    assert (found.starter, found.random) == (True, False)
    assert "the feature extractor is a STARTER: its card says how little it knows" in caplog.text
    assert "RANDOM" not in caplog.text
    maps = found(torch.zeros(1, 1, 8, 32, 32))
    assert len(maps) == len(found.layers)
