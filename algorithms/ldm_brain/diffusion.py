"""Stage two: a UNet learns to tell noise from latents, without any MR (ALGORITHMS 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.ldm_brain.latents import ScaleFactor, latents_of
from algorithms.ldm_brain.networks import build_unet
from algorithms.ldm_brain.noise import training_example
from algorithms.ldm_brain.pictures import grey
from algorithms.ldm_brain.settings import RecipeConfig
from synthct.training.objective import Batch, CaseScore, Network, Networks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from algorithms.ldm_brain.held_out import HeldOutPatches

__all__ = ["SCALE", "UNET", "DenoisingValidation", "DiffusionObjective"]

UNET = "unet"
SCALE = "scale"

SHOWN_DEVIATIONS = 3.0
"""A picture shows latents from so many deviations below 0 to as many above."""


class DiffusionObjective:
    """Mean squared error of the UNet's prediction for latents at random times (noise, or what `noise` asks for).

    Args:
        config: the preset.
        autoencoder: frozen, of stage one.
        scale: factor of the latents; on resume the checkpoint's holds.
    """

    def __init__(self, config: RecipeConfig, autoencoder: Network, scale: float) -> None:
        self._config = config
        self._autoencoder = autoencoder
        self._scale = scale

    def networks(self) -> dict[str, nn.Module]:
        """Build the UNet, and the factor as what a checkpoint holds beside it."""
        return {UNET: build_unet(self._config.networks), SCALE: ScaleFactor(self._scale)}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for the UNet."""
        rate = self._config.diffusion.learning_rate
        return {UNET: ((UNET,), torch.optim.Adam(nets[UNET].parameters(), lr=rate))}

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield the one turn's loss."""
        latent = latents_of(self._autoencoder, batch.reference) * nets[SCALE].value
        noisy, target, times = training_example(self._config.noise, latent)
        yield UNET, functional.mse_loss(nets[UNET](noisy, times), target), {"latent_std": latent.std()}


class DenoisingValidation:
    """The same error on patches of held-out cases, at times and with noise that are the same in every validation.

    Args:
        patches: of the held-out cases.
        config: the preset.
        autoencoder: frozen.
        fabric: device and precision.
    """

    def __init__(self, patches: HeldOutPatches, config: RecipeConfig, autoencoder: Network, fabric: Fabric) -> None:
        self._patches = patches
        self._config = config
        self._autoencoder = autoencoder
        self._fabric = fabric

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases."""
        return self._patches.cases

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Judge one case; returns mse and a picture of a latent channel: mixture, target, prediction."""
        noise, unet, scale = self._config.noise, Network(nets[UNET], self._fabric), nets[SCALE].get_buffer("value")
        first, draws = (0 if noise.kind == "ddpm" else 1), self._patches.number
        errors, planes = [], []
        for number, patch in enumerate(self._patches.of(index)):
            latent = latents_of(self._autoencoder, patch.reference) * scale
            drawn = torch.tensor([first + (2 * number + 1) * noise.times // (2 * draws)], device=latent.device)
            noisy, target, times = training_example(noise, latent, times=drawn)
            found = unet(noisy, times)
            errors.append(float(functional.mse_loss(found, target)))
            planes = [_middle(tensor) for tensor in (noisy, target, found)]
        title = f"{self._patches.cases[index]} latent: mixture, target, prediction"
        return CaseScore({"mse": float(np.mean(errors))}, {title: np.concatenate(planes, axis=1)})


def _middle(latent: Tensor) -> np.ndarray:
    plane = latent[0, 0, latent.shape[2] // 2].float().cpu().numpy()
    return grey(plane, -SHOWN_DEVIATIONS, SHOWN_DEVIATIONS)
