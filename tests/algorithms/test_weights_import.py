"""`synthct weights import nnunet`: a trained regression net predicts as a model folder what nnU-Net's network gave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_volume
from nnunet_models import make_plans, write_nnunet_model
from typer.testing import CliRunner

from algorithms.commands.weights import weights
from algorithms.nnresunet_afp.network import build_network
from algorithms.nnresunet_afp.predictor import ModelConfig, load
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import UsageError, WeightsError
from synthct.inference.engine import Engine
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import fill_network
from synthct.weights import ModelFolder, load_tensors, open_model

CPU = torch.device("cpu")
CT = ["--ct-mean", "-200", "--ct-std", "400", "--ct-low", "-1024", "--ct-high", "3071"]
MR = ["--task", "mri", "--region", "HN"]
UNITS = ZScore(mean=-200, std=400, low=-1024, high=3071)
PATCH = (8, 32, 40)


def run(*arguments: str | Path) -> str:
    """Run the command; what it raises is raised here."""
    result = CliRunner().invoke(weights, ["import", "nnunet", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def logits_of(folder: ModelFolder, image: torch.Tensor) -> torch.Tensor:
    config = ModelConfig.model_validate(folder.card.config)
    network = build_network(config.network, config.image, config.ct, global_skip=config.global_skip).eval()
    fill_network(network, load_tensors(folder), "test")
    with torch.no_grad():
        result: torch.Tensor = network(image)
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A residual net for MR, one fold."""
    plans = make_plans("residual", scheme="ZScoreNormalization")
    write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, channel="MRI")
    return tmp_path / "nnunet"


@pytest.mark.parametrize("kind", ["plain", "hybrid", "residual"])
def test_the_same_logits_as_nnunets_own_network(kind: str, tmp_path: Path) -> None:
    plans = make_plans(kind, scheme="ZScoreNormalization")
    networks = write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, channel="MRI")
    output = run(tmp_path / "nnunet", tmp_path / "model", *MR, "--region", "TH", *CT, "--trained-on", "six phantoms")
    folder = open_model(tmp_path / "model", algorithm="nnresunet-afp")
    image = torch.randn(2, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = networks["0"](image)
    assert expected.std() > 0.02
    assert float((logits_of(folder, image) - expected).abs().max()) <= 1e-5
    assert f"model folder {tmp_path / 'model'}: nnunet for nnresunet-afp, sha256 {folder.card.sha256[:12]}" in output
    config = ModelConfig.model_validate(folder.card.config)
    assert (config.network.kind, config.network.features) == (kind, (4, 8, 12, 16))
    assert (config.spacing, config.sweep.patch) == ((3.0, 1.0, 1.0), PATCH)
    assert (config.sweep.step, config.sweep.merging) == (0.3, "mean")
    assert (config.image, config.ct, config.global_skip) == (CaseZScore(), UNITS, False)
    card = folder.card
    assert (card.tasks, card.regions) == ((Task.MRI,), (Region.HEAD_NECK, Region.THORAX))
    assert (card.starter, card.extractors) == (False, ())
    assert card.trained_on == (
        "six phantoms, imported from nnU-Net model Dataset042_Test, nnUNetTrainer, 3d_fullres, fold_0"
    )


def test_a_case_is_predicted_as_nnunets_network_would(tmp_path: Path) -> None:
    """One window: z-score of the case, the two folds' mean, back to HU, finished."""
    plans = make_plans("residual", scheme="ZScoreNormalization")
    networks = write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, folds=("0", "4"), channel="MRI")
    assert "2 folds, " in run(tmp_path / "nnunet", tmp_path / "model", *MR, *CT)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["fold_0", "fold_4"]
    voxels = np.random.default_rng(2).integers(0, 1500, PATCH).astype(np.int16)
    case = Case("1HNA001", Task.MRI, Region.HEAD_NECK, make_volume(voxels), make_volume(np.ones(PATCH, np.uint8)))
    made = load(open_model(tmp_path / "model"), Engine(CPU, precision="fp32")).predict(case).volume
    normalised = torch.from_numpy(((voxels - voxels.mean()) / voxels.std()).astype(np.float32))[None, None]
    with torch.no_grad():
        outputs = [network(normalised)[0, 0].numpy() for network in networks.values()]
    expected = np.clip(np.mean(outputs, axis=0) * 400 - 200, -1024, 3071)
    assert float(np.abs(outputs[0] - outputs[1]).mean()) > 0.1
    np.testing.assert_allclose(made.voxels, expected, atol=0.51)
    assert made.geometry == case.image.geometry


def test_a_cbct_keeps_its_own_statistics(tmp_path: Path) -> None:
    write_nnunet_model(tmp_path / "nnunet", make_plans("plain"), outputs=1, channel="CT")
    run(tmp_path / "nnunet", tmp_path / "model", "--task", "cbct", "--region", "AB", *CT)
    config = ModelConfig.model_validate(open_model(tmp_path / "model").card.config)
    assert config.image == ZScore(mean=20, std=400, low=-900, high=1500)
    assert config.ct == UNITS


def test_folds(tmp_path: Path) -> None:
    plans = make_plans("plain", scheme="ZScoreNormalization")
    networks = write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, folds=("0", "1", "2", "all"), channel="MRI")
    image = torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(3))
    run(tmp_path / "nnunet", tmp_path / "every", *MR, *CT)
    run(tmp_path / "nnunet", tmp_path / "two", *MR, *CT, "--folds", "0, 2")
    run(tmp_path / "nnunet", tmp_path / "whole", *MR, *CT, "--folds", "all")
    members = {name: open_model(tmp_path / name).members for name in ("every", "two", "whole")}
    assert [folder.path.name for folder in members["every"]] == ["fold_0", "fold_1", "fold_2"]
    assert [folder.path.name for folder in members["two"]] == ["fold_0", "fold_2"]
    assert [folder.path.name for folder in members["whole"]] == ["whole"]
    for folder, fold in zip((*members["every"], *members["whole"]), ("0", "1", "2", "all"), strict=True):
        with torch.no_grad():
            assert float((logits_of(folder, image) - networks[fold](image)).abs().max()) <= 1e-5
        assert folder.card.trained_on.endswith(f"fold_{fold}")


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("7", r"--folds 7: .* has 0, 1, all; expected one of them"),
        ("0,0", "--folds 0,0: expected numbers, each once"),
        ("0,all", "--folds 0,all: expected numbers, each once, or all by itself"),
    ],
)
def test_folds_that_cannot_be_meant(folds: str, message: str, tmp_path: Path) -> None:
    plans = make_plans("plain", scheme="ZScoreNormalization")
    write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, folds=("0", "1", "all"))
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "nnunet", tmp_path / "model", *MR, *CT, "--folds", folds)


def test_a_damaged_fold_leaves_no_part_of_an_ensemble(tmp_path: Path) -> None:
    plans = make_plans("plain", scheme="ZScoreNormalization")
    write_nnunet_model(tmp_path / "nnunet", plans, outputs=1, folds=("0", "1"))
    (tmp_path / "nnunet" / "fold_1" / "checkpoint_final.pth").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match=r"fold_1/checkpoint_final\.pth: cannot be loaded"):
        run(tmp_path / "nnunet", tmp_path / "model", *MR, *CT)
    assert list((tmp_path / "model").iterdir()) == []


def test_ct_statistics_are_asked_for(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected --ct-mean, --ct-std, --ct-low and --ct-high, or ct_stat.*\.json"):
        run(model, tmp_path / "model", *MR)
    with pytest.raises(UsageError, match="--ct-high missing; expected all of --ct-mean, --ct-std, --ct-low, --ct-high"):
        run(model, tmp_path / "model", *MR, *CT[:-2])
    assert list((tmp_path / "model").iterdir()) == []


def test_ct_statistics_may_lie_beside_the_plans_or_in_them(model: Path, tmp_path: Path) -> None:
    change(model / "plans.json", lambda plans: plans.update(ct_statistics={"mean": 1, "std": 2, "low": -3, "high": 4}))
    run(model, tmp_path / "a", *MR)
    (model / "ct_statistics.json").write_text('{"mean": 10, "std": 20, "low": -30, "high": 40}')
    run(model, tmp_path / "b", *MR)
    run(model, tmp_path / "c", *MR, *CT)
    found = [ModelConfig.model_validate(open_model(tmp_path / name).card.config).ct for name in "abc"]
    assert found == [ZScore(mean=1, std=2, low=-3, high=4), ZScore(mean=10, std=20, low=-30, high=40), UNITS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds list; expected mean, std, low and high"),
        ('{"mean": 1}', "holds mean; expected mean, std, low and high"),
        ('{"mean": 1, "std": 2, "low": null, "high": 3}', "holds mean, std, low, high; expected"),
        ('{"mean": 1, "std": 0, "low": 0, "high": 3}', "Input should be greater than 0; expected mean, std"),
    ],
)
def test_stored_statistics_that_cannot_be_used(content: str, message: str, model: Path, tmp_path: Path) -> None:
    (model / "ct_statistics.json").write_text(content)
    with pytest.raises(WeightsError, match=rf"ct_statistics\.json: {message}"):
        run(model, tmp_path / "model", *MR)


def test_a_segmentation_net_is_no_regression_net(tmp_path: Path) -> None:
    write_nnunet_model(tmp_path / "nnunet", make_plans(), outputs=3)
    with pytest.raises(
        WeightsError, match=r"checkpoint_final\.pth: its network makes 3 channels of 1; expected 1 of 1"
    ):
        run(tmp_path / "nnunet", tmp_path / "model", *MR, *CT)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            {"normalization_schemes": ["RescaleTo01Normalization"]},
            "normalization_schemes is 'RescaleTo01Normalization'",
        ),
        (
            {"patch_size": [8, 33, 40]},
            r"patch \(8, 33, 40\) .* the strides' product \(4, 8, 8\)",
        ),
        ({"spacing": [1.0]}, "spacing is"),
    ],
)
def test_plans_that_cannot_be_taken_over(edit: dict[str, Any], message: str, model: Path, tmp_path: Path) -> None:
    change(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(edit))
    with pytest.raises(WeightsError, match=rf"plans\.json: 3d_fullres: .*{message}"):
        run(model, tmp_path / "model", *MR, *CT)


def test_a_masked_normalisation_is_told_of(model: Path, tmp_path: Path) -> None:
    change(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(use_mask_for_norm=[True]))
    with pytest.warns(UserWarning, match=r"plans\.json: nnU-Net took mean and deviation inside a mask"):
        run(model, tmp_path / "model", *MR, *CT)


def test_a_hostile_checkpoint_is_not_run(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "was-here"

    class Intruder:
        def __reduce__(self) -> tuple[Any, ...]:
            return (subprocess.check_call, (["touch", str(target)],))

    path = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "logging": Intruder()}, path)
    with pytest.raises(WeightsError, match="nothing in it was run"):
        run(model, tmp_path / "model", *MR, *CT)
    assert not target.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithm", "lookup-table"], "--algorithm lookup-table: takes no weights from elsewhere"),
        (["--algorithm", "nothing"], "algorithm 'nothing' is unknown"),
        (["--configuration", "2d"], "--configuration 2d does not fit"),
        (["--upsampling", "trilinear"], "--upsampling trilinear does not fit"),
    ],
)
def test_options_that_cannot_be_meant(arguments: list[str], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run(model, tmp_path / "model", *MR, *CT, *arguments)


@pytest.mark.parametrize("module", ["algorithms.commands.weights", "synthct.cli.features"])
def test_asking_for_help_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.stdout.write(str('torch' in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False"


def test_a_place_with_something_in_it_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    with pytest.raises(UsageError, match="model: holds something already; expected a new or empty folder"):
        run(model, tmp_path / "model", *MR, *CT)
