"""The samples of one case, decoded: their mean and spread, in as many steps as there is time for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from algorithms.interface import Advance
from algorithms.ldm_brain.codec import OVERLAP, decode, latent_tile
from algorithms.ldm_brain.conditioning import Steering, in_precision
from algorithms.ldm_brain.model import ModelConfig
from algorithms.ldm_brain.networks import LatentDiffusion
from algorithms.ldm_brain.sampling import Sampler, SamplingConfig
from algorithms.ldm_brain.tiles import Tiling, Triple
from synthct.inference.engine import Engine
from synthct.inference.heap import kept_heap

__all__ = ["Draws", "draw", "fitting_steps"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples of one case.

    Attributes:
        mean: of the samples, normalised CT, (z, y, x) float32 on the CPU.
        spread: their standard deviation (population), of the same shape; None where there is one sample.
        steps: that each was drawn in.
        samples: how many.
        tiles: that the denoiser ran on at each step.
    """

    mean: FloatArray
    spread: FloatArray | None
    steps: int
    samples: int
    tiles: int


@torch.no_grad()
def draw(
    networks: Sequence[LatentDiffusion],
    mr: Tensor,
    config: ModelConfig,
    engine: Engine,
    *,
    advance: Advance | None = None,
) -> Draws:
    """Draw the samples that the settings ask for, of each network, and decode them.

    Args:
        networks: of one model, or of several folds; in evaluation mode, on the engine's device.
        mr: normalised, (z, y, x), on that device.
        config: of the model.
        engine: whose device, precision, seed and budget count. The budget is for all samples; where the steps would
            take longer, there are fewer of them, with a warning.
        advance: called after each step with (steps done, steps of all samples).
    """
    began = time.monotonic()
    shape = mr.shape[0], mr.shape[1], mr.shape[2]
    tile = config.sampling.tile(shape, patch=config.patch, multiple=config.networks.multiple)
    steering = Steering.by(mr, config=config.networks, tile=tile, overlap=config.sampling.overlap)
    count = config.sampling.samples * len(networks)
    mean: Tensor | None = None
    squares: Tensor | None = None
    with kept_heap() if engine.device.type == "cpu" else nullcontext():
        sampling = config.sampling
        if engine.budget is not None:
            steps = _steps_within(engine.budget, began, networks[0], steering, tile, config, engine, count)
            sampling = sampling.model_copy(update={"steps": steps})
        total = count * sampling.steps
        for number in range(count):
            network = networks[number // config.sampling.samples]

            def counted(done: int, _: int, before: int = number * sampling.steps) -> None:
                if advance is not None:
                    advance(before + done, total)

            volume = _drawn(network, mr, tile, config, sampling, engine, number, counted)
            z, y, x = shape
            volume = volume[:z, :y, :x]
            if mean is None or squares is None:
                mean, squares = volume.clone(), torch.zeros_like(volume)
                continue
            deviation = volume - mean  # Welford's update: nothing is lost where the mean is large
            mean += deviation / (number + 1)
            squares += deviation * (volume - mean)
    if mean is None or squares is None:
        raise ValueError("no network was given to draw samples from")
    spread = (squares / count).sqrt().cpu().numpy() if count > 1 else None
    return Draws(mean.cpu().numpy(), spread, sampling.steps, count, len(steering.tiling.starts))


def fitting_steps(steps: int, seconds_per_step: float, seconds_left: float) -> int:
    """Return as many steps as fit into the time that is left, at least 1 and at most those asked for."""
    if steps * seconds_per_step <= seconds_left:
        return steps
    return max(1, min(steps, int(seconds_left / seconds_per_step)))


def _steps_within(
    budget: float,
    began: float,
    network: LatentDiffusion,
    steering: Steering,
    tile: Triple,
    config: ModelConfig,
    engine: Engine,
    count: int,
) -> int:
    """Time one tile of the denoiser and one of the decoder after a warm-up, and take fewer steps where needed."""
    asked, factor = config.sampling.steps, config.networks.factor
    device, tiling = engine.device, steering.tiling
    channels = config.networks.autoencoder.latent_channels
    part = torch.zeros((1, channels, *tiling.tile), device=device)
    last, start = config.noise.times - 1, tiling.starts[0]
    a_tile = _timed(lambda: steering.predict_tile(network, part, last, start, engine.precision))
    decoding = _timed(lambda: in_precision(lambda: network.autoencoder.decode(part), device, engine.precision))
    if config.sampling.blend == "latents":
        decoded = Tiling.over(steering.shape, latent_tile(tile, factor), OVERLAP)
    else:
        decoded = tiling
    a_step = a_tile * len(tiling.starts) * count
    left = budget - (time.monotonic() - began) - decoding * len(decoded.starts) * count
    steps = fitting_steps(asked, a_step, left)
    if asked * a_step > left:
        many = f" for {count} samples" if count > 1 else ""
        fewer = "1 step takes" if steps == 1 else f"{steps} steps take"
        warnings.warn(
            f"{asked} steps{many} would take {asked * a_step:.1f} s, of the budget of {budget:g} s "
            f"{max(0.0, left):.1f} s are left for them: {fewer} {steps * a_step:.1f} s"
            + (", which does not fit either" if steps * a_step > left else ""),
            stacklevel=4,
        )
    return steps


def _timed(calculate: Callable[[], Tensor]) -> float:
    """Seconds of the second of two calls."""
    seconds = 0.0
    for _ in ("warm-up", "timed"):
        start = time.perf_counter()
        calculate().sum().item()  # the number waits for the device
        seconds = time.perf_counter() - start
    return seconds


def _drawn(
    network: LatentDiffusion,
    mr: Tensor,
    tile: Triple,
    config: ModelConfig,
    sampling: SamplingConfig,
    engine: Engine,
    number: int,
    advance: Advance,
) -> Tensor:
    """One sample, decoded: normalised CT, (z, y, x) float32."""
    sampler = Sampler(
        network,
        config=config.networks,
        noise=config.noise,
        sampling=sampling,
        scale_factor=config.scale_factor,
        tile=tile,
        seed=engine.seed,
        precision=engine.precision,
    )

    def precisely(calculate: Callable[[], Tensor]) -> Tensor:
        return in_precision(calculate, engine.device, engine.precision)

    if sampling.blend == "images":
        decoder = network.autoencoder.decode
        return sampler.image(mr, lambda latent: precisely(lambda: decoder(latent)), number=number, advance=advance)
    latent = sampler.latent(mr, number=number, advance=advance)
    return precisely(lambda: decode(network.autoencoder, latent, tile))
