"""Counting feature maps by hand."""

from __future__ import annotations

from typing import Any

import pytest

from synthct.networks.unet import UNetPlan, build_unet
from synthct.planning.memory import feature_map_limit, feature_map_voxels

TWO_STAGES = {
    "features": (2, 4),
    "kernels": ((3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (2, 2, 2)),
    "encoder_blocks": 2,
    "decoder_blocks": 2,
}


def counted(kind: str, **changes: object) -> int:
    return feature_map_voxels(UNetPlan.model_validate({"kind": kind, **TWO_STAGES, **changes}), (4, 4, 4))


def test_plain_by_hand() -> None:
    # 64 voxels: two convolutions of 2; 8 voxels: two of 4; back at 64: upsampling and two of 2; the result, 1
    assert counted("plain") == 2 * 2 * 64 + 2 * 4 * 8 + 3 * 2 * 64 + 64


def test_hybrid_by_hand() -> None:
    # stem; two blocks of two convolutions in each stage, and one for the skip where channels or size change
    encoder = 2 * 64 + 4 * 2 * 64 + (4 + 1) * 4 * 8
    assert counted("hybrid") == encoder + 3 * 2 * 64 + 64


def test_residual_by_hand() -> None:
    encoder = 2 * 64 + 4 * 2 * 64 + (4 + 1) * 4 * 8
    decoder = (4 + 1 + 1) * 2 * 64  # two blocks, the skip of the first, the upsampling
    assert counted("residual") == encoder + decoder + 64


def test_upsampling_is_not_told_apart() -> None:
    assert counted("plain", upsampling="trilinear") == counted("plain", upsampling="transposed")


def test_outputs_are_counted() -> None:
    assert counted("plain", output_channels=7) - counted("plain") == 6 * 64


@pytest.mark.parametrize(
    ("kind", "gigabytes", "voxels"),
    [("plain", 8.0, 560e6), ("residual", 8.0, 680e6), ("hybrid", 8.0, 680e6), ("plain", 24.0, 3 * 560e6)],
)
def test_limits(kind: str, gigabytes: float, voxels: float) -> None:
    assert feature_map_limit(kind, gigabytes) == pytest.approx(voxels)


def kept_for_gradients(plan: UNetPlan, patch: tuple[int, int, int]) -> int:
    """Values that torch itself keeps between forward and backward pass for one patch, weights aside."""
    import torch

    kept: dict[int, Any] = {}  # holds the storages, so that no number is given twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.device("meta"):
        network, image = build_unet(plan), torch.empty((1, 1, *patch))
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(image).sum()
    return sum(storage.nbytes() // 4 for key, storage in kept.items() if key not in weights)


@pytest.mark.parametrize(
    ("kind", "upsampling", "ratio"),
    [
        ("plain", "transposed", 1.0),
        ("plain", "trilinear", 1.2),
        ("hybrid", "transposed", 1.2),
        ("hybrid", "trilinear", 1.35),
        ("residual", "transposed", 1.15),
        ("residual", "trilinear", 1.26),
    ],
)
def test_a_full_limit_means_about_the_same_memory_for_each_network(kind: str, upsampling: str, ratio: float) -> None:
    """nnU-Net's 8 GB are those of its plain network; what the others keep at their limit, in units of that."""
    patch = (40, 128, 192)
    plan = UNetPlan.model_validate({"kind": kind, "upsampling": upsampling})
    per_voxel = kept_for_gradients(plan, patch) / feature_map_voxels(plan, patch)
    plain = UNetPlan(kind="plain", upsampling="transposed")
    reference = kept_for_gradients(plain, patch) / feature_map_voxels(plain, patch) * feature_map_limit("plain", 8)
    assert per_voxel * feature_map_limit(kind, 8) / reference == pytest.approx(ratio, abs=0.03)
