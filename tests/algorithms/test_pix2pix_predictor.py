"""Predicting with a generator: normalised, swept, inverted and finished as by hand; folders that hold no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Array, make_volume
from pix2pix_runs import CPU, settings

from algorithms.pix2pix_pelvis.network import UNetGenerator
from algorithms.pix2pix_pelvis.predictor import ModelConfig, load
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.weights import ModelFolder, open_model, save_model

PATCH = (4, 8, 8)


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    torch.manual_seed(4)
    config = ModelConfig(
        network=settings().network,
        sweep=SweepSettings(patch=PATCH),
        image=LinearScale(low=0, high=4000, scale=1000),
        ct=LinearScale(low=-1024, high=3071, scale=1000),
    )
    return save_model(
        tmp_path / "model",
        UNetGenerator(config.network).state_dict(),
        half=False,
        algorithm="pix2pix-pelvis",
        tasks=(Task.MRI,),
        regions=(Region.PELVIS,),
        config=config.model_dump(mode="json"),
    )


def make_case(shape: tuple[int, int, int]) -> tuple[Case, Array]:
    """MR between 300 and 5000, so that beyond its edge lies another value than its own least; the mask is not all."""
    rng = np.random.default_rng(7)
    image, mask = rng.integers(300, 5000, shape).astype(np.int16), (rng.random(shape) > 0.3).astype(np.uint8)
    return Case("1PA001", Task.MRI, Region.PELVIS, make_volume(image), make_volume(mask)), mask > 0


def by_hand(image: Array) -> Array:
    """One window: MR clipped to 4000, divided by 1000, padded at the far end with 0, translated, times 1000."""
    torch.manual_seed(4)
    generator = UNetGenerator(settings().network).eval()
    padded = np.zeros(PATCH, np.float32)
    z, y, x = image.shape
    padded[:z, :y, :x] = np.minimum(image, 4000) / np.float32(1000)
    with torch.inference_mode():
        output = generator(torch.from_numpy(padded)[None, None])[0, 0].numpy()
    return np.asarray(output[:z, :y, :x] * 1000)


@pytest.mark.filterwarnings("ignore:1PA001. MR values:UserWarning")
@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 8, 5), (1, 2, 8)])
def test_prediction_by_hand(model: ModelFolder, shape: tuple[int, int, int]) -> None:
    case, inside = make_case(shape)
    steps: list[tuple[int, int]] = []
    prediction = load(model, Engine(CPU)).predict(case, advance=lambda done, total: steps.append((done, total)))
    made = prediction.volume.voxels
    expected = np.clip(by_hand(case.image.voxels), -1024, 3071)
    assert made.dtype == np.int16
    assert np.ptp(expected[inside]) > 100
    np.testing.assert_allclose(made[inside], expected[inside], atol=0.51)
    assert np.all(made[~inside] == -1000)
    assert prediction.volume.geometry == case.image.geometry
    assert prediction.spread is None
    assert steps == [(1, 1)]


@pytest.mark.filterwarnings("ignore:1PA001. MR values:UserWarning")
def test_every_voxel_of_the_mask_comes_from_the_network(model: ModelFolder) -> None:
    """The windows of a larger volume: half a patch apart, those without a voxel of the mask left out."""
    case, inside = make_case((6, 14, 12))
    inside[:, 8:] = False
    case.mask.voxels[:] = inside
    steps: list[tuple[int, int]] = []
    made = load(model, Engine(CPU)).predict(case, advance=lambda done, total: steps.append((done, total))).volume.voxels
    assert np.all(made[~inside] == -1000)
    assert np.count_nonzero(made[inside] == 0) < 0.02 * np.count_nonzero(inside)
    assert len(steps) == steps[-1][1] < 2 * 3 * 2 + 1


def change_card(model: ModelFolder, **changes: Any) -> ModelFolder:
    path = model.path / "model.json"
    card = json.loads(path.read_text())
    card["config"] |= changes
    path.write_text(json.dumps(card))
    return open_model(model.path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sweep": {"patch": [4, 8, 9]}}, "is no multiple of the strides' product"),
        ({"sweep": {"patch": [4, 8, 8], "step": 0}}, r"model: settings do not fit pix2pix-pelvis \(sweep\.step: "),
        ({"tile": 3}, r"model: settings do not fit pix2pix-pelvis \(tile: "),
        ({"network": {}}, r"model: settings do not fit pix2pix-pelvis \(config: .* is no multiple"),
        ({"network": settings().network.model_dump() | {"widths": (7, 12)}}, "encoder.0.0.0.weight has shape .* expec"),
    ],
)
def test_card_that_does_not_fit(model: ModelFolder, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint) as caught:
        load(change_card(model, **changes), Engine(CPU))
    assert caught.value.exit_code == 4


def test_missing_tensor_is_refused(model: ModelFolder) -> None:
    tensors = UNetGenerator(settings().network).state_dict()
    del tensors["head.weight"]
    card = model.card.model_dump(exclude={"sha256", "format"})
    with pytest.raises(WeightsError, match=r"weights\.safetensors: holds no head\.weight"):
        load(save_model(model.path, tensors, half=False, **card), Engine(CPU))


@pytest.mark.parametrize(("low", "high", "share"), [(-2000, -1, 1.0), (5000, 9000, 1.0), (700, 701, 0.0)])
def test_mr_on_another_scale_is_warned_of(model: ModelFolder, low: int, high: int, share: float) -> None:
    """All below the range, all above it, and a constant image."""
    voxels = np.random.default_rng(3).integers(low, high, PATCH).astype(np.int16)
    case = Case("1PA001", Task.MRI, Region.PELVIS, make_volume(voxels), make_volume(np.ones(PATCH, np.uint8)))
    with pytest.warns(UserWarning, match=r"1PA001: MR values .* are not those the model was trained on"):
        prediction = load(model, Engine(CPU)).predict(case)
    assert prediction.notes["clipped_share"] == share


def test_mr_on_the_trained_scale_is_not(model: ModelFolder) -> None:
    voxels = np.random.default_rng(3).integers(0, 2000, PATCH).astype(np.int16)
    case = Case("1PA001", Task.MRI, Region.PELVIS, make_volume(voxels), make_volume(np.ones(PATCH, np.uint8)))
    assert load(model, Engine(CPU)).predict(case).notes["clipped_share"] == 0.0
