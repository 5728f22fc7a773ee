"""Stages in RUN_DIR: what may be begun, gone on with or left alone, and which settings bind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from algorithms.commands.run_folder import CHECKPOINT, CONFIG, checkpoints, require_room
from algorithms.commands.stages import finished_stages, is_finished, require_fresh, require_stage
from algorithms.interface import About, find_algorithm
from algorithms.training import check_settings
from synthct.errors import UsageError, WeightsError
from synthct.routes import CARD_NAME
from synthct.training.folds import Fold, Splits

CONTENT: dict[str, Any] = {"spacing": [2.0, 2.0, 2.0], "autoencoder": {"learning_rate": 1e-3}}


@pytest.fixture
def about() -> About:
    return find_algorithm("ldm-brain")


def begun(folder: Path, *stages: str, finished: bool = True) -> Path:
    """What training leaves of stages in a folder."""
    for stage in stages:
        (folder / stage).mkdir(parents=True)
        (folder / stage / CHECKPOINT).touch()
        if finished:
            (folder / stage / CARD_NAME).touch()
    return folder


def test_stages_are_for_algorithms_that_have_them(about: About) -> None:
    require_stage(about, None)
    require_stage(about, "diffusion")
    with pytest.raises(UsageError, match="--stage vae is unknown to ldm-brain; expected autoencoder, diffusion, contr"):
        require_stage(about, "vae")
    with pytest.raises(UsageError, match="--stage is nothing that lookup-table uses"):
        require_stage(find_algorithm("lookup-table"), "autoencoder")


def test_checkpoints_lie_where_the_algorithm_trains(tmp_path: Path, about: About) -> None:
    begun(tmp_path, "diffusion", "autoencoder")
    (tmp_path / CHECKPOINT).touch()
    assert checkpoints(tmp_path, about) == [tmp_path / name / CHECKPOINT for name in ("autoencoder", "diffusion")]
    assert checkpoints(tmp_path, find_algorithm("spade-afp")) == [tmp_path / CHECKPOINT]


def test_nothing_is_trained_over_and_nothing_gone_on_with(tmp_path: Path, about: About) -> None:
    require_fresh(tmp_path, about, None, resume=False, several=False)
    with pytest.raises(
        UsageError, match=r"autoencoder/checkpoint\.pt: no such file; expected a checkpoint to --resume"
    ):
        require_fresh(tmp_path, about, None, resume=True, several=False)
    require_fresh(tmp_path, about, None, resume=True, several=True)  # of several folds some may be new
    begun(tmp_path, "autoencoder")
    with pytest.raises(UsageError, match=r"autoencoder/checkpoint\.pt: a run lies there already; expected --resume or"):
        require_fresh(tmp_path, about, None, resume=False, several=False)
    require_fresh(tmp_path, about, None, resume=True, several=False)


def test_one_stage_looks_at_its_own_folder(tmp_path: Path, about: About) -> None:
    begun(tmp_path, "autoencoder")
    require_fresh(tmp_path, about, "diffusion", resume=False, several=False)
    require_fresh(tmp_path, about, "autoencoder", resume=True, several=False)
    with pytest.raises(UsageError, match=r"autoencoder/checkpoint\.pt: a run lies there already"):
        require_fresh(tmp_path, about, "autoencoder", resume=False, several=False)
    with pytest.raises(UsageError, match=r"diffusion/checkpoint\.pt: no such file"):
        require_fresh(tmp_path, about, "diffusion", resume=True, several=False)
    with pytest.raises(
        WeightsError, match=r"diffusion/model\.json: no such file; expected stage diffusion before contr"
    ):
        require_fresh(tmp_path, about, "controlnet", resume=False, several=False)


def test_a_stage_that_was_broken_off_is_none_to_stand_on(tmp_path: Path, about: About) -> None:
    begun(tmp_path, "autoencoder", finished=False)
    with pytest.raises(WeightsError, match=r"autoencoder/model\.json: no such file"):
        require_fresh(tmp_path, about, "diffusion", resume=False, several=False)


def test_what_is_finished_is_left_alone(tmp_path: Path, about: About) -> None:
    begun(tmp_path, "autoencoder")
    begun(tmp_path, "diffusion", finished=False)
    assert finished_stages(tmp_path, about, None, resume=True) == ["autoencoder"]
    assert finished_stages(tmp_path, about, None, resume=False) == []
    assert finished_stages(tmp_path, about, "autoencoder", resume=True) == []
    assert is_finished(tmp_path, "all", "autoencoder", resume=True)
    assert not is_finished(tmp_path, "all", "diffusion", resume=True)
    assert not is_finished(tmp_path, "all", None, resume=True)
    (tmp_path / CARD_NAME).touch()
    assert is_finished(tmp_path, "all", None, resume=True)
    assert not is_finished(tmp_path, "1", None, resume=True)


def test_a_folder_with_stages_is_one_model_or_an_ensemble(tmp_path: Path, about: About) -> None:
    settings = check_settings(about, CONTENT)
    folds = Splits(folds=(Fold(train=("a",), val=("b",)),))
    begun(tmp_path / "whole", "autoencoder")
    with pytest.raises(UsageError, match=r"whole/autoencoder/checkpoint\.pt: a model of all cases lies here"):
        require_room(tmp_path / "whole", about, settings, folds)
    begun(tmp_path / "folds" / "fold_0", "autoencoder")
    with pytest.raises(UsageError, match="fold_0: a fold was trained here"):
        require_room(tmp_path / "folds", about, settings, None)
    require_room(tmp_path / "folds", about, settings, folds)


@pytest.mark.parametrize("folder", [".", "fold_1"])
def test_settings_of_later_stages_are_still_free(tmp_path: Path, about: About, folder: str) -> None:
    begun(tmp_path / folder, "autoencoder")
    folds = None if folder == "." else Splits(folds=(Fold(train=("a",), val=("b",)),))
    (tmp_path / CONFIG).write_text(json.dumps(CONTENT))

    def require(**changes: Any) -> None:
        require_room(tmp_path, about, check_settings(about, CONTENT | changes), folds)

    require(diffusion={"batch": 3}, controlnet={"loop": {"epochs": 2}})
    require(autoencoder={"learning_rate": 1e-3, "loop": {"iterations_per_epoch": 180, "epochs": 100,
            "schedule": "fixed", "clip_norm": None, "log_interval": 3}})  # fmt: skip
    with pytest.raises(WeightsError, match=r"was trained with autoencoder\.learning_rate 0\.001, this call has 0\.1;"):
        require(autoencoder={"learning_rate": 0.1})
    with pytest.raises(WeightsError, match=r"was trained with spacing \[2\.0, 2\.0, 2\.0\], this call has"):
        require(spacing=[1.0, 1.0, 1.0])
    begun(tmp_path / folder, "diffusion", finished=False)
    with pytest.raises(WeightsError, match=r"was trained with diffusion\.batch 1, this call has 3;"):
        require(diffusion={"batch": 3})
    require(controlnet={"batch": 3})
