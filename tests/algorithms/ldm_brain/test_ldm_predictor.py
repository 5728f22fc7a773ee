"""Predicting with ldm-brain: by hand, every voxel of the mask, odd sizes, layouts, determinism, refused folders."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldm_models import constant_networks, head_case, model_config, random_networks, sampler, save_networks
from ldm_settings import CT
from pydantic import ValidationError

from algorithms.interface import Prediction
from algorithms.ldm_brain.codec import decode
from algorithms.ldm_brain.predictor import LdmPredictor, load
from synthct.dataset import Case
from synthct.errors import MemoryLimitError, WeightsError
from synthct.inference.engine import Engine
from synthct.intensity import CasePercentile, LinearScale
from synthct.outline import body_inside
from synthct.weights import open_model

CPU = torch.device("cpu")
PAINTED = 250


def predict(case: Case, *, engine: Engine | None = None, **changes: Any) -> Prediction:
    """With random weights."""
    return LdmPredictor([random_networks()], model_config(**changes), engine or Engine(CPU)).predict(case)


def painted(case: Case, **changes: Any) -> Prediction:
    """With networks that paint 250 HU, whatever they get."""
    units = (PAINTED - CT["offset"]) / CT["scale"]
    config = model_config(**{"sampling": {"steps": 1}} | changes)
    return LdmPredictor([constant_networks(units)], config, Engine(CPU)).predict(case)


def test_prediction_by_hand() -> None:
    """A volume that is one tile on the model's own grid: normalise, zero outside the body, sample, decode, HU."""
    case = head_case((16, 16, 16))
    made = predict(case, engine=Engine(CPU, seed=4))
    units = CasePercentile().apply(case.image.voxels)
    units[~body_inside(case.image, case.mask)] = 0.0
    networks = random_networks()
    latent = sampler(networks, seed=4).latent(torch.from_numpy(units))
    hu = LinearScale.model_validate(CT).invert(decode(networks.autoencoder, latent, (16, 16, 16)).numpy())
    inside = case.mask.voxels > 0
    wanted = np.rint(np.clip(hu, -1024, 3071))
    assert np.abs(made.volume.voxels - wanted)[inside].max() <= 1
    assert made.volume.voxels[inside].std() > 5
    assert np.all(made.volume.voxels[~inside] == -1000)
    assert made.spread is None
    assert made.notes == {
        "process": "ddpm",
        "steps": 2,
        "eta": 0.0,
        "samples": 1,
        "seed": 4,
        "layout": "tiles",
        "blend": "images",
        "tiles": 1,
        "spacing": [4.0, 4.0, 4.0],
        "precision": "fp32",
    }


@pytest.mark.parametrize("layout", ["tiles", "whole", "fit"])
def test_every_voxel_of_a_large_head_comes_from_the_network(layout: str) -> None:
    """165 x 248 x 222 mm, where the patch is 128 mm: what a crop or a blend with air left would not be 250 HU."""
    case = head_case((33, 50, 44), (5.0, 5.0, 5.0))
    made = painted(case, spacing=(8.0, 8.0, 8.0), sampling={"steps": 1, "layout": layout})
    inside = case.mask.voxels > 0
    assert set(np.unique(made.volume.voxels[inside])) == {PAINTED}
    assert set(np.unique(made.volume.voxels[~inside])) == {-1000}
    assert made.volume.geometry == case.image.geometry
    if layout == "fit":
        assert made.notes["tiles"] == 1
        assert made.notes["fit_scale"] == pytest.approx(14 * 8 / 250, abs=0.03)  # 250 mm into 14 of 16 voxels
        assert made.notes["spacing"] == pytest.approx([8 / made.notes["fit_scale"]] * 3, rel=0.05)
    else:
        assert made.notes["tiles"] == 1 if layout == "whole" else made.notes["tiles"] > 4
        assert "fit_scale" not in made.notes


@pytest.mark.parametrize("layout", ["tiles", "whole", "fit"])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((1, 20, 24), (4.0, 4.0, 4.0)),
        ((1, 5, 7), (1.0, 1.0, 5.0)),
        ((30, 33, 31), (2.0, 3.0, 1.0)),
        ((6, 40, 40), (1.5, 1.5, 12.0)),
        ((20, 1, 20), (4.0, 9.0, 4.0)),
        ((2, 2, 2), (0.5, 0.5, 0.5)),
    ],
)
def test_odd_thin_and_anisotropic_volumes(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], layout: str
) -> None:
    case = head_case(shape, spacing)
    whole = case.mask.with_voxels(np.ones(shape, np.uint8))  # up to the very edge
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(outline).*", category=UserWarning)  # some show no body
        made = painted(replace(case, mask=whole), sampling={"steps": 1, "layout": layout})
    assert set(np.unique(made.volume.voxels)) == {PAINTED}
    assert made.volume.geometry == case.image.geometry


def test_a_mask_of_scattered_voxels_is_filled() -> None:
    """Single voxels in two corners, each thinner than a voxel of the working grid."""
    case = head_case((40, 40, 40), (1.0, 1.0, 1.0))
    voxels = np.zeros((40, 40, 40), np.uint8)
    voxels[0, 0, 0] = voxels[39, 38, 37] = 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(outline).*", category=UserWarning)
        made = painted(replace(case, mask=case.mask.with_voxels(voxels)))
    assert made.volume.voxels[voxels > 0].tolist() == [PAINTED, PAINTED]
    assert np.count_nonzero(made.volume.voxels != -1000) == 2


def test_an_empty_mask_asks_no_network() -> None:
    case = head_case((8, 8, 8))
    made = painted(replace(case, mask=case.mask.with_voxels(np.zeros((8, 8, 8), np.uint8))))
    assert np.all(made.volume.voxels == -1000)
    assert made.notes == {"samples": 0}


def test_the_same_seed_gives_the_same_bits_in_any_order() -> None:
    networks, config = [random_networks()], model_config()
    one, two = head_case((16, 16, 16)), head_case((12, 14, 16), seed=1)
    forward = LdmPredictor(networks, config, Engine(CPU, seed=1))
    results = [forward.predict(case).volume.voxels for case in (one, two)]
    torch.manual_seed(123)  # whatever else draws numbers
    backward = LdmPredictor(networks, config, Engine(CPU, seed=1))
    again = [backward.predict(case).volume.voxels for case in (two, one)]
    assert np.array_equal(results[0], again[1])
    assert np.array_equal(results[1], again[0])
    other = LdmPredictor(networks, config, Engine(CPU, seed=2)).predict(one).volume.voxels
    assert not np.array_equal(other, results[0])


def test_rectified_flow_and_bf16_predict_too() -> None:
    case = head_case((16, 16, 16))
    exact = predict(case, noise={"kind": "rectified-flow"})
    rough = predict(case, noise={"kind": "rectified-flow"}, engine=Engine(CPU, precision="bf16"))
    inside = case.mask.voxels > 0
    difference = np.abs(exact.volume.voxels - rough.volume.voxels)[inside]
    assert 0 < difference.mean() < 0.1 * exact.volume.voxels[inside].std()
    assert (exact.notes["process"], rough.notes["precision"]) == ("rectified-flow", "bf16")


def test_a_spread_of_one_sample_is_told_once() -> None:
    engine = Engine(CPU, spread=True)
    predictor = LdmPredictor([random_networks()], model_config(), engine)
    with pytest.warns(UserWarning, match=r"one sample is drawn.*sampling.samples") as caught:
        made = [predictor.predict(head_case((8, 8, 8))) for _ in range(2)]
    assert len(caught) == 1
    assert [one.spread for one in made] == [None, None]
    assert engine.sweeps == 2


def test_memory_that_runs_out() -> None:
    """A layer that asks torch's allocator for 128 PiB."""
    networks = random_networks()
    networks.unet.register_forward_pre_hook(lambda *_: torch.empty(1 << 55))
    predictor = LdmPredictor([networks], model_config(), Engine(CPU))
    with pytest.raises(MemoryLimitError, match=r"1BA001: a tile of \(16, 16, 16\) .* does not fit into the memory"):
        predictor.predict(head_case((8, 8, 8)))
    predictor = LdmPredictor([networks], model_config(sampling={"layout": "whole"}), Engine(CPU))
    with pytest.raises(MemoryLimitError, match=r"1BA001: all of an image of \(8, 8, 8\).*--set sampling.layout=tiles"):
        predictor.predict(head_case((8, 8, 8)))


@pytest.mark.parametrize(
    ("stage", "hope"), [("autoencoder", "--stage diffusion and what follows"), ("controlnet", "one level up$")]
)
def test_a_single_stage_cannot_predict(tmp_path: Path, stage: str, hope: str) -> None:
    save_networks(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    card["config"] = {"stage": stage, "autoencoder": {}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=f"holds stage {stage} alone, which cannot predict; expected .*{hope}"):
        load(open_model(tmp_path), Engine(CPU))


def test_weights_of_a_folder_are_filled(tmp_path: Path) -> None:
    case = head_case((16, 16, 16))
    made = load(save_networks(tmp_path), Engine(CPU)).predict(case)
    assert np.array_equal(made.volume.voxels, predict(case).volume.voxels)


def test_folds_are_averaged(tmp_path: Path) -> None:
    """Two folds that paint 100 and 300 HU, two samples each."""
    for fold, hu in enumerate((100, 300)):
        networks = constant_networks((hu - CT["offset"]) / CT["scale"])
        save_networks(tmp_path / f"fold_{fold}", networks, sampling={"steps": 1, "samples": 2})
    case = head_case((16, 16, 16))
    made = load(open_model(tmp_path), Engine(CPU, spread=True)).predict(case)
    inside = case.mask.voxels > 0
    assert set(np.unique(made.volume.voxels[inside])) == {200}
    assert made.spread is not None
    np.testing.assert_allclose(made.spread.voxels[inside], 100, atol=0.01)
    assert made.notes["samples"] == 4


def test_the_mr_counts_and_what_lies_outside_the_mask_does_not() -> None:
    case = head_case((16, 16, 16))
    outside = np.where(case.mask.voxels > 0, case.image.voxels, 400).astype(np.int16)
    inside = np.where(case.mask.voxels > 0, case.image.voxels[::-1], case.image.voxels).astype(np.int16)
    first, ghosts, other = (
        predict(replace(case, image=case.image.with_voxels(voxels))).volume.voxels
        for voxels in (case.image.voxels, outside, inside)
    )
    assert np.abs(ghosts - first).max() <= 1
    assert np.abs(other - first).max() > 5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"patch": (16, 16, 18)}, r"patch \(16, 16, 18\) .* no multiple"),
        ({"scale_factor": 0}, "scale_factor"),
        ({"sampling": {"steps": 1500}}, "sampling.steps 1500; expected at most noise.times 1000"),
        ({"sampling": {"eta": 0.5}, "noise": {"kind": "rectified-flow"}}, "sampling.eta 0.5 is DDIM's"),
        ({"sampling": {"overlap": 0.9}}, "overlap"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        model_config(**change)
