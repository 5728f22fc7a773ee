"""The ablation program: what its arms are, what it computes of a case, and one arm from data to rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builders import make_volume

from algorithms.interface import find_algorithm
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.presets import read_preset
from algorithms.spade_afp.settings import RecipeConfig as SpadeRecipe
from algorithms.training import check_settings
from benchmarks import ablations
from benchmarks.ablation_arms import ARMS, PATCH, Stage, chosen_arms, stage_settings, write_plans, write_settings
from benchmarks.ablation_runs import bone_scores
from synthct.dataset import find_cases
from synthct.errors import InputError, UsageError
from synthct.features.backbones import build_backbone, read_settings
from synthct.features.folder import save_extractor
from synthct.intensity import ZScore
from synthct.networks.state import own_tensors
from synthct.phantom import make_phantom
from synthct.planning.plan import Plan
from synthct.training.folds import Splits
from synthct.training.patches import GAIN
from synthct.volume import write_volume

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ("1EXA001", "1EXA002", "1EXA003", "1EXA004")
TEST_CASE = "1EXA010"
EXTRACTOR = {
    "kind": "plain",
    "features": [4, 8],
    "kernels": [[1, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2]],
    "upsampling": "transposed",
    "output_channels": 3,
}


def save_extractor_of(folder: Path, seed: int = 3) -> Path:
    backbone = build_backbone("nnunet", read_settings("nnunet", EXTRACTOR), seed=seed)
    units = ZScore(mean=20.0, std=400.0, low=-900.0, high=1500.0)
    layers = ("encoder.0", "decoder.0")
    tensors = own_tensors(backbone.stored)
    save_extractor(folder, tensors, kind="nnunet", network=EXTRACTOR, normalisation=units, layers=layers, random=True)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four limbs and a test limb that nobody could read."""
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(TRAINED):
        folder = root / "Task1" / "EX" / name
        folder.mkdir(parents=True)
        phantom = make_phantom("limb", seed=seed, size=(64, 64, 12), spacing=(2.0, 2.0, 6.0))
        for stem, volume in (("mr", phantom.image), ("ct", phantom.reference), ("mask", phantom.mask)):
            write_volume(volume, folder / f"{stem}.mha")
    unread = root / "Task1" / "EX" / TEST_CASE
    unread.mkdir()
    for stem in ("mr", "ct", "mask"):
        (unread / f"{stem}.mha").write_bytes(b"no image")
    return root


def settings_of(name: str) -> list[dict[str, Any]]:
    return [stage_settings(ARMS[name], stage, 500) for stage in ARMS[name].stages]


def test_every_arm_is_a_preset_of_the_recipe(tmp_path: Path) -> None:
    for name, arm in ARMS.items():
        files = write_settings(tmp_path, name, 500)
        read = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
        presets: list[Any] = [check_settings(find_algorithm(arm.algorithm), settings) for settings in read]
        assert sum(preset.loop.iterations for preset in presets) == 500
        assert [preset.afp_weight > 0 for preset in presets] == [stage.afp for stage in arm.stages]
        assert arm.needs_extractor == any(preset.afp_weight for preset in presets)
        for preset in presets:
            assert preset.loop.validation_interval == preset.loop.iterations  # so the last weights are kept
            if arm.algorithm == "spade-afp":
                continue
            assert preset.l1_weight == (5.0 if preset.afp_weight else 1.0)
            assert (preset.optimiser, preset.loop.clip_norm, preset.augment) == ("adam", None, True)


def test_arms_differ_in_what_they_are_about_alone() -> None:
    base = settings_of("l1")
    assert settings_of("plain") == settings_of("hybrid") == settings_of("transposed") == base
    assert settings_of("afp") == settings_of("afp-random")
    afp = settings_of("afp")[0]
    assert {key for key in afp if afp[key] != base[0][key]} == {"l1_weight", "afp_weight"}
    again = settings_of("l1-again")[0]
    assert {key for key in again if again[key] != base[0][key]} == {"loop"}
    assert {key for key in again["loop"] if again["loop"][key] != base[0]["loop"][key]} == {"seed"}
    first, second = settings_of("two-stage")
    assert [stage["loop"]["iterations_per_epoch"] for stage in (first, second)] == [250, 250]
    assert second["learning_rate"] == pytest.approx(first["learning_rate"] / 10)
    assert (first["afp_weight"], second["afp_weight"]) == (0.0, 1.0)


def test_arms_of_spade_differ_in_afp_alone_and_share_the_rest_with_all() -> None:
    (one,), (other,) = settings_of("spade-l1"), settings_of("spade-l1-afp")
    assert {key for key in one if one[key] != other[key]} == {"afp_weight"}
    assert (one["afp_weight"], other["afp_weight"]) == (0.0, 1.0)
    config, base = SpadeRecipe.model_validate(one), RecipeConfig.model_validate(settings_of("l1")[0])
    starter = SpadeRecipe.model_validate(read_preset(find_algorithm("spade-afp"), "starter"))
    assert config.loop == base.loop
    assert (config.generator, config.discriminator) == (starter.generator, starter.discriminator)
    assert (config.rates, config.l1_weight) == (starter.rates, 10.0)
    assert config.sampling.model_dump(exclude={"patch", "gain"}) == base.sampling(PATCH, GAIN).model_dump(
        exclude={"patch", "gain"}
    )
    assert config.sampling.patch == config.windows.patch == PATCH
    assert (config.windows.step, config.windows.merging, config.batch) == (0.5, "median-lower", 1)
    assert config.validation_cases == config.excluded_cases == ()  # folds and --exclude say it
    later = stage_settings(ARMS["spade-l1"], Stage(rate=0.1), 500)
    assert later["learning_rate"] == pytest.approx(one["learning_rate"] / 10)


def test_plans_share_everything_but_the_network(data: Path, tmp_path: Path) -> None:
    cases = [files for files in find_cases(data) if files.id in TRAINED]
    folder = write_plans(tmp_path / "plans", cases)
    plans = {path.stem: Plan.read(path) for path in folder.iterdir()}
    assert sorted(plans) == ["hybrid-trilinear", "plain-trilinear", "residual-transposed", "residual-trilinear"]
    shared = [plan.model_dump(exclude={"network"}) for plan in plans.values()]
    assert shared == [shared[0]] * 4
    assert (shared[0]["patch"], shared[0]["batch"], shared[0]["cases"]) == ((16, 64, 64), 1, 4)
    for name, plan in plans.items():
        assert name == f"{plan.network.kind}-{plan.network.upsampling}"
    (folder / "plain-trilinear.yaml").write_text("kept")
    assert write_plans(folder, []) == folder
    assert (folder / "plain-trilinear.yaml").read_text() == "kept"


def test_bone_scores_by_hand() -> None:
    """A cube of 4 voxels that lies one slice of 3 mm off."""
    ct, sct, mask = (np.full((12, 12, 12), value, np.int16) for value in (0, 0, 1))
    ct[4:8, 4:8, 4:8] = 150
    sct[5:9, 4:8, 4:8] = 900
    sct[0, 0, 0] = 149
    reference, prediction, inside = (make_volume(voxels) for voxels in (ct, sct, mask))
    assert bone_scores(reference, reference, inside, 2.0) == {"hd95_bone": 0.0, "nsd_surfel_bone": 1.0}
    moved = bone_scores(reference, prediction, inside, 2.0)
    assert moved["hd95_bone"] == 3.0
    assert 0.3 < (moved["nsd_surfel_bone"] or 0) < 0.9
    assert bone_scores(reference, prediction, inside, 3.0)["nsd_surfel_bone"] == 1.0
    soft = reference.with_voxels(np.zeros_like(ct))
    assert bone_scores(reference, soft, inside, 2.0) == {"hd95_bone": None, "nsd_surfel_bone": 0.0}
    assert bone_scores(soft, soft, inside, 2.0) == {"hd95_bone": None, "nsd_surfel_bone": None}
    outside = inside.with_voxels((np.arange(12) < 3).astype(np.int16) * mask)
    assert bone_scores(reference, prediction, outside, 2.0) == {"hd95_bone": None, "nsd_surfel_bone": None}


def test_parts_share_the_runs() -> None:
    jobs = [(fold, name) for fold in range(3) for name in ARMS]
    halves = [ablations.share_of(jobs, f"{number}/2") for number in (1, 2)]
    assert sorted(halves[0] + halves[1]) == sorted(jobs)
    assert ablations.share_of(jobs, "1/1") == jobs
    for text in ("3/2", "0/2", "1", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(UsageError, match="expected one like 1/2"):
            ablations.share_of(jobs, text)


def test_arms_by_name() -> None:
    assert chosen_arms("") == tuple(ARMS)
    assert chosen_arms("plain, l1,plain") == ("plain", "l1")
    with pytest.raises(UsageError, match="arm 'l2' is unknown; expected some of l1, afp"):
        chosen_arms("l1,l2")
    with pytest.raises(UsageError, match="expected 2 or more"):
        stage_settings(ARMS["two-stage"], ARMS["two-stage"].stages[0], 1)


def test_what_is_refused_before_anything_runs(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--extractor is missing"):
        ablations.run(data, tmp_path / "work", arms="l1,afp")
    with pytest.raises(UsageError, match="--only-fold 2 is no fold; expected 0 to 1"):
        ablations.run(data, tmp_path / "work", arms="l1", folds=2, only_fold=2)
    with pytest.raises(UsageError, match="holds 2 folds, --folds says 3"):
        ablations.run(data, tmp_path / "work", arms="l1", folds=3)
    with pytest.raises(InputError, match=r"ablations.json: cannot be read"):
        ablations.report(tmp_path / "work")


@pytest.mark.slow
def test_one_arm_from_data_to_report(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two stages, so that weights are handed over and features compared; the extractor is random and tiny."""
    work, extractor = tmp_path / "work", save_extractor_of(tmp_path / "extractor")

    def run(**changes: Any) -> None:
        ablations.run(
            data, work, extractor, **{"folds": 2, "iterations": 4, "arms": "two-stage", "only_fold": 1} | changes
        )

    run()
    splits = Splits.read(work / "splits.json")
    assert sorted(splits.folds[0].val + splits.folds[1].val) == list(TRAINED)
    content = json.loads((work / "scores/two-stage/fold_1/rows.json").read_text())
    assert [row["case"] for row in content["rows"]] == list(splits.folds[1].val)
    assert content["seconds"] > 0
    for row in content["rows"]:
        assert row["mae"] > 0
        assert 0 <= row["nsd_surfel_bone"] <= 1
        assert row["checkerboard"] == pytest.approx((row["checkerboard_2"] * row["checkerboard_4"]) ** 0.5)
    stages = [work / f"runs/two-stage/stage_{number}/fold_1/model.json" for number in (1, 2)]
    cards = [json.loads(path.read_text()) for path in stages]
    digest = json.loads((extractor / "extractor.json").read_text())["sha256"]
    assert [card["extractors"] for card in cards] == [[], [digest]]
    assert "RANDOM feature extractor" in content["trained_on"]

    kept = {path: path.stat().st_mtime_ns for path in (*stages, work / "scores/two-stage/fold_1/rows.json")}
    run()
    run(part="2/2")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(UsageError, match="iterations is 4, this call has 6"):
        run(iterations=6)
    with pytest.raises(UsageError, match="extractor is"):
        ablations.run(data, work, save_extractor_of(tmp_path / "other", seed=4), folds=2, iterations=4)

    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "benchmarks.ablations", "report", str(work), "--markdown", str(page)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert "two-stage: L1, then 5 L1 + AFP (half each), RANDOM extractor | 2 |" in page.read_text(encoding="utf-8")
    assert f"sha256 `{digest}`, RANDOM weights" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    ablations.report(work)
    assert capsys.readouterr().out.strip() in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_arm_of_spade_from_data_to_rows(data: Path, tmp_path: Path) -> None:
    """No plan is made for it, and its own grid lets the checkerboard be told."""
    ablations.run(
        data,
        tmp_path,
        save_extractor_of(tmp_path / "extractor"),
        folds=2,
        iterations=2,
        arms="spade-l1-afp",
        only_fold=0,
    )
    content = json.loads((tmp_path / "scores/spade-l1-afp/fold_0/rows.json").read_text())
    assert len(content["rows"]) == 2
    assert all(row["mae"] > 0 and row["checkerboard"] is not None for row in content["rows"])
    card = json.loads((tmp_path / "runs/spade-l1-afp/stage_1/fold_0/model.json").read_text())
    assert (card["algorithm"], card["extractors"]) == ("spade-afp", content["extractors"])
    assert card["random_features"] is True


@pytest.mark.slow
def test_a_command_that_fails_is_named_with_its_last_line(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "cache").parent.mkdir()
    (work / "cache").write_text("no folder")
    command = [sys.executable, "-m", "benchmarks.ablations", "run", str(data), str(work)]
    options = ["--arms", "l1", "--folds", "2", "--iterations", "4", "--only-fold", "0"]
    outcome = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"error: {work}/logs/l1-fold_0.log: synthct train ended with exit code 3: ")
    assert "cache" in outcome.stderr.split("exit code 3: ")[1]
