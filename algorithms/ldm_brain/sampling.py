"""Drawing a latent: from noise, step by step, steered by the MR, tile by tile where it is large."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from algorithms.interface import Advance
from algorithms.ldm_brain.conditioning import LEAST_EDGE, Denoiser, Steering
from algorithms.ldm_brain.layout import Layout
from algorithms.ldm_brain.networks import LdmConfig
from algorithms.ldm_brain.noise import NoiseConfig, flow_scheduler, signal_power
from algorithms.ldm_brain.tiles import Triple
from synthct.errors import UsageError
from synthct.inference.precision import UsedPrecision

__all__ = ["Sampler", "SamplingConfig", "reverse_times"]


class SamplingConfig(BaseModel):
    """How a prediction is drawn.

    Attributes:
        steps: calls of the denoiser on each tile.
        eta: of DDIM; 0 adds no noise on the way, 1 as much as the process itself.
        samples: drawn of each case; their mean is the prediction.
        overlap: of the denoiser's tiles, as a fraction of a tile.
        layout: of a head that exceeds the training patch: covered by tiles of the patch's size, taken whole as one tile
            (memory grows with the head), or shrunk to fit into one.
        blend: what overlapping tiles have in common: latents, blended at each step, or images, where each tile is drawn
            and decoded by itself and the CTs are blended.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(default=50, gt=0, le=2048)
    eta: float = Field(default=0.0, ge=0, le=1)
    samples: int = Field(default=1, gt=0, le=64)
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    layout: Layout = "tiles"
    blend: Literal["latents", "images"] = "images"

    def tile(self, shape: Triple, *, patch: Triple, multiple: int) -> Triple:
        """The networks' tile for a volume of a shape, in voxels (z, y, x).

        Args:
            shape: of the volume.
            patch: of training.
            multiple: of voxels, that the networks ask of each edge.

        Returns:
            The patch; for `whole` the volume's shape, rounded up to what the networks take.
        """
        if self.layout != "whole":
            return patch
        z, y, x = (max(math.ceil(size / multiple), LEAST_EDGE) * multiple for size in shape)
        return z, y, x


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws from noise what fits an MR: by DDIM, or along the rectified flow's line.

    Noise is drawn in float32 on the CPU, and depends on seed, number and shape alone: it is the same on every device,
    in whatever order cases come.

    Attributes:
        networks: in evaluation mode, where the MRs are.
        config: shape of the networks.
        noise: the process they were trained on.
        sampling: steps, eta and overlap; `samples` and `layout` are the caller's business.
        scale_factor: of the latents in training; what is drawn is divided by it.
        tile: in voxels (z, y, x), as `SamplingConfig.tile` says.
        seed: of the run.
        precision: of the networks; the steps themselves are float32.
    """

    networks: Denoiser
    config: LdmConfig
    noise: NoiseConfig
    sampling: SamplingConfig
    scale_factor: float
    tile: Triple
    seed: int = 0
    precision: UsedPrecision = "fp32"

    @torch.no_grad()
    def latent(self, mr: Tensor, *, number: int = 0, advance: Advance | None = None) -> Tensor:
        """Draw one latent; the whole of it takes every step at once.

        Where it exceeds a tile, the predictions of overlapping tiles are blended at each step, so that no seam can
        grow.

        Args:
            mr: normalised, (z, y, x), of any size; beyond its far ends lies 0.
            number: of the sample; each number's noise is another.
            advance: called after each step with (steps done, steps in all).

        Returns:
            Latent for `decode`, (1, c, z, y, x) float32, each edge ceil(size / factor).

        Raises:
            UsageError: more steps than the process has times, or what `Steering.by` refuses.
        """
        steering, fresh = self._start(mr, number)
        latent = self._denoised(
            fresh(steering.tiling.shape),
            lambda latent, time: steering.predict(self.networks, latent, time, self.precision),
            lambda: fresh(steering.tiling.shape),
            advance,
        )
        z, y, x = steering.shape
        return latent[:, :, :z, :y, :x] / self.scale_factor

    @torch.no_grad()
    def image(
        self, mr: Tensor, decode: Callable[[Tensor], Tensor], *, number: int = 0, advance: Advance | None = None
    ) -> Tensor:
        """Draw and decode each tile by itself, from its part of one noise, and blend the images.

        A tile is then all that training has shown the networks: their norms take their statistics over a tile, so what
        one tile's latent means is not what its neighbour's means. Where one tile holds the MR without padding, this is
        what `latent` draws, decoded.

        Args:
            mr: as for `latent`.
            decode: from a tile's latent (1, c, z, y, x), not scaled, to its image (1, 1, z, y, x).
            number: as for `latent`.
            advance: called after each step of a tile with (whole steps' worth done, steps in all).

        Returns:
            Normalised CT, (z, y, x) float32, each edge `factor` times that of the latent.

        Raises:
            UsageError: as for `latent`.
        """
        steering, fresh = self._start(mr, number)
        tiling = steering.tiling
        whole = fresh(tiling.shape)
        finished = 0

        def told(done: int, steps: int) -> None:
            if advance is not None:
                advance((steps * finished + done) // len(tiling.starts), steps)

        def image(start: Triple) -> Tensor:
            nonlocal finished
            latent = self._denoised(
                tiling.cut(whole, start),
                lambda part, time: steering.predict_tile(self.networks, part, time, start, self.precision),
                lambda: fresh(tiling.tile),
                told,
            )
            finished += 1
            return decode(latent / self.scale_factor)

        z, y, x = (edge * self.config.factor for edge in steering.shape)
        return tiling.merge(image, factor=self.config.factor)[0, 0, :z, :y, :x]

    def _start(self, mr: Tensor, number: int) -> tuple[Steering, Callable[[Triple], Tensor]]:
        """What steers, and where one sample's noise comes from: a function of the latent's shape (z, y, x)."""
        steering = Steering.by(mr, config=self.config, tile=self.tile, overlap=self.sampling.overlap)
        generator = torch.Generator().manual_seed(_mixed_seed(self.seed, number))
        channels = self.config.autoencoder.latent_channels
        return steering, lambda shape: torch.randn((1, channels, *shape), generator=generator).to(mr.device)

    def _denoised(
        self,
        latent: Tensor,
        predict: Callable[[Tensor, int], Tensor],
        fresh: Callable[[], Tensor],
        advance: Advance | None,
    ) -> Tensor:
        """Take noise away from a latent step by step; `fresh` gives noise of its shape."""
        times = reverse_times(self.noise, self.sampling.steps)
        if self.noise.kind == "rectified-flow":
            step = _flow_step(self.noise, self.sampling.steps)
        else:
            step = _ddim_step(self.noise, self.sampling, fresh)
        for done, (time, following) in enumerate(times, start=1):
            latent = step(latent, predict(latent, time), time, following)
            if advance is not None:
                advance(done, len(times))
        return latent


def reverse_times(config: NoiseConfig, steps: int) -> list[tuple[int, int]]:
    """The time of each step and the time that it leads to.

    Both processes start where training has most noise, and go down evenly. For ddpm that is times - 1, and the last
    step leads to -1, the latent itself. (The DDIM of MONAI steps to other times than those that its `set_timesteps`
    visits.) For rectified flow it is `times`, and the last step leads to 0.

    Raises:
        UsageError: more steps than times, or less than one.
    """
    if not 1 <= steps <= config.times:
        raise UsageError(f"{steps} steps were asked for; expected 1 to {config.times}, the times of the noise process")
    end = 0 if config.kind == "rectified-flow" else -1
    grid = [round(config.times * (steps - index) / steps) + end for index in range(steps + 1)]
    return list(pairwise(grid))


_Step = Callable[[Tensor, Tensor, int, int], Tensor]
"""From a latent, what was predicted for it, its time and the next one's to the next latent."""


def _flow_step(config: NoiseConfig, steps: int) -> _Step:
    scheduler = flow_scheduler(config)
    scheduler.num_inference_steps = steps  # set_timesteps would set it beside a grid that is not needed here
    return lambda latent, prediction, time, following: scheduler.step(prediction, time, latent, following)[0]


def _ddim_step(config: NoiseConfig, sampling: SamplingConfig, drawn: Callable[[], Tensor]) -> _Step:
    """Equations 12 and 16 of DDIM (arXiv 2010.02502), nothing clipped; `power` is the paper's alpha."""
    power = signal_power(config).double().tolist()

    def step(latent: Tensor, prediction: Tensor, time: int, following: int) -> Tensor:
        before, after = power[time], power[following] if following >= 0 else 1.0
        signal, amount = math.sqrt(before), math.sqrt(1.0 - before)
        if config.prediction == "v_prediction":
            clean, noise = signal * latent - amount * prediction, amount * latent + signal * prediction
        else:
            clean, noise = (latent - amount * prediction) / signal, prediction
        deviation = sampling.eta * math.sqrt((1.0 - after) / (1.0 - before) * (1.0 - before / after))
        latent = math.sqrt(after) * clean + math.sqrt(max(0.0, 1.0 - after - deviation**2)) * noise
        return latent + deviation * drawn() if deviation > 0 else latent

    return step


def _mixed_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)
