"""`synthct train nnresunet-afp` as a user runs it: both stages, an extractor, folds, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands.command_line import Outcome, files_below, synthct
from commands.limb_cases import save_limb
from commands.tiny_training import ONE_THREAD, outputs
from nnresunet_runs import NETWORK, PRESET, WITH_FEATURES, save_tiny_extractor, training_run
from safetensors.numpy import load_file

from algorithms.commands.predict import predict
from algorithms.commands.train import train as train_command
from algorithms.nnresunet_afp.predictor import ModelConfig
from algorithms.nnresunet_afp.recipe import train
from synthct.errors import UsageError
from synthct.intensity import CaseZScore
from synthct.networks.unet import UNetPlan, build_unet
from synthct.planning.plan import Plan
from synthct.volume import read_volume
from synthct.weights import open_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limbs")
    for number in (1, 2, 3):
        save_limb(root / f"1EXA00{number}", seed=number)
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An extractor folder and its sha256."""
    folder = tmp_path_factory.mktemp("extractors") / "compact"
    return folder, save_tiny_extractor(folder)


def write_settings(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(json.loads(json.dumps(PRESET | {"validation_cases": ["1EXA003"]} | changes))))
    return path


@pytest.fixture(scope="module")
def stages(
    data: Path, extractor: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Outcome]]:
    """Both stages of paper 002, one after the other: run folders and how the commands ended."""
    root = tmp_path_factory.mktemp("stages")
    first, second = root / "l1", root / "l1-afp"
    common = ("--device", "cpu")
    one = synthct(
        *("train", "nnresunet-afp", data, first, "--config", write_settings(root / "1.yaml"), *common), **ONE_THREAD
    )
    assert one.code == 0, one.err
    settings = write_settings(root / "2.yaml", **WITH_FEATURES)
    options = ("--init", first, "--extractor", extractor[0], *common)
    two = synthct("train", "nnresunet-afp", data, second, "--config", settings, *options, **ONE_THREAD)
    assert two.code == 0, two.err
    return {"l1": (first, one), "l1-afp": (second, two)}


@pytest.mark.slow
def test_a_run_holds_model_plan_and_log(stages: dict[str, tuple[Path, Outcome]]) -> None:
    for run_dir, _ in stages.values():
        names = ["checkpoint.pt", "config.yaml", "history.csv", "model.json", "plan.yaml", "run.json"]
        assert outputs(run_dir) == [*names, "weights.safetensors"]
        plan, config = Plan.read(run_dir / "plan.yaml"), ModelConfig.model_validate(open_model(run_dir).card.config)
        assert (plan.network, plan.patch, plan.spacing) == (config.network, config.sweep.patch, config.spacing)
        assert (plan.ct, plan.image) == (config.ct, config.image)
        assert config.network == UNetPlan.model_validate(NETWORK)
        assert config.image == CaseZScore()


@pytest.mark.slow
def test_stage_two_goes_on_with_stage_ones_plan(stages: dict[str, tuple[Path, Outcome]]) -> None:
    one, two = (Plan.read(stages[name][0] / "plan.yaml") for name in ("l1", "l1-afp"))
    assert two.model_copy(update={"note": one.note, "cases": one.cases, "gpu_memory_gb": one.gpu_memory_gb}) == one
    assert two.note == f"of the model {open_model(stages['l1'][0]).card.sha256[:12]}"


@pytest.mark.slow
def test_weights_are_fp16_each_by_one_name(stages: dict[str, tuple[Path, Outcome]]) -> None:
    """A state dict of this network names the encoder's weights four times; a file has no use for that."""
    tensors = load_file(stages["l1"][0] / "weights.safetensors")
    network = build_unet(UNetPlan.model_validate(NETWORK))
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"float16"}
    assert sum(tensor.size for tensor in tensors.values()) == sum(weight.numel() for weight in network.parameters())
    assert len(network.state_dict()) > 2 * len(tensors)


@pytest.mark.slow
def test_the_card_names_the_extractor(
    stages: dict[str, tuple[Path, Outcome]], extractor: tuple[Path, str], tmp_path: Path, data: Path
) -> None:
    cards = {name: open_model(run_dir).card for name, (run_dir, _) in stages.items()}
    assert (cards["l1"].extractors, cards["l1-afp"].extractors) == ((), (extractor[1],))
    assert cards["l1-afp"].trained_on == "2 cases"
    assert cards["l1-afp"].sha256 != cards["l1"].sha256
    err = stages["l1-afp"][1].err
    assert f"features of nnunet compact (3 layers, sha256 {extractor[1][:12]})" in err
    assert "RANDOM" not in err


@pytest.mark.slow
def test_both_terms_are_logged(stages: dict[str, tuple[Path, Outcome]]) -> None:
    told = {
        name: [line for line in outcome.err.splitlines() if line.startswith("iteration ")]
        for name, (_, outcome) in stages.items()
    }
    assert "l1_hu" in told["l1"][0]
    assert "afp" not in "".join(told["l1"])
    assert "l1_hu" in told["l1-afp"][0]
    assert "afp" in told["l1-afp"][0]
    with (stages["l1-afp"][0] / "history.csv").open(encoding="utf-8", newline="") as stream:
        columns = " ".join(next(csv.reader(stream)))
    assert "l1_hu" in columns
    assert "afp" in columns


@pytest.mark.slow
def test_what_is_best_is_judged_by_the_loss(stages: dict[str, tuple[Path, Outcome]]) -> None:
    """Stage one by MAE, as its loss is; stage two by its own loss, with MAE beside it."""
    assert "validation mae_hu" in stages["l1"][1].err
    lines = [line for line in stages["l1-afp"][1].err.splitlines() if "validation" in line and "iteration" in line]
    assert lines
    assert all("validation loss" in line and "(best" in line for line in lines)


@pytest.mark.slow
def test_the_model_predicts_and_names_its_extractor(
    stages: dict[str, tuple[Path, Outcome]], extractor: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    model = stages["l1-afp"][0]
    predict("nnresunet-afp", data / "1EXA003", tmp_path, model=model, device="cpu")
    assert files_below(tmp_path) == ["1EXA003.mha", "manifest.json"]
    made, inside = read_volume(tmp_path / "1EXA003.mha"), read_volume(data / "1EXA003" / "mask.mha").voxels > 0
    assert made.geometry == read_volume(data / "1EXA003" / "mr.mha").geometry
    assert np.all(made.voxels[~inside] == -1000)
    assert made.voxels[inside].std() > 1
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["models"][str(model)]["extractors"] == [extractor[1]]


@pytest.mark.slow
def test_resume_gives_the_same_weights_and_keeps_the_plan(
    stages: dict[str, tuple[Path, Outcome]], extractor: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    """Ended after one iteration and taken up: bit for bit the run that was never ended."""
    whole, _ = stages["l1-afp"]
    config = yaml.safe_load((whole / "config.yaml").read_text())
    options: dict[str, Any] = {"init": stages["l1"][0], "extractor": extractor[0]}
    train(training_run(data, tmp_path, config, max_steps=1, **options))
    kept = (tmp_path / "plan.yaml").read_bytes()
    (tmp_path / "weights.safetensors").unlink()
    train(training_run(data, tmp_path, config, resume=True, **options))
    assert (tmp_path / "plan.yaml").read_bytes() == kept
    assert (tmp_path / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_folds_have_one_config_and_predict_together(extractor: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    """Fold K of stage two starts from fold K of stage one; members must not differ in what model.json holds."""
    preset = PRESET | {"loop": {"iterations_per_epoch": 6, "epochs": 1}}
    for stage, settings, options in (
        ("one", preset, {}),
        ("two", preset | WITH_FEATURES, {"init": tmp_path / "one", "extractor": extractor[0]}),
    ):
        for fold in (0, 1):
            run = training_run(data, tmp_path / stage / f"fold_{fold}", settings, **options)
            object.__setattr__(run, "fold", fold)
            object.__setattr__(run, "validation", (f"1EXA00{fold + 1}",))
            run.run_dir.mkdir(parents=True)
            train(run)
    members = open_model(tmp_path / "two").members
    assert len(members) == 2
    assert members[0].card.config == members[1].card.config
    assert members[0].card.sha256 != members[1].card.sha256
    out = tmp_path / "out"
    predict("nnresunet-afp", data / "1EXA003", out, model=tmp_path / "two", device="cpu")
    assert (out / "1EXA003.mha").exists()


@pytest.mark.slow
def test_without_an_extractor_stage_two_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "2.yaml", **WITH_FEATURES)
    outcome = synthct("train", "nnresunet-afp", data, tmp_path / "run", "--config", settings, **ONE_THREAD)
    assert outcome.code == 2
    assert outcome.reason.startswith("error: the preset compares features, and no extractor is named; expected --extr")
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"random_extractor": True}, "--extractor"),
        ({"extractor": Path("somewhere")}, "--extractor"),
        ({"plan_file": Path("plan.yaml")}, "--plan"),
    ],
)
def test_algorithms_without_features_or_plans_refuse_the_options(
    options: dict[str, Any], named: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{named} is nothing that pix2pix-pelvis uses"):
        train_command("pix2pix-pelvis", data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
