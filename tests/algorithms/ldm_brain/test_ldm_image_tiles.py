"""Tiles that are drawn and decoded by themselves: one tile, blending by hand, noise, progress; reconstruction too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldm_models import PATCH, Knowing, model_config, random_networks, sampler
from torch import Tensor
from torch.nn import functional

from algorithms.ldm_brain.codec import decode, encode, reconstruct
from algorithms.ldm_brain.draws import draw
from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.tiles import Tiling
from synthct.inference.engine import Engine

FLOW = NoiseConfig(kind="rectified-flow")


def enlarged(latent: Tensor) -> Tensor:
    """A decoder that only repeats the first channel."""
    return functional.interpolate(latent[:, :1], scale_factor=2, mode="nearest")


@pytest.mark.parametrize("noise", [FLOW, NoiseConfig(), NoiseConfig(prediction="v_prediction")])
def test_one_tile_is_a_sample_decoded(noise: NoiseConfig) -> None:
    networks, mr = random_networks(), torch.rand(PATCH, generator=torch.Generator().manual_seed(1))
    drawn = sampler(networks, noise, seed=3)
    whole, made = drawn.latent(mr), drawn.image(mr, networks.autoencoder.decode)
    assert torch.equal(made, networks.autoencoder.decode(whole)[0, 0])


def test_tiles_that_agree_leave_no_seam() -> None:
    """A denoiser that knows the latent from the MR: blended images are those of the whole."""
    mr = torch.rand((20, 33, 16), generator=torch.Generator().manual_seed(1))
    knowing = Knowing(FLOW)
    made = sampler(knowing, FLOW, steps=4).image(mr, enlarged)
    padded = functional.pad(mr, (0, 0, 0, 1))
    wanted = enlarged(knowing.latent(padded[None, None]) / 1.25)[0, 0]
    assert made.shape == (20, 34, 16)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)


def test_images_are_blended_by_hand() -> None:
    """Decoders that paint the number of their call: between two tiles lies the mean by the Gaussian's values."""
    calls = 0

    def painted(latent: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((1, 1, *(2 * edge for edge in latent.shape[2:])), float(calls))

    made = sampler(Knowing(FLOW), FLOW, overlap=0.5).image(torch.zeros((16, 16, 24)), painted)
    tiling = Tiling.over((8, 8, 12), (8, 8, 8), 0.5)
    wanted = tiling.merge(lambda start: torch.full((1, 1, 16, 16, 16), 1.0 if start[2] == 0 else 2.0), factor=2)
    assert calls == 2
    torch.testing.assert_close(made, wanted[0, 0])
    assert made[8, 8, :8].unique().tolist() == [1.0]
    assert made[8, 8, 16:].unique().tolist() == [2.0]
    assert made[8, 8, 8] < 1.5 < made[8, 8, 15]


def test_each_tile_takes_its_part_of_one_noise() -> None:
    """One step of a denoiser that says nothing leaves the noise: neighbours share theirs where they overlap."""

    class Silent:
        def denoise(self, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
            return torch.zeros_like(latent)

    mr, silent = torch.zeros((16, 16, 24)), sampler(Silent(), FLOW, steps=1)
    made, again = silent.image(mr, enlarged), silent.image(mr, enlarged)
    other = sampler(Silent(), FLOW, steps=1, seed=4).image(mr, enlarged)
    latents = silent.latent(mr)
    torch.testing.assert_close(made, enlarged(latents)[0, 0])
    assert torch.equal(made, again)
    assert not torch.equal(made, other)


def test_noise_on_the_way_is_drawn_anew_in_each_tile() -> None:
    networks, mr = random_networks(), torch.rand((16, 16, 24))
    made = [sampler(networks, eta=eta, steps=3).image(mr, enlarged) for eta in (0.0, 1.0, 1.0)]
    assert torch.equal(made[1], made[2])
    assert not torch.allclose(made[0], made[1])


def test_progress_never_goes_back_and_ends_with_all_steps() -> None:
    told: list[tuple[int, int]] = []
    mr = torch.zeros((16, 16, 40))
    sampler(Knowing(FLOW), FLOW, steps=5).image(mr, enlarged, advance=lambda *numbers: told.append(numbers))
    done = [number for number, _ in told]
    assert done == sorted(done)
    assert told[-1] == (5, 5)
    assert len(told) == 5 * len(Tiling.over((8, 8, 20), (8, 8, 8), 0.25).starts)


def test_blends_differ_where_there_are_several_tiles() -> None:
    networks, mr = random_networks(), torch.rand((16, 16, 24), generator=torch.Generator().manual_seed(1))
    images, latents = (
        draw([networks], mr, model_config(sampling={"steps": 2, "blend": blend}), Engine(torch.device("cpu"))).mean
        for blend in ("images", "latents")
    )
    assert images.shape == latents.shape == (16, 16, 24)
    assert np.abs(images - latents).max() > 1e-3


def test_reconstruction_is_that_of_each_tile_blended() -> None:
    networks, volume = random_networks(), torch.rand((13, 16, 24), generator=torch.Generator().manual_seed(1))
    autoencoder = networks.autoencoder
    padded = functional.pad(volume[None, None], (0, 0, 0, 0, 0, 1), mode="replicate")
    tiling = Tiling.over((7, 8, 12), (8, 8, 8), 0.25)
    with torch.no_grad():
        parts = {start: autoencoder.decode(autoencoder.encode(tiling.cut(padded, start, factor=2))[0])
                 for start in tiling.starts}  # fmt: skip
    wanted = tiling.merge(lambda start: parts[start], factor=2)[0, 0, :13]
    made = reconstruct(autoencoder, volume, PATCH)
    assert made.shape == volume.shape
    torch.testing.assert_close(made, wanted)
    by_latents = decode(autoencoder, encode(autoencoder, volume, PATCH), PATCH)[:13]
    assert not torch.allclose(made, by_latents)
