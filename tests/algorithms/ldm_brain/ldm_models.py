"""Tiny models of ldm-brain, and denoisers whose answer is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_volume
from ldm_settings import CT, NETWORKS
from torch import Tensor
from torch.nn import functional

from algorithms.ldm_brain.conditioning import Denoiser
from algorithms.ldm_brain.networks import LatentDiffusion, build_networks
from algorithms.ldm_brain.noise import NoiseConfig, signal_power
from algorithms.ldm_brain.predictor import ModelConfig
from algorithms.ldm_brain.sampling import Sampler, SamplingConfig
from algorithms.ldm_brain.tiles import Triple
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.networks.state import own_tensors
from synthct.weights import ModelFolder, save_model

__all__ = [
    "PATCH",
    "Knowing",
    "Recording",
    "constant_networks",
    "head_case",
    "model_config",
    "random_networks",
    "sampler",
    "save_networks",
    "true_prediction",
]

PATCH = (16, 16, 16)


def model_config(**changes: Any) -> ModelConfig:
    """What model.json of tiny networks holds."""
    content: dict[str, Any] = {
        "networks": NETWORKS,
        "noise": NoiseConfig(),
        "sampling": {"steps": 2},
        "scale_factor": 1.25,
        "spacing": (4.0, 4.0, 4.0),
        "patch": PATCH,
        "image": {"kind": "case-percentile"},
        "ct": CT,
    }
    return ModelConfig.model_validate(content | changes)


def sampler(
    networks: Denoiser,
    noise: NoiseConfig | None = None,
    *,
    tile: Triple = PATCH,
    scale_factor: float = 1.25,
    seed: int = 0,
    **sampling: Any,
) -> Sampler:
    """A sampler as `model_config` has it: diffusion, in two steps; `sampling` changes its settings."""
    settings = SamplingConfig(**{"steps": 2} | sampling)
    return Sampler(networks, NETWORKS, noise or NoiseConfig(), settings, scale_factor, tile, seed)


def constant_networks(units: float) -> LatentDiffusion:
    """Networks whose decoder paints one value, whatever it gets."""
    torch.manual_seed(0)
    networks = build_networks(NETWORKS).eval()
    *_, weight, bias = networks.autoencoder.decoder.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.fill_(units)
    return networks


def random_networks(seed: int = 0) -> LatentDiffusion:
    """Random networks in which the MR counts: layers that start at 0, such as the ControlNet's last, get values too."""
    torch.manual_seed(seed)
    networks = build_networks(NETWORKS).eval()
    with torch.no_grad():
        for parameter in networks.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return networks


def save_networks(
    folder: Path, networks: LatentDiffusion | None = None, *, seed: int = 0, **changes: Any
) -> ModelFolder:
    """A model folder of these networks, or of random ones."""
    return save_model(
        folder,
        own_tensors(networks or random_networks(seed)),
        half=False,
        algorithm="ldm-brain",
        tasks=(Task.MRI,),
        regions=(Region.BRAIN,),
        config=model_config(**changes).model_dump(mode="json"),
    )


def head_case(
    shape: tuple[int, int, int], spacing: tuple[float, float, float] = (4.0, 4.0, 4.0), *, seed: int = 0
) -> Case:
    """An ellipsoid of noisy MR in air, and a mask that is a little larger; `shape` z, y, x, `spacing` x, y, z.

    The corners, outside the mask, hold something bright that is no head.
    """
    random = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(-1, 1, edge) if edge > 1 else [0.0] for edge in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in places))
    image = np.where(radius < 0.9, 400 + 100 * random.random(shape), 5 * random.random(shape)).astype(np.int16)
    image[radius > 1.5] = 300
    grid: dict[str, Any] = {"spacing": spacing, "origin": (-31.5, 12.25, 7.0)}
    mask = make_volume((radius < 1.0).astype(np.uint8), **grid)
    return Case("1BA001", Task.MRI, Region.BRAIN, make_volume(image, **grid), mask)


def true_prediction(noise: NoiseConfig, noisy: Tensor, latent: Tensor, time: int) -> Tensor:
    """What a perfect network says of a mixture, where there is this one latent alone."""
    if noise.kind == "rectified-flow":
        return (latent - noisy) / (time / noise.times)  # noisy = (1 - t) latent + t noise
    power = float(signal_power(noise)[time])
    signal, amount = power**0.5, (1 - power) ** 0.5
    drawn = (noisy - signal * latent) / amount
    return drawn if noise.prediction == "epsilon" else signal * drawn - amount * latent


@dataclass
class Knowing:
    """A denoiser that knows the latent: the mean of the MR in each latent voxel, in both channels."""

    noise: NoiseConfig
    factor: int = 2

    def latent(self, condition: Tensor) -> Tensor:
        """(1, 1, z, y, x) to (1, 2, z/f, y/f, x/f); the second channel has the other sign."""
        pooled = functional.avg_pool3d(condition, self.factor)
        return torch.cat([pooled, -pooled], dim=1)

    def denoise(self, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """The true answer."""
        return true_prediction(self.noise, latent, self.latent(condition), int(times))


@dataclass
class Recording:
    """A denoiser that answers by a function of (latent, time) and keeps what it was asked."""

    answer: Callable[[Tensor, float], Tensor]
    seen: list[tuple[Tensor, int, Tensor]] = field(default_factory=list)

    def denoise(self, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Answer and remember."""
        self.seen.append((latent.clone(), int(times), condition.clone()))
        return self.answer(latent, float(times))
