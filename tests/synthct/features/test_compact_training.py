"""The compact extractor's recipe: its loss by hand, its Dice by hand, and whole runs through the real command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands.command_line import synthct
from commands.limb_cases import save_limb

from synthct.errors import InputError, UsageError
from synthct.features.compact.labels import COMPACT_LABELS, TOTAL_GROUPS
from synthct.features.compact.objective import segmentation_loss
from synthct.features.compact.recipe import find_labelled_cases
from synthct.features.compact.settings import CompactSettings, read_settings
from synthct.features.compact.validation import class_dice
from synthct.features.folder import extractor_folder, open_extractor
from synthct.phantom import make_phantom
from synthct.volume import write_volume

TINY: dict[str, Any] = {
    "network": {
        "kind": "plain",
        "features": [4, 6, 8],
        "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "upsampling": "transposed",
        "output_channels": 7,
    },
    "spacing": [8.0, 8.0, 8.0],
    "patch": [8, 16, 16],
    "batch": 1,
    "foreground": 1.0,
    "loop": {"iterations_per_epoch": 30, "epochs": 1, "log_interval": 10, "precision": "fp32"},
    "learning_rate": 0.02,
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def save_pelvis(folder: Path, seed: int) -> Path:
    """A case folder of a small pelvis: organs, muscles, bones and vertebrae."""
    case = make_phantom("pelvis", seed=seed, size=(48, 36, 16), spacing=(8.0, 8.0, 8.0))
    folder.mkdir(parents=True)
    for name, volume in (("ct", case.reference), ("mask", case.mask), ("segmentation", case.segmentation)):
        write_volume(volume, folder / f"{name}.mha")
    return folder


def test_the_loss_by_hand() -> None:
    # two voxels, classes 0, 1, 2; the truth is 1 and 0
    logits = torch.tensor([[0.0, math.log(2.0)], [math.log(2.0), 0.0], [0.0, 0.0]]).reshape(1, 3, 1, 1, 2)
    labels = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    entropy, dice = segmentation_loss(logits, labels)
    # softmax: (1, 2, 1) / 4 and (2, 1, 1) / 4: the truth has 1/2 twice
    assert entropy.item() == pytest.approx(math.log(2.0))
    # class 1: 2 * 0.5 / (0.75 + 1); class 2 does not occur and counts nowhere
    assert dice.item() == pytest.approx(1 - 1.0 / 1.75, abs=1e-4)


def test_a_patch_of_background_alone_has_no_dice_loss() -> None:
    _, dice = segmentation_loss(torch.zeros(1, 3, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2))
    assert dice.item() == 0.0


def test_dice_by_hand() -> None:
    reference = np.array([1, 1, 4, 4, 0])
    found = class_dice(np.array([1, 0, 4, 4, 2]), reference)
    assert found == {"organs": pytest.approx(2 / 3), "bones": 1.0}


def test_the_defaults_are_the_published_network() -> None:
    settings = CompactSettings()
    assert settings.network.features == (32, 64, 128, 256, 320, 320)
    assert settings.network.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert (settings.network.output_channels, len(COMPACT_LABELS)) == (7, 6)
    assert settings.spacing == (3.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patch: [7, 16, 16]", "is no multiple"),
        ("network: {output_channels: 3}", "expected 7"),
        ("wrong: 1", "'wrong': Extra inputs"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_settings(tmp_path / "settings.yaml")


def test_the_starter_settings_are_valid() -> None:
    path = Path(__file__).parents[3] / "synthct/features/compact/configs/starter.yaml"
    assert read_settings(path).network.strides == CompactSettings().network.strides


def test_cases_need_labels(tmp_path: Path) -> None:
    save_limb(tmp_path / "1EXA001", reference=False)
    with pytest.raises(InputError, match="no case holds ct, mask and segmentation"):
        find_labelled_cases(tmp_path, TOTAL_GROUPS)
    with pytest.raises(InputError, match="no such folder"):
        find_labelled_cases(tmp_path / "none", TOTAL_GROUPS)


def test_the_word_starter_names_the_extractor_that_comes_along() -> None:
    assert extractor_folder(Path("starter")).parent.name == "features"
    assert extractor_folder(Path("mine/starter")) == Path("mine/starter")


def test_a_run_from_the_command_to_an_extractor(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        save_pelvis(tmp_path / "data" / f"1PA00{seed}", seed)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    call = ("features", "train", tmp_path / "data", tmp_path / "run", "--config", tmp_path / "tiny.yaml")
    options = ("--hold-out", "1PA003", "--device", "cpu", "--workers", "0", "--mark-starter")
    outcome = synthct(*call, *options, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "run/extractor.json").read_text())
    assert (card["kind"], card["random"], card["starter"]) == ("nnunet", False, True)
    assert card["labels"] == {str(label): name for label, name in COMPACT_LABELS.items()}
    extractor = open_extractor(tmp_path / "run")
    # three stages: one encoder stage and both decoder stages are compared
    assert extractor.layers == ("encoder.0", "decoder.0", "decoder.1")
    assert [maps.shape[1] for maps in extractor(torch.full((1, 1, 8, 16, 16), 40.0))] == [4, 6, 4]
    history = (tmp_path / "run/history.csv").read_text()
    assert "dice_bones" in history
    again = synthct(*call, *options, **ONE_THREAD)
    assert (again.code, "a run lies there already" in again.err) == (2, True)
    kept = read_settings(tmp_path / "run/config.yaml")
    assert kept == read_settings(tmp_path / "tiny.yaml").model_copy(update={"validation_cases": ("1PA003",)})
    (tmp_path / "tiny.yaml").unlink()
    longer = synthct(*call[:4], "--device", "cpu", "--mark-starter", "--resume", "--max-steps", "30", **ONE_THREAD)
    assert longer.code == 0, longer.err


def test_it_learns(tmp_path: Path) -> None:
    """Bone stands out by its HU: a few dozen steps must find most of it."""
    for seed in (1, 2):
        save_pelvis(tmp_path / "data" / f"1PA00{seed}", seed)
    settings = TINY | {"loop": TINY["loop"] | {"iterations_per_epoch": 120}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    call = ("features", "train", tmp_path / "data", tmp_path / "run", "--config", tmp_path / "tiny.yaml")
    outcome = synthct(*call, "--hold-out", "1PA002", "--device", "cpu", **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    told = [line for line in outcome.err.splitlines() if "validation" in line][-1]
    assert float(told.split("dice_bones ")[1].split(",")[0].split(" ")[0]) > 0.5, told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hold-out", "1EXA009"), "--hold-out 1EXA009 is no case"),
        (("--resume",), "checkpoint.pt: no such file"),
    ],
)
def test_calls_that_cannot_be_meant(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    save_pelvis(tmp_path / "data/1PA001", 1)
    outcome = synthct("features", "train", tmp_path / "data", tmp_path / "run", *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "run").exists()
