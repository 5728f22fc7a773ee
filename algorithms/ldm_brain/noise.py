"""The noise process: what a denoiser is trained on, for diffusion and for rectified flow."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

if TYPE_CHECKING:
    from monai.networks.schedulers.ddpm import DDPMScheduler
    from monai.networks.schedulers.rectified_flow import RFlowScheduler

__all__ = ["NoiseConfig", "flow_scheduler", "signal_power", "training_example"]


class NoiseConfig(BaseModel):
    """How a latent becomes noise, and what a network tells of the mixture.

    Attributes:
        kind: `ddpm`, sampled by DDIM; or `rectified-flow`, a straight line from noise to the latent.
        times: steps of the process, of which training draws one. MONAI's rectified flow keeps times in fp16, which
            counts to 2048.
        schedule: of ddpm's betas; rectified flow has none.
        beta_start: first of them.
        beta_end: last of them.
        prediction: what a ddpm network predicts: the noise (epsilon) or v = a noise - s latent, where the mixture is
            a latent + s noise. A network of rectified flow predicts latent - noise, whatever stands here.
        shift: of the times that rectified flow is trained at: t of [0, 1] becomes s t / (1 + (s - 1) t), so that above
            1 more of them are noisy (Esser et al. 2024, arXiv 2403.03206, equation 23). 1 draws them evenly.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["ddpm", "rectified-flow"] = "ddpm"
    times: int = Field(default=1000, gt=1, le=2048)
    schedule: Literal["scaled_linear_beta", "linear_beta"] = "scaled_linear_beta"
    beta_start: float = Field(default=0.0015, gt=0, lt=1)
    beta_end: float = Field(default=0.0205, gt=0, lt=1)
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    shift: float = Field(default=1.0, ge=0.1, le=20)

    @model_validator(mode="after")
    def _shift_is_of_rectified_flow(self) -> NoiseConfig:
        if self.kind == "ddpm" and self.shift != 1:
            raise ValueError(f"shift {self.shift:g} is of rectified flow; expected 1 for ddpm")
        return self

    @model_validator(mode="after")
    def _betas_grow(self) -> NoiseConfig:
        if not self.beta_start < self.beta_end:
            raise ValueError(f"beta_start {self.beta_start:g} is not below beta_end {self.beta_end:g}")
        return self


def training_example(
    config: NoiseConfig,
    latent: Tensor,
    generator: torch.Generator | None = None,
    *,
    times: Tensor | None = None,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix latents with noise at random times.

    Args:
        config: of the process.
        latent: scaled, (b, c, z, y, x); taken as float32.
        generator: draws times and noise, on its own device; None: torch's global one, on the latent's device.
        times: (b,) where they are not to be drawn: 0 to times - 1 for ddpm, 1 to times for rectified flow, where
            `times` is noise alone.
        noise: (b, c, z, y, x) where it is not to be drawn.

    Returns:
        The mixture (b, c, z, y, x), what a network should say of it (the same shape), and the times (b,), int64; all
        on the latent's device.
    """
    latent = latent.float()  # MONAI's schedulers would change their own tables to the latent's type, for good
    place = latent.device if generator is None else generator.device
    if times is None:
        first = 0 if config.kind == "ddpm" else 1
        drawn = torch.randint(first, first + config.times, (len(latent),), generator=generator, device=place)
        times = _shifted(drawn, config).to(latent.device)
    if noise is None:
        noise = torch.randn(latent.shape, generator=generator, device=place).to(latent.device)
    if config.kind == "rectified-flow":
        mixed: Tensor = flow_scheduler(config).add_noise(latent, noise, times)
        return mixed, latent - noise, times
    scheduler = _ddpm_scheduler(config)
    noisy = scheduler.add_noise(latent, noise, times)
    target: Tensor = noise if config.prediction == "epsilon" else scheduler.get_velocity(latent, noise, times)
    return noisy, target, times


def _shifted(times: Tensor, config: NoiseConfig) -> Tensor:
    """Move times towards noise, or away from it; with `shift` 1 as they are. Rectified flow keeps 1 to times."""
    if config.shift == 1:
        return times
    share = times.double() / config.times
    moved = config.shift * share / (1 + (config.shift - 1) * share) * config.times
    return moved.round().long().clamp(1, config.times)


def signal_power(config: NoiseConfig) -> Tensor:
    """Share of the latent's variance that is left at each time of ddpm (alpha bar), (times,) float32 on the CPU."""
    power: Tensor = _ddpm_scheduler(config).alphas_cumprod
    return power.float().cpu()


def flow_scheduler(config: NoiseConfig) -> RFlowScheduler:
    """MONAI's scheduler of the straight line."""
    from monai.networks.schedulers.rectified_flow import RFlowScheduler

    return RFlowScheduler(num_train_timesteps=config.times, use_discrete_timesteps=True)


@cache
def _ddpm_scheduler(config: NoiseConfig) -> DDPMScheduler:
    from monai.networks.schedulers.ddpm import DDPMScheduler

    betas: dict[str, Any] = {"beta_start": config.beta_start, "beta_end": config.beta_end}
    return DDPMScheduler(
        num_train_timesteps=config.times,
        schedule=config.schedule,
        prediction_type=config.prediction,
        clip_sample=False,
        **betas,
    )
