"""Segmentation loss of the compact extractor: cross-entropy plus soft Dice, as nnU-Net has it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from synthct.features.compact.settings import CompactSettings
from synthct.networks.unet import build_unet
from synthct.training.objective import Batch, Networks

__all__ = ["NETWORK", "CompactObjective", "segmentation_loss"]

NETWORK = "network"
MOMENTUM, WEIGHT_DECAY = 0.99, 3e-5
SMOOTH = 1e-5


def segmentation_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (cross-entropy, 1 - soft Dice).

    Dice is 2 sum(p t) / (sum p + sum t) of each sample and class, the background left out; the mean runs over the
    classes that a sample's labels hold, so that an absent one pulls nowhere. A sample without labels adds 0.

    Args:
        logits: (batch, classes, z, y, x).
        labels: (batch, 1, z, y, x), whole numbers as float.
    """
    target = labels[:, 0].long()
    entropy = nn.functional.cross_entropy(logits, target)
    share = logits.softmax(dim=1)[:, 1:]
    wanted = nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(share.dtype)
    axes = (2, 3, 4)
    present = wanted.sum(axes) > 0
    dice = 2 * (share * wanted).sum(axes) / (share.sum(axes) + wanted.sum(axes) + SMOOTH)
    lost = ((1 - dice) * present).sum(dim=1) / present.sum(dim=1).clamp_min(1)
    return entropy, lost.mean()


class CompactObjective:
    """One network, one turn.

    Args:
        settings: of the recipe.
    """

    def __init__(self, settings: CompactSettings) -> None:
        self._settings = settings

    def networks(self) -> dict[str, nn.Module]:
        """Build the network."""
        return {NETWORK: build_unet(self._settings.network)}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """SGD as nnU-Net has it, or AdamW."""
        weights, rate = nets[NETWORK].parameters(), self._settings.learning_rate
        optimiser: torch.optim.Optimizer
        if self._settings.optimiser == "sgd":
            optimiser = torch.optim.SGD(weights, lr=rate, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
        else:
            optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=WEIGHT_DECAY)
        return {NETWORK: ((NETWORK,), optimiser)}

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield cross-entropy + (1 - Dice); the labels are the batch's reference."""
        entropy, dice = segmentation_loss(nets[NETWORK](batch.image).float(), batch.reference)
        yield NETWORK, entropy + dice, {"entropy": entropy.detach(), "dice_loss": dice.detach()}
