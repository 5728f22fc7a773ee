"""`synthct train ldm-brain` in real processes: stages in their order, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.command_line import files_below, synthct
from commands.tiny_training import ONE_THREAD
from ldm_runs import PRESET

from synthct.weights import open_model


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(json.dumps(PRESET))
    return path


def test_a_stage_out_of_order_ends_with_4_and_writes_nothing(heads: Path, config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    outcome = synthct(
        *("train", "ldm-brain", heads, run_dir, "--config", config, "--stage", "diffusion", "--device", "cpu")
    )
    assert outcome.code == 4
    assert outcome.reason == (
        f"error: {run_dir / 'autoencoder' / 'model.json'}: no such file; expected stage autoencoder before diffusion "
        "(synthct train ldm-brain ... --stage autoencoder)"
    )
    assert files_below(run_dir) == []


def test_stage_is_refused_where_there_is_none(heads: Path, tmp_path: Path) -> None:
    outcome = synthct("train", "lookup-table", heads, tmp_path / "run", "--stage", "autoencoder")
    assert outcome.code == 2
    assert outcome.reason.startswith("error: --stage is nothing that lookup-table uses")


@pytest.mark.slow
def test_one_stage_then_the_rest(heads: Path, config: Path, tmp_path: Path) -> None:
    """Stage one by its name, then --resume does the others; from then on the settings are the run's own."""
    run_dir = tmp_path / "run"
    train = ("train", "ldm-brain", heads, run_dir, "--device", "cpu", "--workers", "0")
    outcome = synthct(*train, "--config", config, "--stage", "autoencoder", **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    assert f"model folder {run_dir / 'autoencoder'} (sha256" in outcome.err + outcome.out
    assert not (run_dir / "model.json").exists()
    outcome = synthct(*train, "--resume", **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    assert "stage autoencoder: has its model and is left as it is" in outcome.err + outcome.out
    assert [line for line in outcome.err.splitlines() if line.startswith("stage ")][-2:] == [
        "stage diffusion",
        "stage controlnet",
    ]
    assert open_model(run_dir, algorithm="ldm-brain").card.config["spacing"] == PRESET["spacing"]
