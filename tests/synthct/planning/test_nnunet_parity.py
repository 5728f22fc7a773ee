"""Our rules against nnU-Net's own code: the same figures give the same plan."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures import ASSUMED, Floats, Triple, figures, uniform
from nnunet_rules import NnUNetPlan, make_planner, plan_of

from synthct.networks.unet import UNetPlan, build_unet
from synthct.planning.memory import feature_map_voxels
from synthct.planning.plan import Plan, make_plan
from synthct.planning.topology import make_topology

pytest.importorskip("nnunetv2", reason="needs nnunetv2 (extra totalsegmentator)")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return make_planner(tmp_path, monkeypatch)


def in_their_words(plan: Plan) -> NnUNetPlan:
    network = plan.network
    return NnUNetPlan(plan.spacing, plan.patch, plan.batch, network.strides, network.kernels, network.features)


@pytest.mark.parametrize("gpu_memory_gb", [3.0, 8.0, 24.0, 80.0])
@pytest.mark.parametrize("region", ASSUMED)
def test_synthrad_like_cases(planner: Any, region: str, gpu_memory_gb: float) -> None:
    spacing, shape, _ = ASSUMED[region]
    theirs = plan_of(planner, [spacing] * 40, [shape] * 40, gpu_memory_gb)
    assert in_their_words(make_plan(uniform(spacing, shape), gpu_memory_gb=gpu_memory_gb)) == theirs


def any_cases(seed: int) -> tuple[list[Floats], list[Triple], float]:
    """Spacings, shapes and a memory: near-isotropic and very anisotropic, on any axis, 1 to 200 cases."""
    rng = random.Random(seed)
    cases = rng.choice([1, 2, 5, 40, 200])
    spacing = [rng.uniform(0.5, 9.0), rng.uniform(0.5, 2.0), rng.uniform(0.5, 2.0)]
    shape = [rng.randint(12, 400) for _ in range(3)]
    if rng.random() < 0.3:
        rng.shuffle(spacing)
    if rng.random() < 0.2:
        spacing = [1.0, 1.0, 1.0]
    spread = rng.choice([0.0, 0.25])

    def vary(value: float) -> float:
        return value * (1 + rng.uniform(-spread, spread))

    spacings = [(vary(spacing[0]), vary(spacing[1]), vary(spacing[2])) for _ in range(cases)]
    shapes = [tuple(max(3, int(vary(edge))) for edge in shape) for _ in range(cases)]
    return spacings, [(z, y, x) for z, y, x in shapes], rng.choice([2.0, 6.0, 8.0, 11.0, 24.0, 80.0])


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_any_cases(planner: Any, first: int) -> None:
    for seed in range(first, first + 10):
        spacings, shapes, memory = any_cases(seed)
        theirs = plan_of(planner, spacings, shapes, memory)
        assert in_their_words(make_plan(figures(spacings, shapes), gpu_memory_gb=memory)) == theirs, seed


def test_any_topology() -> None:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    rng = random.Random(1)
    for _ in range(500):
        spacing = (rng.uniform(0.3, 8), rng.uniform(0.3, 8), rng.uniform(0.3, 8))
        patch = [rng.randint(1, 320) + rng.choice([0.0, 0.5]) for _ in range(3)]
        _, strides, kernels, padded, multiple = get_pool_and_conv_props(spacing, patch, 4, 999999)
        ours = make_topology(spacing, patch)
        assert (ours.strides, ours.kernels) == (strides, kernels), (spacing, patch)
        assert ours.patch == tuple(padded)
        assert ours.multiple == tuple(multiple)


@pytest.mark.parametrize("kind", ["plain", "residual", "hybrid"])
@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ((56, 160, 224), {}),
        ((48, 160, 256), {"encoder_blocks": (1, 3, 4, 6, 6, 6), "decoder_blocks": 1}),
        ((16, 64, 96), {"input_channels": 2, "output_channels": 7, "decoder_blocks": (1, 2, 3, 1, 2)}),
        ((64, 64, 64), {"features": (8, 8, 8, 16, 16, 20), "upsampling": "trilinear"}),
        ((32, 64, 64), {"strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 1, 1))}),
    ],
)
def test_feature_maps_are_counted_as_the_networks_do(kind: str, patch: Triple, changes: dict[str, Any]) -> None:
    import torch

    plan = UNetPlan.model_validate({"kind": kind, "upsampling": "transposed", **changes})
    with torch.device("meta"):
        network: Any = build_unet(plan)
    assert feature_map_voxels(plan, patch) == int(network.compute_conv_feature_map_size(patch))


def test_residual_limits_are_those_of_the_residual_encoder_planner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its block counts, the hybrid is nnU-Net's ResEnc network: then its plan is ours (8 GB, 5 % of the data)."""
    planner = make_planner(tmp_path, monkeypatch, "ResEncUNetPlanner")
    planner.UNet_blocks_per_stage_encoder = (2,) * 13
    planner.UNet_blocks_per_stage_decoder = (2,) * 12
    for spacing, shape, _ in ASSUMED.values():
        theirs = plan_of(planner, [spacing] * 40, [shape] * 40)
        assert in_their_words(make_plan(uniform(spacing, shape), kind="hybrid")) == theirs
    assert np.isclose(planner.UNet_reference_val_3d, 680e6)
