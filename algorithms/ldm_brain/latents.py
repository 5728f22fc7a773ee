"""Latents to train on: a frozen autoencoder's means, times a factor that gives them a deviation of about 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from synthct.errors import InputError
from synthct.training.objective import Network

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["ScaleFactor", "frozen", "latents_of", "scale_factor"]


class ScaleFactor(nn.Module):
    """The factor as a buffer: checkpoints hold it, and every process has the first one's."""

    value: Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(value, dtype=torch.float32))


def frozen(network: nn.Module, fabric: Fabric) -> Network:
    """Put a network on the run's device, in evaluation mode and without gradients, to be called in its precision."""
    return Network(fabric.to_device(network).eval().requires_grad_(False), fabric)


@torch.no_grad()
def latents_of(autoencoder: Network, ct: Tensor) -> Tensor:
    """Return the mean of each patch's latent, not scaled.

    The mean and not a draw: with a KL term of 1e-6 the deviation is small, prediction decodes what comes near the mean,
    and it takes no random numbers.

    Args:
        autoencoder: frozen.
        ct: normalised, (batch, 1, z, y, x), edges multiples of the factor.

    Returns:
        (batch, c, z/f, y/f, x/f) float32.
    """
    mean: Tensor = autoencoder.encode(ct)[0]
    return mean.float()


def scale_factor(autoencoder: Network, patches: Iterable[Tensor]) -> float:
    """Return 1 / std(z) over all voxels and channels of the patches' latents (ALGORITHMS 4).

    Args:
        autoencoder: frozen.
        patches: normalised CT, (1, 1, z, y, x) each, on the autoencoder's device.

    Raises:
        InputError: the latents have no deviation: an autoencoder that learned nothing.
    """
    number, total, squares = 0, 0.0, 0.0
    for patch in patches:
        latent = latents_of(autoencoder, patch).double()
        number += latent.numel()
        total += float(latent.sum())
        squares += float(latent.square().sum())
    variance = squares / number - (total / number) ** 2 if number else 0.0
    if not variance > 0:
        raise InputError(f"{number} latent voxels of the training cases are all alike; expected some deviation")
    return float(variance**-0.5)
