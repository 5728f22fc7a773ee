"""The adversarial term: is it real or fake, by cross entropy, by a hinge or by least squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["hinge_generator", "hinge_real_or_fake", "real_or_fake", "squared_real_or_fake"]


def real_or_fake(logits: Tensor, *, is_real: bool) -> Tensor:
    """Binary cross entropy of logits against one answer for all, in float32 (papers 001 and 003).

    Args:
        logits: of any shape, e.g. a patch discriminator's map (batch, 1, z, y, x); above 0 says real.
        is_real: the answer. The generator's turn asks for True on what it made.

    Returns:
        A scalar, the mean over all logits: ln(1 + exp(-logit)) for real, ln(1 + exp(logit)) for fake.
    """
    logits = logits.float()
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))


def hinge_real_or_fake(logits: Tensor, *, is_real: bool) -> Tensor:
    """One half of the discriminator's hinge loss, in float32 (paper 000; ALGORITHMS 2.2). Not for the generator.

    Args:
        logits: of any shape; above 0 says real.
        is_real: the answer. The discriminator's loss is the sum of the real half and the fake half.

    Returns:
        A scalar, the mean over all logits: max(0, 1 - logit) for real, max(0, 1 + logit) for fake.
    """
    logits = logits.float()
    return nn.functional.relu(1.0 - logits if is_real else 1.0 + logits).mean()


def hinge_generator(logits: Tensor) -> Tensor:
    """The generator's side of the hinge loss: minus the mean logit of what it made, in float32.

    It has no hinge: where the discriminator says 10 everywhere it is -10, and its gradient never vanishes.

    Args:
        logits: of the synthetic CT, of any shape.
    """
    return -logits.float().mean()


def squared_real_or_fake(logits: Tensor, *, is_real: bool) -> Tensor:
    """Least squares (LSGAN), in float32 and without the activation that MONAI puts before it (ALGORITHMS 7.2).

    Args:
        logits: of any shape; 1 says real, 0 fake.
        is_real: the answer. The generator's turn asks for True on what it made.

    Returns:
        A scalar, the mean over all logits: (logit - 1)^2 for real, logit^2 for fake.
    """
    return (logits.float() - float(is_real)).square().mean()
