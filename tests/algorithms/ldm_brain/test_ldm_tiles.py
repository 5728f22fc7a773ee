"""Tiles: coverage, one tile exactly, blending by hand, memory that a tile bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldm_models import Recording, sampler
from torch import Tensor

from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.tiles import Tiling
from synthct.inference.merging import gaussian_weight

FLOW = NoiseConfig(kind="rectified-flow")


@pytest.mark.parametrize("shape", [(5, 9, 12), (1, 1, 1), (4, 4, 30), (48, 48, 48)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_every_voxel_is_covered_and_ones_stay_ones(shape: tuple[int, int, int], overlap: float) -> None:
    tiling = Tiling.over(shape, (16, 4, 5), overlap)
    whole = tiling.merge(lambda _: torch.ones((1, 2, *(3 * edge for edge in tiling.tile))), factor=3)
    assert whole.shape == (1, 2, *(3 * edge for edge in shape))
    torch.testing.assert_close(whole, torch.ones_like(whole))


def test_what_is_the_same_in_every_tile_comes_back() -> None:
    random = torch.rand((1, 3, 9, 11, 7))
    tiling = Tiling.over((9, 11, 7), (4, 4, 4), 0.5)
    torch.testing.assert_close(tiling.merge(lambda start: tiling.cut(random, start)), random)


def test_one_tile_is_what_was_calculated() -> None:
    random = torch.rand((1, 3, 4, 5, 6))
    tiling = Tiling.over((4, 5, 6), (8, 8, 8), 0.25)
    assert (tiling.tile, tiling.starts) == ((4, 5, 6), ((0, 0, 0),))
    assert torch.equal(tiling.merge(lambda start: tiling.cut(random, start)), random)


def test_blending_by_hand() -> None:
    """Two tiles of 4 along x over 6 voxels, of 1 and of 3: the mean by the Gaussian's values in between."""
    tiling = Tiling.over((1, 1, 6), (1, 1, 4), 0.5)
    assert tiling.starts == ((0, 0, 0), (0, 0, 2))
    whole = tiling.merge(lambda start: torch.full((1, 1, 1, 1, 4), 1.0 + start[2]))
    weight = gaussian_weight((1, 1, 4))[0, 0].numpy()
    third = (weight[2] * 1 + weight[0] * 3) / (weight[2] + weight[0])
    fourth = (weight[3] * 1 + weight[1] * 3) / (weight[3] + weight[1])
    np.testing.assert_allclose(whole[0, 0, 0, 0], [1, 1, third, fourth, 3, 3], rtol=1e-6)
    assert 1 < third < fourth < 3


def test_predictions_are_blended_at_each_step() -> None:
    """Tiles that disagree: after two steps each voxel has taken the blended velocity twice, the same as once whole."""
    seen: list[Tensor] = []

    def answer(latent: Tensor, _: float) -> Tensor:
        seen.append(latent)
        return torch.full_like(latent, float(len(seen) % 2))  # 1 in the first tile of each step, 0 in the second

    got = sampler(Recording(answer), FLOW, overlap=0.5, scale_factor=1.0, tile=(8, 8, 16)).latent(torch.zeros(8, 8, 24))
    assert len(seen) == 4
    tiling = Tiling.over((4, 4, 12), (4, 4, 8), 0.5)
    share = tiling.merge(lambda start: torch.full((1, 2, 4, 4, 8), 1.0 if start[2] == 0 else 0.0))
    start = torch.cat([seen[0], seen[1][..., 4:]], dim=-1)
    torch.testing.assert_close(got, start + share)
    middle = start + share / 2
    torch.testing.assert_close(torch.cat([seen[2], seen[3][..., 4:]], dim=-1), middle)


def test_no_call_is_larger_than_a_tile() -> None:
    denoiser = Recording(lambda latent, _: latent)
    sampler(denoiser, FLOW, steps=1).latent(torch.zeros(20, 50, 44))
    assert {tuple(latent.shape) for latent, _, _ in denoiser.seen} == {(1, 2, 8, 8, 8)}
    assert {tuple(condition.shape) for _, _, condition in denoiser.seen} == {(1, 1, 16, 16, 16)}
    assert len(denoiser.seen) == 2 * 4 * 4  # latents of 10, 25 and 22 at a distance of at most 6
