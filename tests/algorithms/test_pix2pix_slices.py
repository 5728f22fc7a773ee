"""pix2pix-pelvis slice by slice, end to end: trained and used by command, swept one slice deep."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from builders import make_volume
from commands.command_line import files_below, synthct
from pix2pix_runs import CPU, save_case

from algorithms.pix2pix_pelvis.network import NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.predictor import ModelConfig, Pix2PixPredictor
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale

FLAT: dict[str, Any] = {
    "dimensions": 2,
    "widths": [4, 6],
    "strides": [[1, 2, 2]],
    "kernels": [[1, 3, 3], [1, 3, 3]],
    "discriminator_width": 4,
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def predictor(batch: int | None = None, seen: list[tuple[int, ...]] | None = None) -> Pix2PixPredictor:
    """The same network each time; it notes the shapes that it sees."""
    torch.manual_seed(3)
    shapes = [] if seen is None else seen
    config = ModelConfig(
        network=NetworkConfig.model_validate(FLAT),
        sweep=SweepSettings(patch=(1, 8, 8)),
        image=LinearScale(low=0, high=4000, scale=1000),
        ct=LinearScale(low=-1024, high=3071, scale=1000),
    )
    generator = UNetGenerator(config.network)
    generator.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    return Pix2PixPredictor([generator], config, Engine(CPU, batch=batch))


def case_of(image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> Case:
    return Case("1PA001", Task.MRI, Region.PELVIS, make_volume(image), make_volume(mask))


@pytest.mark.parametrize("batch", [None, 4])
def test_a_volume_is_predicted_as_its_slices_are(batch: int | None) -> None:
    """Windows one slice deep, half a patch apart in-plane: 5 slices, (14 - 8) / 4 and (11 - 8) / 4 rounded up, + 1."""
    rng = np.random.default_rng(7)
    image = rng.integers(300, 3900, (5, 14, 11)).astype(np.int16)
    mask = np.ones(image.shape, np.uint8)
    whole = predictor(batch).predict(case_of(image, mask))
    assert whole.notes["sweep"]["windows"] == 5 * 3 * 2
    assert np.ptp(whole.volume.voxels) > 100
    for number in range(5):
        one = slice(number, number + 1)
        alone = predictor().predict(case_of(image[one], mask[one])).volume.voxels
        np.testing.assert_allclose(whole.volume.voxels[one], alone, atol=1)  # a batch may round the last digit


def test_windows_without_the_mask_are_skipped_slice_by_slice() -> None:
    """The mask is one slice, grown by one above and below: 3 of 6, and of 2 windows in each both."""
    image, mask = np.full((6, 8, 12), 500, np.int16), np.zeros((6, 8, 12), np.uint8)
    mask[2], image[2, 0, 0] = 1, 900
    made = predictor().predict(case_of(image, mask))
    assert (made.notes["sweep"]["windows"], made.notes["sweep"]["skipped"]) == (6, 6)
    assert np.all(made.volume.voxels[[0, 1, 3, 4, 5]] == -1000)


def test_the_network_sees_single_slices() -> None:
    seen: list[tuple[int, ...]] = []
    case = case_of(np.arange(3 * 8 * 8, dtype=np.int16).reshape(3, 8, 8), np.ones((3, 8, 8), np.uint8))
    predictor(seen=seen).predict(case)
    assert seen == [(1, 1, 1, 8, 8)] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "discriminator", [{}, {"receptive_field": 16, "output_grid": 2}], ids=["field of 9", "grid of 2"]
)
def test_trained_and_used_by_command(tmp_path: Path, discriminator: dict[str, Any]) -> None:
    """Two steps on phantoms, patches turned and flipped, four slices a batch; then a prediction."""
    data, run_dir, out = (tmp_path / name for name in ("data", "run", "out"))
    for seed, name in enumerate(("1EXA001", "1EXA002")):
        save_case(data, name, seed)
    settings = {
        "network": FLAT,
        "discriminator": discriminator,
        "sampling": {"patch": [1, 16, 16], "augment": True},
        "sweep": {"patch": [1, 32, 32]},
        "loop": {"log_interval": 1, "precision": "bf16-mixed"},
        "batch": 4,
        "validation_cases": ["1EXA002"],
    }
    config = tmp_path / "flat.yaml"
    config.write_text(yaml.safe_dump(settings))
    options = ("--config", config, "--max-steps", 2, "--device", "cpu")
    outcome = synthct("train", "pix2pix-pelvis", data, run_dir, *options, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    card = json.loads((run_dir / "model.json").read_text())["config"]
    assert card["network"]["dimensions"] == 2
    assert "discriminator" not in card, "it is training's alone"
    with (run_dir / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    told = [float(row[name]) for row in rows for name in ("real_said_real", "fake_said_real")]
    assert len(told) == 4
    assert all(0 < probability < 1 for probability in told)
    number = r"[0-9.]+(?:e-?[0-9]+)?"
    line = f"discriminator_loss {number}, real_said_real {number}, fake_said_real {number}, generator_loss {number},"
    assert len(re.findall(line, " ".join(outcome.err.split()))) == 2, outcome.err
    outcome = synthct("predict", "pix2pix-pelvis", data / "1EXA002", out, "--model", run_dir, **ONE_THREAD)
    assert outcome.code == 0, outcome.err
    assert files_below(out) == ["1EXA002.mha", "manifest.json"]
    hu, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (out / "1EXA002.mha", data / "1EXA002" / "mask.mha")
    )
    assert np.all(hu[mask == 0] == -1000)
    assert all(plane[inside > 0].std() > 1 for plane, inside in zip(hu, mask, strict=True) if inside.any())
