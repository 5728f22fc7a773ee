"""Training of pix2pix-pelvis: adversarial + 100 L1 on patches (paper 003, equation 1), read top to bottom."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import time
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.progress import Progress
from torch import Tensor, nn

from algorithms.pix2pix_pelvis.network import Discriminator, NetworkConfig, Triple, UNetGenerator
from algorithms.pix2pix_pelvis.patches import PatchSampler, TrainingCase
from synthct.errors import SynthCTError, WeightsError
from synthct.files import staged_file
from synthct.inference.engine import sweep

__all__ = ["RecipeConfig", "fit"]

log = logging.getLogger(__name__)

Net = TypeVar("Net", bound=nn.Module)


class RecipeConfig(BaseModel):
    """One preset; each field's evidence stands in configs/*.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: NetworkConfig = NetworkConfig()
    patch: Triple = (32, 160, 160)
    iterations: int = Field(default=36000, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    l1_weight: float = Field(default=100.0, ge=0)
    adversarial_weight: float = Field(default=1.0, ge=0)
    image_scale: float = Field(default=1000.0, gt=0)
    ct_scale: float = Field(default=1000.0, gt=0)
    inference_patch: Triple | None = None
    align: bool = False
    min_information: float = 0.0
    augment: bool = False
    ema: float = Field(default=0.0, ge=0, lt=1)
    bf16: bool = False
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()
    validation_interval: int = Field(default=250, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _patches_fit_the_strides(self) -> RecipeConfig:
        self.network.require_multiple(self.patch)
        if self.inference_patch is not None:
            self.network.require_multiple(self.inference_patch)
        return self


def fit(
    training: list[TrainingCase],
    validation: list[TrainingCase],
    config: RecipeConfig,
    run_dir: Path,
    device: torch.device,
    progress: Progress,
) -> UNetGenerator:
    """Train and return the generator that was best on the validation cases (the last one where there are none).

    The learning rate is constant for the first half and falls to zero over the second. A checkpoint with everything
    needed to go on lies in `run_dir/checkpoint.pt` after each validation; an existing one is taken up.

    Raises:
        WeightsError: the checkpoint is damaged or belongs to other settings.
        SynthCTError: training diverged.
    """
    torch.manual_seed(config.seed)
    generator = _to_device(UNetGenerator(config.network), device)
    discriminator = _to_device(Discriminator(config.network), device)
    average = copy.deepcopy(generator)
    optimisers = [
        torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=config.betas)
        for net in (generator, discriminator)
    ]
    parts: list[nn.Module | torch.optim.Adam] = [generator, discriminator, average, *optimisers]
    sampler = PatchSampler(training, config.patch, augment=config.augment, seed=config.seed)
    best = float("inf")
    best_state = copy.deepcopy(generator.state_dict())
    start = 0
    checkpoint = run_dir / "checkpoint.pt"
    if checkpoint.exists():
        start, best, best_state = _take_up(checkpoint, parts)
        sampler.skip(start)
        log.info("taken up at iteration %d of %d", start, config.iterations)
    bar = progress.add_task("training", total=config.iterations, completed=start)
    began = time.monotonic()
    for iteration in range(start + 1, config.iterations + 1):
        rate = config.learning_rate * min(1.0, 2.0 * (1.0 - (iteration - 1) / config.iterations))
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        image, ct, weight = (torch.from_numpy(array)[None, None].to(device) for array in sampler.draw())
        losses = _step(generator, discriminator, optimisers, image, ct, weight, config)
        if not math.isfinite(losses[0]):
            raise SynthCTError(f"training diverged: L1 is {losses[0]} at iteration {iteration}; lower learning_rate")
        _follow(average, generator, min(config.ema, iteration / (iteration + 10)))
        progress.update(bar, advance=1, description=f"training (L1 {losses[0] * config.ct_scale:.0f} HU)")
        if iteration % config.validation_interval and iteration != config.iterations:
            continue
        scores = [_masked_mae(average, case, config, device) for case in validation]
        score = float(np.mean(scores)) if scores else -float(iteration)
        if score < best:
            best, best_state = score, copy.deepcopy(average.state_dict())
        saved_parts = [part.state_dict() for part in parts]
        with staged_file(checkpoint) as staged:
            torch.save({"parts": saved_parts, "iteration": iteration, "best": best, "best_state": best_state}, staged)
        log.info(
            "iteration %d: L1 %.1f HU, adversarial %.3f, discriminator %.3f, validation MAE %s HU, best %.1f, %.0f s",
            iteration,
            losses[0] * config.ct_scale,
            losses[1],
            losses[2],
            [round(score, 1) for score in scores],
            best,
            time.monotonic() - began,
        )
    generator.load_state_dict(best_state)
    generator.eval()
    return generator


def _take_up(checkpoint: Path, parts: list[nn.Module | torch.optim.Adam]) -> tuple[int, float, dict[str, Tensor]]:
    """Fill the parts from a checkpoint; returns its iteration, best score and best weights."""
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        for part, saved in zip(parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        return state["iteration"], state["best"], state["best_state"]
    except (RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{checkpoint}: does not fit these settings ({str(error)[:200]})") from error


def _step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimisers: list[torch.optim.Adam],
    image: Tensor,
    ct: Tensor,
    weight: Tensor,
    config: RecipeConfig,
) -> tuple[float, float, float]:
    """One update of both networks; returns L1 (scaled units), adversarial and discriminator loss."""
    bce = nn.functional.binary_cross_entropy_with_logits
    autocast = torch.autocast(image.device.type, torch.bfloat16, enabled=config.bf16)
    with autocast:
        fake = generator(image.to(memory_format=torch.channels_last_3d)).float()
    shown_fake, shown_real = fake * weight - (1 - weight), ct * weight - (1 - weight)
    adversarial = torch.zeros(())
    discriminator_loss = torch.zeros(())
    if config.adversarial_weight > 0:
        with autocast:
            real_logits = discriminator(image, shown_real).float()
            fake_logits = discriminator(image, shown_fake.detach()).float()
        discriminator_loss = 0.5 * (
            bce(real_logits, torch.ones_like(real_logits)) + bce(fake_logits, torch.zeros_like(fake_logits))
        )
        optimisers[1].zero_grad(set_to_none=True)
        discriminator_loss.backward()
        optimisers[1].step()
        discriminator.requires_grad_(False)
        with autocast:
            logits = discriminator(image, shown_fake).float()
        discriminator.requires_grad_(True)
        adversarial = bce(logits, torch.ones_like(logits))
    l1 = ((fake - ct).abs() * weight).sum() / weight.sum().clamp(min=1.0)
    optimisers[0].zero_grad(set_to_none=True)
    (config.l1_weight * l1 + config.adversarial_weight * adversarial).backward()
    nn.utils.clip_grad_norm_(generator.parameters(), 20.0)
    optimisers[0].step()
    return float(l1.detach()), float(adversarial.detach()), float(discriminator_loss.detach())


def _to_device(network: Net, device: torch.device) -> Net:
    """Move a network, its weights laid out channels last: twice as fast on CPUs with bf16 instructions."""
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    return network.to(device)


@torch.no_grad()
def _follow(average: nn.Module, source: nn.Module, decay: float) -> None:
    for slow, fast in zip(average.parameters(), source.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)
    for kept, current in zip(average.buffers(), source.buffers(), strict=True):
        kept.copy_(current)


def _masked_mae(generator: UNetGenerator, case: TrainingCase, config: RecipeConfig, device: torch.device) -> float:
    generator.eval()
    patch = config.inference_patch or config.patch
    predicted = sweep(generator, case.image, patch=patch, step=0.5, device=device, wanted=case.weight > 0)
    generator.train()
    error: npt.NDArray[np.float32] = np.abs(predicted - case.ct)[case.weight > 0]
    return float(error.mean()) * config.ct_scale
