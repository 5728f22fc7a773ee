"""The adversarial term: is it real or fake, by cross entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["real_or_fake"]


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
