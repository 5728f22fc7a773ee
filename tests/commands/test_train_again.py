"""`synthct train` into a RUN_DIR that is not empty, on data that do not fit, and with one of its processes gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands.command_line import synthct
from commands.limb_cases import save_limb
from commands.tiny_training import ONE_THREAD, save_limbs, write_settings

from synthct.weights import open_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_limbs(tmp_path_factory.mktemp("limbs"))


@pytest.fixture(scope="module")
def fold(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN_DIR with fold 3, trained for two of its four iterations."""
    folder = tmp_path_factory.mktemp("fold")
    config = write_settings(folder / "tiny.yaml")
    options = ("--config", config, "--fold", "3", "--max-steps", "2", "--device", "cpu")
    outcome = synthct("train", "pix2pix-pelvis", data, folder / "run", *options, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    return folder / "run"


def test_resume_needs_no_config_and_another_fold_joins(data: Path, fold: Path) -> None:
    """--resume takes RUN_DIR's own settings; a fold with the paper's, which are others, does not join the ensemble."""
    command = ("train", "pix2pix-pelvis", data, fold, "--device", "cpu")
    resumed = synthct(*command, "--fold", "3", "--resume", **ONE_THREAD)
    assert resumed.code == 0, resumed.err
    assert "resumed after iteration 2 of 4" in resumed.err
    kept = (fold / "config.yaml").read_bytes()
    refused = synthct(*command, "--fold", "1", **ONE_THREAD)
    assert refused.code == 4
    assert "config.yaml: was trained with network.widths [4, 8], this call has [64, 128, " in refused.reason
    joined = synthct(*command, "--fold", "1", "--config", fold / "config.yaml", **ONE_THREAD)
    assert joined.code == 0, joined.err
    assert (fold / "config.yaml").read_bytes() == kept
    assert [member.path.name for member in open_model(fold).folds] == ["fold_1", "fold_3"]


def test_all_cases_do_not_go_where_folds_are(data: Path, fold: Path) -> None:
    outcome = synthct("train", "pix2pix-pelvis", data, fold, "--config", fold / "config.yaml", **ONE_THREAD)
    assert outcome.code == 2
    assert "fold_3: a fold was trained here; expected --fold" in outcome.reason or "fold_1" in outcome.reason


def test_cases_of_a_task_that_the_method_is_not_made_for(tmp_path: Path) -> None:
    """The MR's normalisation would be given CBCT."""
    case = save_limb(tmp_path / "2EXA001")
    outcome = synthct("train", "pix2pix-pelvis", case, tmp_path / "run")
    assert outcome.code == 2
    assert outcome.reason == ("error: pix2pix-pelvis is for mri, case 2EXA001 is cbct; expected --task mri")
    assert not (tmp_path / "run").exists()


def test_of_two_processes_the_one_that_failed_has_the_last_word(data: Path, tmp_path: Path) -> None:
    """Its fellow has lost the connection, and says nothing of it."""
    (tmp_path / "file").touch()
    words = ["train", "pix2pix-pelvis", data, tmp_path / "run", "--config", write_settings(tmp_path / "tiny.yaml")]
    options = ["--device", "cpu", "--devices", "2", "--cache", tmp_path / "file"]
    result = subprocess.run(
        [Path(sys.executable).parent / "synthct", *map(str, [*words, *options])],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | ONE_THREAD,
    )
    assert result.returncode == 3
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, errors
    assert "cannot be written" in errors[0]
