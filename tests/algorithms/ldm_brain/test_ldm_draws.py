"""Samples of a case: their mean and spread, numbering, and steps that fit into a budget."""

from __future__ import annotations

import time
import warnings

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ldm_models import PATCH, head_case, model_config, random_networks, sampler

from algorithms.ldm_brain.codec import decode
from algorithms.ldm_brain.draws import draw, fitting_steps
from algorithms.ldm_brain.networks import LatentDiffusion
from algorithms.ldm_brain.predictor import LdmPredictor
from synthct.inference.engine import Engine
from synthct.intensity import CasePercentile
from synthct.outline import body_inside

CPU = torch.device("cpu")


def singles(networks: LatentDiffusion, mr: torch.Tensor, seed: int, count: int) -> list[npt.NDArray[np.float32]]:
    """Samples drawn and decoded one by one."""
    drawn = sampler(networks, seed=seed)
    latents = [drawn.latent(mr, number=number) for number in range(count)]
    z, y, x = mr.shape
    return [decode(networks.autoencoder, latent, PATCH).numpy()[:z, :y, :x] for latent in latents]


def test_mean_and_spread_are_numpys() -> None:
    networks, mr = random_networks(), torch.rand(15, 13, 11, generator=torch.Generator().manual_seed(0))
    drawn = draw(
        [networks], mr, model_config(sampling={"steps": 2, "samples": 4, "blend": "latents"}), Engine(CPU, seed=9)
    )
    one_by_one = np.stack(singles(networks, mr, 9, 4))
    np.testing.assert_allclose(drawn.mean, one_by_one.mean(axis=0), atol=1e-5)
    assert drawn.spread is not None
    np.testing.assert_allclose(drawn.spread, one_by_one.std(axis=0), atol=1e-5)
    assert drawn.spread.mean() > 1e-3
    assert (drawn.samples, drawn.steps, drawn.tiles) == (4, 2, 1)


def test_one_sample_has_no_spread_and_is_itself() -> None:
    networks, mr = random_networks(), torch.rand(PATCH)
    drawn = draw([networks], mr, model_config(), Engine(CPU, seed=9))
    assert drawn.spread is None
    assert np.array_equal(drawn.mean, singles(networks, mr, 9, 1)[0])


@pytest.mark.parametrize("blend", ["latents", "images"])
def test_a_whole_head_is_one_tile_of_its_own_size(blend: str) -> None:
    """20 x 33 x 5 voxels: rounded up to fours, and 8 are the least that the networks take."""
    networks, config = random_networks(), model_config(sampling={"steps": 2, "layout": "whole", "blend": blend})
    mr = torch.rand((20, 33, 5), generator=torch.Generator().manual_seed(2))
    assert config.sampling.tile((20, 33, 5), patch=PATCH, multiple=4) == (20, 36, 8)
    assert model_config().sampling.tile((20, 33, 5), patch=PATCH, multiple=4) == PATCH
    drawn = draw([networks], mr, config, Engine(CPU, seed=9))
    padded = torch.nn.functional.pad(mr, (0, 3, 0, 3))
    latent = sampler(networks, tile=(20, 36, 8), seed=9).latent(padded)
    kept = latent if blend == "images" else latent[:, :, :, :17, :3]  # 33 and 5 voxels, two to a latent's
    wanted = decode(networks.autoencoder, kept, (20, 36, 8)).numpy()[:, :33, :5]
    np.testing.assert_allclose(drawn.mean, wanted, atol=1e-5)
    assert (drawn.tiles, drawn.mean.shape) == (1, (20, 33, 5))
    tiled = draw([networks], mr, model_config(sampling={"steps": 2, "blend": blend}), Engine(CPU, seed=9))
    assert tiled.tiles > 1
    assert np.abs(tiled.mean - drawn.mean).max() > 1e-3


def test_the_spread_of_a_prediction_is_in_hu() -> None:
    """2047.5 HU a unit, on the model's own grid; 0 outside the mask, and nothing where it was not asked for."""
    case, config, networks = head_case(PATCH), model_config(sampling={"steps": 2, "samples": 3}), random_networks()
    made = LdmPredictor([networks], config, Engine(CPU, spread=True)).predict(case)
    plain = LdmPredictor([networks], config, Engine(CPU)).predict(case)
    units = CasePercentile().apply(case.image.voxels)
    units[~body_inside(case.image, case.mask)] = 0.0
    drawn = np.stack(singles(networks, torch.from_numpy(units), 0, 3))
    inside = case.mask.voxels > 0
    assert np.array_equal(made.volume.voxels, plain.volume.voxels)
    assert plain.spread is None
    assert made.spread is not None
    np.testing.assert_allclose(made.spread.voxels[inside], 2047.5 * drawn.std(axis=0)[inside], atol=0.05)
    assert made.spread.voxels[inside].mean() > 2
    assert np.all(made.spread.voxels[~inside] == 0)
    assert made.notes["samples"] == 3


def test_progress_counts_the_steps_of_all_samples() -> None:
    told: list[tuple[int, int]] = []
    draw(
        [random_networks()],
        torch.rand(PATCH),
        model_config(sampling={"steps": 2, "samples": 3}),
        Engine(CPU),
        advance=lambda done, total: told.append((done, total)),
    )
    assert told == [(step, 6) for step in range(1, 7)]


@pytest.mark.parametrize(
    ("steps", "a_step", "left", "wanted"),
    [(50, 1.0, 50.0, 50), (50, 1.0, 49.9, 49), (50, 1.0, 3.7, 3), (50, 1.0, 0.2, 1), (50, 1.0, -5.0, 1), (1, 9, 1, 1)],
)
def test_steps_that_fit(steps: int, a_step: float, left: float, wanted: int) -> None:
    assert fitting_steps(steps, a_step, left) == wanted


def test_a_budget_shrinks_the_steps() -> None:
    """800 steps of two samples would take longer than a second; the notes say what was asked."""
    predictor = LdmPredictor(
        [random_networks()], model_config(sampling={"steps": 800, "samples": 2}), Engine(CPU, budget=1.0)
    )
    began = time.monotonic()
    with pytest.warns(UserWarning, match=r"800 steps for 2 samples would take .* of the budget of 1 s .* steps? take"):
        notes = predictor.predict(head_case(PATCH)).notes
    assert 1 <= notes["steps"] < 400
    assert (notes["steps_asked"], notes["budget_s"]) == (800, 1.0)
    assert time.monotonic() - began < 10


def test_a_budget_that_cannot_be_kept_is_told() -> None:
    predictor = LdmPredictor([random_networks()], model_config(sampling={"steps": 3}), Engine(CPU, budget=1e-4))
    with pytest.warns(UserWarning, match="1 step takes .*, which does not fit either"):
        assert predictor.predict(head_case(PATCH)).notes["steps"] == 1


def test_a_budget_with_room_changes_nothing() -> None:
    case, networks = head_case(PATCH), random_networks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = LdmPredictor([networks], model_config(), Engine(CPU, budget=600)).predict(case)
    assert np.array_equal(
        made.volume.voxels, LdmPredictor([networks], model_config(), Engine(CPU)).predict(case).volume.voxels
    )
    assert "steps_asked" not in made.notes
