"""Stage three: a ControlNet learns to steer the frozen UNet by the MR (ALGORITHMS 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.ldm_brain.codec import decode
from algorithms.ldm_brain.latents import latents_of
from algorithms.ldm_brain.networks import LatentDiffusion, build_controlnet, copy_encoder, steered
from algorithms.ldm_brain.noise import training_example
from algorithms.ldm_brain.pictures import compared, grey
from algorithms.ldm_brain.sampling import Sampler
from algorithms.ldm_brain.settings import RecipeConfig
from synthct.training.objective import Batch, CaseScore, Network, Networks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from algorithms.ldm_brain.held_out import HeldOutPatches
    from synthct.inference.precision import UsedPrecision

__all__ = ["CONTROLNET", "ControlNetObjective", "SampledValidation"]

CONTROLNET = "controlnet"


class ControlNetObjective:
    """Mean squared error of the steered UNet's prediction; only the ControlNet learns.

    It starts as a copy of the UNet's encoder whose outputs are multiplied by 0: at first the UNet hears nothing of it.

    Args:
        config: the preset.
        autoencoder: frozen, of stage one.
        unet: frozen, of stage two, in evaluation mode.
        scale: factor of the latents, as stage two found it.
        fabric: for the precision of both networks together.
    """

    def __init__(self, config: RecipeConfig, autoencoder: Network, unet: Network, scale: float, fabric: Fabric) -> None:
        self._config = config
        self._autoencoder = autoencoder
        self._unet = unet
        self._scale = scale
        self._fabric = fabric

    def networks(self) -> dict[str, nn.Module]:
        """Build the ControlNet and copy the UNet's encoder into it, checked."""
        controlnet = build_controlnet(self._config.networks)
        copy_encoder(self._unet.module, controlnet)
        return {CONTROLNET: controlnet}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for the ControlNet."""
        rate = self._config.controlnet.learning_rate
        return {CONTROLNET: ((CONTROLNET,), torch.optim.Adam(nets[CONTROLNET].parameters(), lr=rate))}

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield the one turn's loss."""
        latent = latents_of(self._autoencoder, batch.reference) * self._scale
        noisy, target, times = training_example(self._config.noise, latent)
        with self._fabric.autocast():
            found = steered(self._unet.module, nets[CONTROLNET].module, noisy, times, batch.image)
        yield CONTROLNET, functional.mse_loss(found.float(), target), {}


class SampledValidation:
    """Mean absolute error, in HU inside the mask, of patches of held-out cases that were sampled in a few steps.

    Args:
        patches: of the held-out cases.
        config: the preset; `validation_steps` says how many.
        autoencoder: frozen.
        unet: frozen.
        scale: factor of the latents.
        precision: of the networks.
    """

    def __init__(
        self,
        patches: HeldOutPatches,
        config: RecipeConfig,
        autoencoder: Network,
        unet: Network,
        scale: float,
        precision: UsedPrecision,
    ) -> None:
        self._patches = patches
        self._config = config
        self._autoencoder: Any = autoencoder
        self._unet: Any = unet.module
        self._scale = scale
        self._precision = precision
        self._sampling = config.sampling.model_copy(update={"steps": config.validation_steps, "samples": 1})

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases."""
        return self._patches.cases

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Judge one case; returns mae_hu and a picture of its last patch: MR, sCT, CT."""
        config, tile = self._config, self._config.patches.patch
        controlnet: Any = nets[CONTROLNET]
        sampler = Sampler(
            LatentDiffusion(self._autoencoder.module, self._unet, controlnet),
            config=config.networks,
            noise=config.noise,
            sampling=self._sampling,
            scale_factor=self._scale,
            tile=tile,
            precision=self._precision,
        )
        total, voxels, picture = 0.0, 0, np.zeros((1, 1), np.float32)
        for number, patch in enumerate(self._patches.of(index)):
            latent = sampler.latent(patch.image[0, 0], number=number)
            found = config.ct.invert(decode(self._autoencoder, latent, tile).cpu().numpy())
            truth = config.ct.invert(patch.reference[0, 0].cpu().numpy())
            inside = patch.weight[0, 0].cpu().numpy() > 0
            total += float(np.abs(found - truth)[inside].sum(dtype=np.float64))
            voxels += int(inside.sum())
            middle = len(truth) // 2
            mr = grey(patch.image[0, 0, middle].cpu().numpy(), 0.0, 1.0)
            picture = np.concatenate([mr, compared(found[middle], truth[middle])], axis=1)
        return CaseScore({"mae_hu": total / max(voxels, 1)}, {f"{self._patches.cases[index]} MR, sCT, CT": picture})
