"""Gradient consistency, an extension of ours: edges of the synthetic CT where the MR has them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gradient_consistency"]

LEAST_VARIANCE = 1e-6
"""A deviation of 0.001 units (1 HU). What is flatter has no edges to compare, and its gradient must not run away."""


def gradient_consistency(image: Tensor, prediction: Tensor) -> Tensor:
    """1 - normalised cross-correlation of two images' gradient magnitudes; not in paper 001.

    Unpaired losses cannot tell where anatomy lies. This one can, and asks nothing of the intensities: which tissue is
    bright does not matter, nor by how much. In a patch, with |g| the length of the three forward differences (in
    units a voxel) and the means over the voxels where |g| of either image is above 0:

        1 - mean((|g_a| - mean |g_a|) (|g_b| - mean |g_b|)) / sqrt(var |g_a| var |g_b|)

    Args:
        image: MR in network units, (batch, 1, z, y, x), each edge at least 2.
        prediction: sCT of the same place in network units, the same shape.

    Returns:
        A scalar in float32, 0 to 2, the mean over the batch. A patch where neither image has a gradient counts 0; one
        where only one has variation, 1 without a gradient.
    """
    edges, others = (_magnitudes(each.float()) for each in (image, prediction))
    counted = ((edges > 0) | (others > 0)).float()
    total = counted.sum(dim=1)
    safe = total.clamp_min(1.0)
    first, second = (
        (each - (each * counted).sum(dim=1, keepdim=True) / safe[:, None]) * counted for each in (edges, others)
    )
    covariance = (first * second).sum(dim=1) / safe
    variances = [(each.square().sum(dim=1) / safe).clamp_min(LEAST_VARIANCE) for each in (first, second)]
    correlation = covariance / (variances[0] * variances[1]).sqrt()
    return torch.where(total > 0, 1.0 - correlation, 0.0).mean()


def _magnitudes(image: Tensor) -> Tensor:
    """Length of the forward differences, (batch, voxels); each axis is one voxel shorter."""
    corner = image[:, :, :-1, :-1, :-1]
    steps = (image[:, :, 1:, :-1, :-1], image[:, :, :-1, 1:, :-1], image[:, :, :-1, :-1, 1:])
    differences = torch.stack([step - corner for step in steps])
    lengths: Tensor = torch.linalg.vector_norm(differences, dim=0)  # its gradient is 0 where the length is
    return lengths.flatten(1)
