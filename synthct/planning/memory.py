"""nnU-Net's measure of memory: voxels of all feature maps that a training pass keeps (ALGORITHMS 6)."""

from __future__ import annotations

import math

from synthct.networks.unet import UNetPlan

__all__ = ["REFERENCE_BATCH", "feature_map_limit", "feature_map_voxels"]

REFERENCE_BATCH = 2
"""Patches of one step that the limits below are meant for."""

_REFERENCE_GB = 8.0
_REFERENCE_VOXELS = {"plain": 560e6, "residual": 680e6, "hybrid": 680e6}
"""Feature-map voxels of one patch that fit into 8 GB with two patches a step.

nnU-Net's figures for its plain and its residual-encoder network. It has none for a residual decoder: that of the
residual encoder is taken for it.
"""


def feature_map_limit(kind: str, gpu_memory_gb: float) -> float:
    """Feature-map voxels of one patch that fit into a GPU memory with two patches a step."""
    return _REFERENCE_VOXELS[kind] * gpu_memory_gb / _REFERENCE_GB


def feature_map_voxels(network: UNetPlan, patch: tuple[int, int, int]) -> int:
    """Count the output voxels of all convolutions for one patch, over all channels.

    The same count as `compute_conv_feature_map_size` of dynamic-network-architectures, for its three U-Nets. It takes
    every upsampling for a transposed convolution: what trilinear interpolation keeps beside it is not counted.

    Args:
        network: shape of the network.
        patch: edges (z, y, x), a multiple of the strides.
    """
    stages = len(network.features)
    residual = network.kind != "plain"
    voxels = math.prod(patch)
    total = network.features[0] * voxels if residual else 0  # the stem
    inputs = network.features[0]
    sizes: list[int] = []
    for features, stride, blocks in zip(
        network.features, network.strides, _entries(network.encoder_blocks, stages), strict=True
    ):
        voxels //= math.prod(stride)
        sizes.append(voxels)
        projected = inputs != features or math.prod(stride) > 1
        total += features * voxels * (2 * blocks + projected if residual else blocks)
        inputs = features
    up = _entries(network.decoder_blocks, stages - 1)
    for blocks, features, voxels in zip(up, network.features[-2::-1], sizes[-2::-1], strict=True):
        # A residual decoder's first block takes in twice the channels that it gives, so its skip has a convolution.
        convolutions = 2 * blocks + 1 if network.kind == "residual" else blocks
        total += features * voxels * (convolutions + 1)  # and the upsampling
    return total + network.output_channels * sizes[0]


def _entries(counts: int | tuple[int, ...], number: int) -> tuple[int, ...]:
    return (counts,) * number if isinstance(counts, int) else counts
