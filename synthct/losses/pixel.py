"""Voxel-wise losses inside a mask."""

from __future__ import annotations

from torch import Tensor

__all__ = ["masked_l1", "masked_mean"]


def masked_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of each sample, then the plain mean over the batch.

    Every sample counts the same however large its mask, so two processes with a batch of n find the loss, and by the
    mean of their gradients the step, of one process with a batch of 2n.

    Args:
        error: (batch, ...), of any unit.
        weight: of the same shape, at least 0.

    Returns:
        A scalar in the error's unit. A sample whose weight is 0 everywhere adds 0 and still counts in the mean.
    """
    axes = tuple(range(1, error.dim()))
    total = weight.sum(dim=axes)
    safe = total.where(total > 0, total.new_ones(()))
    return ((error * weight).sum(dim=axes) / safe).mean()


def masked_l1(prediction: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference inside the mask (masked_mean), e.g. the L1 term of paper 003, equation 1.

    Args:
        prediction: (batch, channels, z, y, x).
        reference: of the same shape.
        weight: of the same shape, at least 0.
    """
    return masked_mean((prediction - reference).abs(), weight)
