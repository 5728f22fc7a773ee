"""Setting `mark_outside` of creps-cgan: the mask tells the generator what is no body, in training and prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from builders import make_volume
from creps_settings import DISCRIMINATOR_SHAPE, GENERATOR_SHAPE
from rich.progress import Progress

from algorithms.creps_cgan import recipe
from algorithms.creps_cgan.network import Generator, GeneratorConfig
from algorithms.creps_cgan.predictor import load
from algorithms.training import Launcher, TrainingRun
from synthct.anatomy import Region, Task
from synthct.dataset import Case, find_cases
from synthct.inference.engine import Engine
from synthct.networks.state import own_tensors
from synthct.outline import body_inside
from synthct.phantom import make_phantom
from synthct.resample import resample_like, resample_to_spacing
from synthct.volume import write_volume
from synthct.weights import ModelFolder, save_model

NETWORK = GeneratorConfig.model_validate(GENERATOR_SHAPE)
PATCH = (8, 16, 16)
SHAPE = (7, 15, 12)


def save_model_of(folder: Path, generator: Generator, **changes: Any) -> ModelFolder:
    config: dict[str, Any] = {
        "network": GENERATOR_SHAPE,
        "sweep": {"patch": PATCH, "step": 0.5, "rule": "monai", "merging": "median-upper"},
        "spacing": None,
        "image": {"kind": "linear", "low": 0.0, "high": 2000.0, "scale": 1000.0},
        "ct": {"kind": "linear", "low": -1000.0, "high": 3000.0, "scale": 1000.0},
    }
    return save_model(
        folder,
        own_tensors(generator),
        half=False,
        algorithm="creps-cgan",
        tasks=(Task.MRI,),
        regions=(Region.PELVIS,),
        config=config | changes,
    )


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(3)
    return Generator(NETWORK).eval()


@pytest.fixture
def case() -> Case:
    """A bright body, and a mask that lets in a row of the dark air about it."""
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 2:-2, 2:-2] = 1
    image = rng.integers(1, 20, SHAPE).astype(np.int16)
    image[:, 3:-3, 3:-3] = rng.integers(900, 1500, image[:, 3:-3, 3:-3].shape)
    grid = {"spacing": (6.0, 6.0, 6.0)}
    return Case("1PA001", Task.MRI, Region.PELVIS, make_volume(image, **grid), make_volume(mask, **grid))


def body_of(case: Case) -> npt.NDArray[np.bool_]:
    body = np.zeros(SHAPE, bool)
    body[:, 3:-3, 3:-3] = True
    assert np.array_equal(body_inside(case.image, case.mask), body)
    return body


def predicted(folder: ModelFolder, case: Case) -> npt.NDArray[Any]:
    engine = Engine(torch.device("cpu"), precision="fp32")
    return load(folder, engine).predict(case).volume.voxels


def with_other_surroundings(case: Case) -> Case:
    values = case.image.voxels.copy()
    values[case.mask.voxels == 0] = 700
    return replace(case, image=case.image.with_voxels(values))


def test_the_generator_sees_minus_one_outside_and_beyond_the_edge(
    tmp_path: Path, generator: Generator, case: Case
) -> None:
    """One window holds it all, so the network's own output is the answer."""
    shown = np.full(PATCH, -1.0, np.float32)
    inside, body = case.mask.voxels > 0, body_of(case)
    shown[: SHAPE[0], : SHAPE[1], : SHAPE[2]][body] = case.image.voxels[body] / np.float32(1000)
    with torch.no_grad():
        output = generator(torch.from_numpy(shown)[None, None])[0, 0].numpy()
    wanted = np.clip(output[: SHAPE[0], : SHAPE[1], : SHAPE[2]][inside] * 1000, -1024, 3000)
    found = predicted(save_model_of(tmp_path / "model", generator, mark_outside=True), case)
    assert np.abs(found[inside] - wanted).max() <= 0.51
    assert wanted.std() > 1
    assert (found[~inside] == -1000).all()


def test_what_lies_outside_the_mask_changes_nothing_where_it_is_marked(
    tmp_path: Path, generator: Generator, case: Case
) -> None:
    other = with_other_surroundings(case)
    marked = save_model_of(tmp_path / "marked", generator, mark_outside=True)
    assert np.array_equal(predicted(marked, case), predicted(marked, other))
    plain = save_model_of(tmp_path / "plain", generator)
    assert not np.array_equal(predicted(plain, case), predicted(plain, other))


@pytest.mark.filterwarnings("ignore:1PA001. MR values from 500 to 500", "ignore:.*which is taken for the body")
def test_the_mark_is_made_after_resampling(tmp_path: Path, generator: Generator, case: Case) -> None:
    """A spline would draw -1 into the body. The image is 500 everywhere, so it is 500 on any grid: the rest is mask.

    No outline can be drawn of such an image, so the mask is taken for the body.
    """
    fine = {"spacing": (0.5, 0.5, 1.0)}
    image, mask = make_volume(np.full(SHAPE, 500, np.int16), **fine), make_volume(case.mask.voxels, **fine)
    coarse = resample_to_spacing(image, (1.5, 0.75, 0.75), order=3)
    z, y, x = coarse.voxels.shape
    shown = np.full(PATCH, -1.0, np.float32)
    shown[:z, :y, :x][resample_like(mask, coarse.geometry, order=0).voxels > 0] = 0.5
    assert set(np.unique(shown)) == {np.float32(-1), np.float32(0.5)}
    with torch.no_grad():
        output = generator(torch.from_numpy(shown)[None, None])[0, 0, :z, :y, :x].numpy()
    wanted = resample_like(coarse.with_voxels(np.ascontiguousarray(output * 1000)), image.geometry).voxels
    folder = save_model_of(tmp_path / "model", generator, mark_outside=True, spacing=[1.5, 0.75, 0.75])
    found = predicted(folder, replace(case, image=image, mask=mask))
    inside = mask.voxels > 0
    assert np.abs(found[inside] - wanted[inside]).max() <= 0.51
    assert wanted[inside].std() > 1


def test_a_model_of_before_the_setting_is_the_papers(tmp_path: Path, generator: Generator) -> None:
    folder = save_model_of(tmp_path / "model", generator)
    assert "mark_outside" not in folder.card.config
    from algorithms.creps_cgan.predictor import ModelConfig

    config = ModelConfig.model_validate(folder.card.config)
    assert (config.mark_outside, config.beyond) == (False, 0.0)
    assert config.model_copy(update={"mark_outside": True}).beyond == -1.0


def prepared(data: Path, run_dir: Path, cache: Path, *, mark_outside: bool) -> Path:
    """Train one iteration on three limbs; return the cache's folder of the first."""
    before = set(cache.glob("1EXA001-*"))
    settings = {
        "network": GENERATOR_SHAPE,
        "discriminator": DISCRIMINATOR_SHAPE,
        "sampling": {"patch": [24, 24, 24]},
        "loop": {"iterations_per_epoch": 1, "epochs": 1},
        "batch": 1,
        "style_weight": 0.0,
        "mark_outside": mark_outside,
    }
    run = TrainingRun(tuple(find_cases(data)), run_dir, settings, Progress(disable=True), Launcher("cpu"), cache=cache)
    recipe.train(run)
    (made,) = set(cache.glob("1EXA001-*")) - before
    return made


@pytest.mark.slow
def test_training_marks_images_and_gives_cts_air(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / "data" / f"1EXA00{number}"
        folder.mkdir(parents=True)
        phantom = make_phantom("limb", seed=number, size=(30, 28, 26), spacing=(4.0, 4.0, 4.0))
        phantom.reference.voxels[phantom.mask.voxels == 0] = -700  # a table, say
        for volume, name in ((phantom.image, "mr"), (phantom.mask, "mask"), (phantom.reference, "ct")):
            write_volume(volume, folder / f"{name}.mha")
    cache = tmp_path / "cache"
    marked = prepared(tmp_path / "data", tmp_path / "marked", cache, mark_outside=True)
    plain = prepared(tmp_path / "data", tmp_path / "plain", cache, mark_outside=False)
    outside = np.load(plain / "weight.npy") == 0
    air = np.load(marked / "image.npy") == -1
    images = {folder: np.load(folder / "image.npy") for folder in (marked, plain)}
    cts = {folder: np.load(folder / "reference.npy") for folder in (marked, plain)}
    assert outside.any()
    assert not outside.all()
    assert air[outside].all()
    assert 0.7 < (~air).sum() / (~outside).sum() < 1, "the phantom's mask lets in some air"
    assert images[plain].min() >= 0
    assert (cts[marked][outside] == -1).all()
    assert np.allclose(cts[plain][outside], -0.7)
    assert np.array_equal(images[marked][~air], images[plain][~air])
    assert np.array_equal(cts[marked][~outside], cts[plain][~outside])
    cards = [json.loads((tmp_path / run / "model.json").read_text())["config"] for run in ("marked", "plain")]
    assert [card["mark_outside"] for card in cards] == [True, False]
