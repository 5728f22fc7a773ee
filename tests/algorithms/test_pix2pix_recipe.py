"""`synthct train pix2pix-pelvis` as a user runs it: a data set in, a model folder out, and that folder predicts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from commands.command_line import Outcome, files_below, synthct
from pix2pix_runs import NETWORK, quiet, save_case
from safetensors.numpy import load_file

from algorithms.pix2pix_pelvis.recipe import train
from algorithms.training import Launcher, TrainingRun
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import InputError, UsageError

SETTINGS: dict[str, Any] = {
    "network": json.loads(json.dumps(NETWORK)),
    "sampling": {"patch": [4, 16, 16]},
    "sweep": {"patch": [8, 32, 32]},
    "loop": {"iterations_per_epoch": 3, "epochs": 2, "log_interval": 1},
    "validation_cases": ["1EXA003"],
    "excluded_cases": ["1PA006"],
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def write_settings(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(SETTINGS | changes))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases to train on, one to validate, and two to leave out, whose CT is broken or missing."""
    root = tmp_path_factory.mktemp("data")
    save_case(root, "1EXA001", 1)
    save_case(root, "1EXA002", 2)
    save_case(root, "1EXA003", 3)
    save_case(root, "1EXA004", 4)
    (save_case(root, "1EXA005", 5) / "ct.mha").write_text("broken")
    (save_case(root, "1PA006", 6) / "ct.mha").unlink()
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run folder and how the command ended."""
    folder = tmp_path_factory.mktemp("run")
    config = write_settings(folder / "tiny.yaml")
    run_dir = folder / "model"
    options = ("--config", config, "--exclude", "1EXA005", "--device", "cpu")
    return run_dir, synthct("train", "pix2pix-pelvis", data, run_dir, *options, **ONE_THREAD)


@pytest.mark.slow
def test_run_makes_a_model_folder(trained: tuple[Path, Outcome]) -> None:
    run_dir, outcome = trained
    assert outcome.code == 0, outcome.err
    made = [name for name in files_below(run_dir) if not name.startswith(("cache", "tensorboard"))]
    assert made == [
        "checkpoint.pt",
        "config.yaml",
        "history.csv",
        "model.json",
        "run.json",
        "weights.safetensors",
    ]
    assert (run_dir / "config.yaml").read_bytes() == (run_dir.parent / "tiny.yaml").read_bytes()
    card = json.loads((run_dir / "model.json").read_text())
    digest = hashlib.sha256((run_dir / "weights.safetensors").read_bytes()).hexdigest()
    assert card["sha256"] == digest
    assert outcome.out == f"model folder {run_dir} (sha256 {digest[:12]})\n"
    assert (card["algorithm"], card["tasks"], card["starter"]) == ("pix2pix-pelvis", ["mri"], False)
    assert card["regions"] == ["EX"], "the pelvis case was left out"
    assert card["config"]["sweep"]["patch"] == [8, 32, 32]
    assert card["config"]["network"] == SETTINGS["network"] | {"negative_slope": 0.2, "dimensions": 3}
    assert (card["config"]["image"]["low"], card["config"]["image"]["scale"]) == (0.0, 1000.0)
    ct = card["config"]["ct"]
    assert (ct["low"], ct["high"], ct["offset"], ct["scale"]) == (-1024.0, 3071.0, 0.0, 1000.0)


@pytest.mark.slow
def test_weights_are_fp16_and_the_generator_only(trained: tuple[Path, Outcome]) -> None:
    """Widths 6 and 12, kernels of 9 and 27 taps, one level up, a head: counted by hand."""
    tensors = load_file(trained[0] / "weights.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"float16"}
    down = (9 * 6 + 6) + (9 * 36 + 6) + (27 * 72 + 12) + (27 * 144 + 12)
    up = (9 * 18 * 6 + 6) + (9 * 36 + 6) + (6 + 1)
    assert sum(tensor.size for tensor in tensors.values()) == down + up


@pytest.mark.slow
def test_cases_go_where_the_settings_say(trained: tuple[Path, Outcome]) -> None:
    """One validates, two are never read: three remain."""
    run_dir, outcome = trained
    assert json.loads((run_dir / "model.json").read_text())["trained_on"] == "3 cases"
    assert re.findall(r"iteration ([0-9]+): validation mae_hu", outcome.err) == ["3", "6"]
    assert "1EXA005" not in outcome.err
    assert "1PA006" not in outcome.err
    cached = {path.name.split("-")[0] for path in (run_dir / "cache").iterdir()}
    assert cached == {"1EXA001", "1EXA002", "1EXA003", "1EXA004"}


@pytest.mark.slow
def test_model_predicts(trained: tuple[Path, Outcome], data: Path, tmp_path: Path) -> None:
    outcome = synthct("predict", "pix2pix-pelvis", data / "1EXA003", tmp_path, "--model", trained[0], **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path) == ["1EXA003.mha", "manifest.json"]
    made, image = (sitk.ReadImage(str(path)) for path in (tmp_path / "1EXA003.mha", data / "1EXA003" / "mr.mha"))
    assert (made.GetSize(), made.GetSpacing(), made.GetOrigin()) == (
        image.GetSize(),
        image.GetSpacing(),
        image.GetOrigin(),
    )
    hu = sitk.GetArrayFromImage(made)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "1EXA003" / "mask.mha"))) > 0
    assert np.all(hu[~mask] == -1000)
    assert hu[mask].std() > 1
    report = json.loads((tmp_path / "manifest.json").read_text())
    assert report["models"][str(trained[0])]["trained_on"] == "3 cases"


@pytest.mark.slow
def test_second_run_needs_resume(trained: tuple[Path, Outcome], data: Path, tmp_path: Path) -> None:
    """Without --resume exit 2 and nothing touched; with it the finished run gives the same weights again."""
    run_dir = tmp_path / "model"
    shutil.copytree(trained[0], run_dir)
    before = (run_dir / "weights.safetensors").read_bytes()
    (run_dir / "weights.safetensors").unlink()
    command = ("train", "pix2pix-pelvis", data, run_dir, "--config", write_settings(tmp_path / "tiny.yaml"))
    refused = synthct(*command, "--exclude", "1EXA005", **ONE_THREAD)
    assert refused.code == 2
    assert refused.reason.startswith(f"error: {run_dir / 'checkpoint.pt'}: a run lies there already")
    assert not (run_dir / "weights.safetensors").exists()
    resumed = synthct(*command, "--exclude", "1EXA005", "--resume", **ONE_THREAD)
    assert resumed.code == 0, resumed.err
    assert re.search(r"iteration 6\b", resumed.err)
    assert (run_dir / "weights.safetensors").read_bytes() == before


@pytest.mark.slow
def test_unknown_setting_is_named(data: Path, tmp_path: Path) -> None:
    config = write_settings(tmp_path / "tiny.yaml", learning_rat=0.1)
    outcome = synthct("train", "pix2pix-pelvis", data, tmp_path / "run", "--config", config, **ONE_THREAD)
    assert outcome.code == 2
    assert outcome.reason == "error: setting 'learning_rat' is unknown; did you mean learning_rate?"
    assert files_below(tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"widths": [8, 12]}, "weights.safetensors: encoder.0.0.0.weight has shape (6, 1, 1, 3, 3); expected (8, "),
        ({"widths": [6]}, "settings do not fit pix2pix-pelvis"),
    ],
)
def test_weights_of_another_shape_are_refused(
    trained: tuple[Path, Outcome], data: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    card = json.loads((model / "model.json").read_text())
    card["config"]["network"] |= change
    (model / "model.json").write_text(json.dumps(card))
    out = tmp_path / "out"
    outcome = synthct("predict", "pix2pix-pelvis", data / "1EXA001", out, "--model", model, **ONE_THREAD)
    assert outcome.code == 4
    assert reason in outcome.reason
    assert files_below(out) == []


def training_run(run_dir: Path, cases: list[CaseFiles], **changes: Any) -> TrainingRun:
    return TrainingRun(tuple(cases), run_dir, SETTINGS | changes, quiet(), Launcher("cpu"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"loop": {"epoch": 5}}, "setting 'loop.epoch' is unknown; did you mean epochs?"),
        ({"sweep": {"patch": [4, 16, 16], "stepp": 1}}, "setting 'sweep.stepp' is unknown; did you mean step?"),
        ({"patch": [4, 16, 16]}, "setting 'patch' is unknown; did you mean sampling.patch or sweep.patch?"),
        ({"network": {"width": [4]}}, "setting 'network.width' is unknown; did you mean widths?"),
        ({"zzz": 1}, "setting 'zzz' is unknown; expected some of network, discriminator, sampling"),
        ({"loop": {"epochs": 0}}, "setting 'loop.epochs': Input should be greater than 0"),
        ({"sampling": {"patch": [4, 16, 17]}}, "settings: patch (4, 16, 17) (z, y, x) is no multiple"),
        ({"loop": {"ema": 1.0}}, "setting 'loop.ema'"),
        ({"loop": {"seed": -1}}, "setting 'loop.seed'"),
        ({"betas": [0.5, 1.0]}, "setting 'betas.1': Input should be less than 1"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, data: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        train(training_run(tmp_path, find_cases(data), **changes))
    assert str(caught.value).startswith(complaint)


def test_cases_that_make_no_training_set(tmp_path: Path, data: Path) -> None:
    names = ["1EXA003"]
    cases = [case for case in find_cases(data) if case.id in names]
    with pytest.raises(InputError, match="no training case is left"):
        train(training_run(tmp_path, cases))
    with pytest.raises(InputError, match="1PA006 has no CT"):
        train(training_run(tmp_path, [case for case in find_cases(data) if case.id == "1PA006"], excluded_cases=[]))
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exclude", "1EXA999"], ["1EXA999", "--exclude"]),
        (["--resume"], ["checkpoint.pt", "--resume"]),
        (["--config", "x.yaml", "--preset", "full"], ["--config", "--preset"]),
    ],
)
def test_calls_that_cannot_be_meant(arguments: list[str], words: list[str], data: Path, tmp_path: Path) -> None:
    outcome = synthct("train", "pix2pix-pelvis", data, tmp_path / "run", *arguments, cwd=tmp_path)
    assert outcome.code == 2, outcome.err
    assert [word for word in words if word not in outcome.reason] == []
    assert not (tmp_path / "run").exists()


def test_a_model_trained_on_phantoms_says_simulated(tmp_path: Path) -> None:
    assert synthct("sample", tmp_path / "phantoms", "--cases", "1").code == 0
    outcome = synthct("train", "lookup-table", tmp_path / "phantoms", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert card["trained_on"] == "1 case (simulated)"
    assert card["starter"] is False
