"""`synthct train creps-cgan` as a user runs it: cases that are no pairs in, a model folder out, which predicts."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from commands.command_line import Outcome, files_below, synthct
from creps_settings import DISCRIMINATOR_SHAPE, GENERATOR_SHAPE, save_tiny_convnext
from rich.progress import Progress
from safetensors.numpy import load_file

from algorithms.creps_cgan import recipe
from algorithms.creps_cgan.about import ABOUT
from algorithms.presets import read_preset
from algorithms.training import Launcher, TrainingRun
from algorithms.unpaired import reference_patients
from synthct.dataset import find_cases
from synthct.phantom import make_phantom
from synthct.training.patches import Fill, Patch, UnpairedSampler
from synthct.volume import write_volume

SETTINGS: dict[str, Any] = {
    "network": GENERATOR_SHAPE,
    "discriminator": DISCRIMINATOR_SHAPE,
    "sampling": {"patch": [24, 24, 24]},
    "loop": {"iterations_per_epoch": 2, "epochs": 2, "log_interval": 1, "schedule": "fixed"},
    "batch": 2,
    "disjoint": True,
    "validation_cases": ["1EXA004"],
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases with their CT, the last to validate, and a fifth without one."""
    root = tmp_path_factory.mktemp("data")
    for number in range(1, 6):
        folder = root / f"1EXA00{number}"
        folder.mkdir()
        phantom = make_phantom("limb", seed=number, size=(30, 28, 26), spacing=(4.0, 4.0, 4.0))
        for volume, name in ((phantom.image, "mr"), (phantom.mask, "mask"), (phantom.reference, "ct")):
            if (number, name) != (5, "ct"):
                write_volume(volume, folder / f"{name}.mha")
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_convnext(tmp_path_factory.mktemp("extractor"), slice_step=12)


def write_settings(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(json.loads(json.dumps(SETTINGS | changes))))
    return path


def train(data: Path, run_dir: Path, *options: str | Path, **changes: Any) -> Outcome:
    config = write_settings(run_dir.parent / f"{run_dir.name}.yaml", **changes)
    return synthct("train", "creps-cgan", data, run_dir, "--config", config, "--device", "cpu", *options, **ONE_THREAD)


@pytest.fixture(scope="module")
def trained(data: Path, extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    run_dir = tmp_path_factory.mktemp("run") / "model"
    return run_dir, train(data, run_dir, "--extractor", extractor)


@pytest.mark.slow
def test_run_makes_a_model_of_the_generator(trained: tuple[Path, Outcome]) -> None:
    run_dir, outcome = trained
    assert outcome.code == 0, outcome.err
    card = json.loads((run_dir / "model.json").read_text())
    assert (card["algorithm"], card["tasks"], card["regions"]) == ("creps-cgan", ["mri"], ["EX"])
    config = card["config"]
    assert config["network"] == {
        **GENERATOR_SHAPE,
        "negative_slope": 0.2,
        "upsampling": "trilinear",
        "rank_start": False,
    }
    sweep = config["sweep"]
    assert (sweep["rule"], sweep["merging"], sweep["step"]) == ("monai", "median-upper", 0.5)
    assert (config["image"]["low"], config["image"]["high"], config["image"]["scale"]) == (0.0, 2000.0, 1000.0)
    assert (config["ct"]["low"], config["ct"]["high"], config["ct"]["scale"]) == (-1000.0, 3000.0, 1000.0)
    tensors = load_file(run_dir / "weights.safetensors")
    weights = 27 * (2 + 8 + 16 + 16 + 8 + 4) + 2  # convolutions without biases, then the head
    norms = 4 * (2 + 4 + 4 + 4 + 2 + 2)  # weight, bias, running mean and variance
    assert sum(tensor.size for name, tensor in tensors.items() if "num_batches" not in name) == weights + norms


@pytest.mark.slow
def test_no_patient_gives_both_and_the_log_says_so(trained: tuple[Path, Outcome]) -> None:
    run_dir, outcome = trained
    assert "unpaired: images of 3 cases, CTs of 1, no patient in both" in outcome.err
    assert re.findall(r"iteration ([0-9]+): validation mae_hu", outcome.err) == ["2", "4"]
    assert json.loads((run_dir / "model.json").read_text())["trained_on"] == "4 cases (RANDOM feature extractor)"
    header = (run_dir / "history.csv").read_text().splitlines()[0]
    assert {"style", "adversarial", "generator_loss", "discriminator_loss"} <= set(header.split(","))


@pytest.mark.slow
def test_random_features_stay_marked(trained: tuple[Path, Outcome]) -> None:
    run_dir, outcome = trained
    assert "the feature extractor's weights are RANDOM" in outcome.err
    card = json.loads((run_dir / "model.json").read_text())
    assert card["random_features"] is True
    assert len(card["extractors"]) == 1


@pytest.mark.slow
def test_model_predicts(trained: tuple[Path, Outcome], data: Path, tmp_path: Path) -> None:
    outcome = synthct("predict", "creps-cgan", data / "1EXA004", tmp_path, "--model", trained[0], **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    made, image = (sitk.ReadImage(str(path)) for path in (tmp_path / "1EXA004.mha", data / "1EXA004" / "mr.mha"))
    assert (made.GetSize(), made.GetSpacing(), made.GetOrigin()) == (
        image.GetSize(),
        image.GetSpacing(),
        image.GetOrigin(),
    )
    hu = sitk.GetArrayFromImage(made)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "1EXA004" / "mask.mha"))) > 0
    assert np.all(hu[~mask] == -1000)
    assert hu[mask].std() > 1
    notes = json.loads((tmp_path / "manifest.json").read_text())["cases"][0]
    assert notes["sweep"]["merging"] == "median-upper"


@pytest.mark.slow
def test_a_finished_run_resumes_to_the_same_weights(
    trained: tuple[Path, Outcome], data: Path, extractor: Path, tmp_path: Path
) -> None:
    half, whole = tmp_path / "half", trained[0] / "weights.safetensors"
    assert train(data, half, "--extractor", extractor, "--max-steps", "2").code == 0
    resumed = train(data, half, "--extractor", extractor, "--resume")
    assert resumed.code == 0, resumed.err
    assert (half / "weights.safetensors").read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_without_a_style_loss_no_extractor_is_needed_or_taken(data: Path, extractor: Path, tmp_path: Path) -> None:
    outcome = train(data, tmp_path / "run", style_weight=0.0, consistency_weight=1.0)
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert (card["extractors"], card["random_features"], card["trained_on"]) == ([], False, "4 cases")
    refused = train(data, tmp_path / "other", "--extractor", extractor, style_weight=0.0)
    assert refused.code == 2
    assert refused.reason == "error: --extractor is given, but setting 'style_weight' is 0; expected it above 0"


@pytest.mark.slow
def test_a_style_loss_wants_an_extractor_by_name(data: Path, tmp_path: Path) -> None:
    outcome = train(data, tmp_path / "run")
    assert outcome.code == 2
    assert "no extractor is named; expected --extractor DIR" in outcome.reason
    assert not (tmp_path / "run" / "model.json").exists()


@pytest.mark.slow
def test_plans_and_other_algorithms_extractors_are_refused(data: Path, extractor: Path, tmp_path: Path) -> None:
    outcome = train(data, tmp_path / "run", "--plan", tmp_path / "plan.yaml")
    assert outcome.code == 2
    assert "--plan is nothing that creps-cgan uses; expected an algorithm with setting 'plan'" in outcome.reason
    other = synthct("train", "pix2pix-pelvis", data, tmp_path / "p", "--extractor", extractor)
    assert other.code == 2
    assert "expected an algorithm with setting 'afp_weight' or 'style_weight'" in other.reason
    assert files_below(tmp_path / "run") == files_below(tmp_path / "p") == []


@pytest.mark.parametrize(
    ("preset", "spacing", "patch"),
    [("pelvis", [2.5, 1.0, 1.0], (32, 224, 224)), ("brain", [1.0, 1.0, 1.0], (66, 168, 168))],
)
def test_presets_are_the_papers(preset: str, spacing: list[float], patch: tuple[int, int, int]) -> None:
    from algorithms.creps_cgan.plan import describe
    from algorithms.creps_cgan.settings import RecipeConfig

    settings = read_preset(ABOUT, preset)
    config = RecipeConfig.model_validate(settings)
    assert describe(settings)[1] == patch
    assert round(describe(settings)[0] / 1e6, 3) == 1.468
    assert settings["spacing"] == spacing
    assert (config.batch, config.loop.epochs, config.loop.schedule, config.loop.clip_norm) == (8, 200, "fixed", None)
    assert (config.learning_rate, config.weight_decay, config.style_weight) == (1e-4, 1e-3, 20.0)
    assert (config.sampling.augment, config.style_reduction, config.disjoint) == (False, "sum", False)
    assert (config.windows.step, config.windows.rule, config.windows.merging) == (0.5, "monai", "median-upper")
    assert config.consistency_weight == 0.0


class Watched(UnpairedSampler):
    """The sampler of a run, and the patches that it gave."""

    made: ClassVar[list[Watched]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fill: Fill = arguments[3]
        self.given: list[Patch] = []
        self.made.append(self)

    def patch(self, index: int) -> Patch:
        self.given.append(super().patch(index))
        return self.given[-1]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    Watched.made.clear()
    monkeypatch.setattr(recipe, "UnpairedSampler", Watched)
    return Watched.made


def run_here(data: Path, run_dir: Path, **changes: Any) -> None:
    settings = json.loads(json.dumps(SETTINGS | {"style_weight": 0.0} | changes))
    run = TrainingRun(tuple(find_cases(data)), run_dir, settings, Progress(disable=True), Launcher("cpu"), max_steps=4)
    recipe.train(replace(run, cache=run_dir.parent / "cache"))


def test_images_are_of_one_half_and_cts_of_the_other(data: Path, tmp_path: Path, watched: list[Watched]) -> None:
    """Four iterations of batch 2; 1EXA004 is held out, 1EXA002 left out, and 1EXA005 has no CT."""
    run_here(data, tmp_path / "run", excluded_cases=["1EXA002"])
    (sampler,) = watched
    assert sampler.fill == (0.0, -1.0)
    references = reference_patients(["1EXA001", "1EXA003", "1EXA004"]) - {"EXA004"}
    images = {"EXA001", "EXA003", "EXA005"} - references
    assert len(sampler.given) == 8
    assert {patch.image_case[1:] for patch in sampler.given} <= images
    assert {patch.reference_case[1:] for patch in sampler.given} == references


def test_another_spacing_takes_other_volumes_from_the_same_cache(
    data: Path, tmp_path: Path, watched: list[Watched]
) -> None:
    run_here(data, tmp_path / "own")
    run_here(data, tmp_path / "wide", spacing=[4.5, 4.5, 4.5])
    shapes = {np.load(path, mmap_mode="r").shape for path in (tmp_path / "cache").glob("1EXA001-*/image.npy")}
    assert shapes == {(26, 28, 30), (23, 25, 27)}
    assert len(watched) == 2


@pytest.mark.slow
def test_a_fold_that_holds_out_a_case_without_ct_is_refused_before_any_trains(data: Path, tmp_path: Path) -> None:
    folds = [{"train": ["1EXA001", "1EXA002"], "val": ["1EXA003"]}, {"train": ["1EXA001"], "val": ["1EXA005"]}]
    (tmp_path / "splits.json").write_text(json.dumps(folds))
    outcome = train(data, tmp_path / "run", "--fold", "all", "--splits", tmp_path / "splits.json", style_weight=0.0)
    assert outcome.code == 3
    assert "fold 1 holds out 1EXA005, which has no CT; expected cases that can judge" in outcome.reason
    assert files_below(tmp_path / "run") == []


@pytest.mark.slow
def test_a_run_does_not_go_on_with_an_extractor_that_sees_otherwise(
    trained: tuple[Path, Outcome], data: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "model"
    shutil.copytree(trained[0], run_dir)
    other = save_tiny_convnext(tmp_path / "extractor", slice_step=6)
    outcome = train(data, run_dir, "--extractor", other, "--resume")
    assert outcome.code == 4
    assert "checkpoint.pt" in outcome.reason
    style = json.loads((trained[0] / "model.json").read_text())["config"]["style"]
    assert (style["weight"], style["network"]["slice_step"], style["network"]["intensity"]) == (20.0, 12, "fixed")
