"""The codec: odd sizes padded and cropped, one call where one tile is enough, tiles that agree, bounded memory."""

from __future__ import annotations

import pytest
import torch
from ldm_settings import NETWORKS
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from algorithms.ldm_brain.codec import decode, encode, latent_shape, latent_tile
from algorithms.ldm_brain.networks import AutoencoderConfig, build_autoencoder
from synthct.errors import UsageError
from synthct.inference.merging import gaussian_weight

TILE = (16, 16, 16)
DEEP = AutoencoderConfig(channels=(2, 4, 4), latent_channels=3, res_blocks=1, norm_groups=2)


@pytest.fixture
def autoencoder() -> AutoencoderKL:
    torch.manual_seed(0)
    return build_autoencoder(NETWORKS.autoencoder).eval()


def volume_of(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shape", [(30, 33, 31), (1, 5, 7), (16, 16, 16), (3, 1, 40)])
@pytest.mark.parametrize("config", [NETWORKS.autoencoder, DEEP])
def test_any_size_there_and_back(config: AutoencoderConfig, shape: tuple[int, int, int]) -> None:
    """Cropped at the far ends, what comes back has the size that went in."""
    torch.manual_seed(0)
    network, factor = build_autoencoder(config).eval(), config.factor
    latent = encode(network, volume_of(shape), TILE)
    assert latent.shape == (1, config.latent_channels, *latent_shape(shape, factor))
    volume = decode(network, latent, TILE)
    assert volume.shape == tuple(factor * edge for edge in latent_shape(shape, factor))
    assert all(edge <= padded < edge + factor for edge, padded in zip(shape, volume.shape, strict=True))
    assert (latent.dtype, volume.dtype) == (torch.float32, torch.float32)
    assert not latent.requires_grad
    assert not volume.requires_grad


def test_one_tile_is_one_call(autoencoder: AutoencoderKL) -> None:
    """The mean of the latent, of the volume padded with its own edge, to the bit."""
    volume = volume_of((9, 16, 13))
    padded = functional.pad(volume[None, None], (0, 1, 0, 0, 0, 1), mode="replicate")
    with torch.no_grad():
        mean, _ = autoencoder.encode(padded)
        back = autoencoder.decode(mean)
    latent = encode(autoencoder, volume, TILE)
    assert torch.equal(latent, mean)
    assert torch.equal(decode(autoencoder, latent, TILE), back[0, 0])
    assert torch.equal(encode(autoencoder, volume[None, None], TILE), mean)


def test_the_latent_is_no_draw(autoencoder: AutoencoderKL) -> None:
    volume = volume_of((20, 18, 40))
    assert torch.equal(encode(autoencoder, volume, TILE), encode(autoencoder, volume, TILE))


def test_tiles_are_blended_where_they_overlap(autoencoder: AutoencoderKL) -> None:
    """24 voxels are two tiles of 16 (latents of 8, 4 apart), by the Gaussian's weights where both are."""
    volume = volume_of((16, 16, 24))
    left, right = (encode(autoencoder, part, TILE) for part in (volume[..., :16], volume[..., 8:]))
    tiled = encode(autoencoder, volume, TILE)
    assert tiled.shape == (1, 2, 8, 8, 12)
    torch.testing.assert_close(tiled[..., :4], left[..., :4])
    torch.testing.assert_close(tiled[..., 8:], right[..., 4:])
    weight = gaussian_weight((8, 8, 8))
    blend = (left[..., 4:] * weight[..., 4:] + right[..., :4] * weight[..., :4]) / (weight[..., 4:] + weight[..., :4])
    torch.testing.assert_close(tiled[..., 4:8], blend)
    painted = decode(autoencoder, tiled, TILE)
    torch.testing.assert_close(painted[..., :8], decode(autoencoder, tiled[..., :8], TILE)[..., :8])
    torch.testing.assert_close(painted[..., 16:], decode(autoencoder, tiled[..., 4:], TILE)[..., 8:])


def test_no_call_is_larger_than_a_tile(autoencoder: AutoencoderKL) -> None:
    sizes: set[tuple[int, ...]] = set()
    for part in (autoencoder.encoder, autoencoder.decoder):
        part.register_forward_pre_hook(lambda _, given: sizes.add(tuple(given[0].shape)))
    latent = encode(autoencoder, volume_of((17, 40, 24)), TILE)
    decode(autoencoder, latent, TILE)
    assert sizes == {(1, 1, 16, 16, 16), (1, 2, 8, 8, 8)}


def test_gradients_are_not_kept_but_may_follow(autoencoder: AutoencoderKL) -> None:
    """A frozen encoder's latent is what another network trains on."""
    latent = encode(autoencoder, volume_of(TILE), TILE)
    weight = torch.ones(1, requires_grad=True)
    (latent * weight).sum().backward()
    assert weight.grad is not None


def test_what_has_no_latent(autoencoder: AutoencoderKL) -> None:
    with pytest.raises(UsageError, match=r"volume of shape \(2, 1, 4, 4, 4\)"):
        encode(autoencoder, torch.zeros(2, 1, 4, 4, 4), TILE)
    with pytest.raises(UsageError, match=r"latent of shape \(2, 4, 4, 4\)"):
        decode(autoencoder, torch.zeros(2, 4, 4, 4), TILE)
    with pytest.raises(UsageError, match=r"tile \(16, 15, 16\) .* factor 2"):
        latent_tile((16, 15, 16), 2)
