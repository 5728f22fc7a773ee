"""Loss and validation of nnresunet-afp against figures worked out by hand; where gradients go and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from nnresunet_runs import CBCT, CT, PATCH, make_plan_by_hand, save_tiny_extractor, settings
from torch import Tensor, nn

from algorithms.nnresunet_afp.objective import NETWORK, AfpObjective
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.nnresunet_afp.validation import FeatureJudge
from synthct.features.folder import open_extractor
from synthct.features.interface import FeatureExtractor
from synthct.losses.anatomical import AnatomicalFeatureLoss
from synthct.planning.plan import Plan
from synthct.training.objective import Batch, Networks

PLAN = make_plan_by_hand()


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    folder = tmp_path_factory.mktemp("extractor")
    save_tiny_extractor(folder)
    return open_extractor(folder)


def make_batch(seed: int = 2) -> Batch:
    """Two samples; the left half of the second does not count."""
    torch.manual_seed(seed)
    weight = torch.ones(2, 1, *PATCH)
    weight[1, ..., :8] = 0
    return Batch(torch.randn(2, 1, *PATCH), torch.randn(2, 1, *PATCH), weight)


def made(objective: AfpObjective) -> dict[str, nn.Module]:
    torch.manual_seed(5)
    return objective.networks()


def loss_of(
    config: RecipeConfig, fabric: Fabric, extractor: FeatureExtractor | None, batch: Batch, plan: Plan = PLAN
) -> tuple[Tensor, dict[str, Tensor], nn.Module]:
    objective = AfpObjective(config, plan, extractor, fabric)
    nets = made(objective)
    ((turn, loss, scalars),) = list(objective.losses(Networks(nets, fabric), batch))
    assert turn == NETWORK
    return loss, scalars, nets[NETWORK]


def l1_by_hand(predicted: Tensor, batch: Batch) -> Tensor:
    """Mean inside each sample's mask, then over the samples."""
    error = (predicted - batch.reference).abs()
    return torch.stack([error[0].mean(), error[1][..., 8:].mean()]).mean()


def test_l1_alone_is_the_error_inside_the_mask(fabric: Fabric) -> None:
    batch = make_batch()
    loss, scalars, net = loss_of(settings(), fabric, None, batch)
    expected = l1_by_hand(net(batch.image), batch)
    torch.testing.assert_close(loss, expected)
    assert set(scalars) == {"l1_hu"}
    assert scalars["l1_hu"].item() == pytest.approx(250 * expected.item())
    assert not scalars["l1_hu"].requires_grad


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_five_times_l1_and_the_features_by_hand(fabric: Fabric, extractor: FeatureExtractor, reduction: str) -> None:
    """In HU, the CT shown where the sCT does not count; each layer's mean difference, then their sum or mean."""
    batch = make_batch()
    config = settings(l1_weight=5.0, afp_weight=2.0, reduction=reduction)
    loss, scalars, net = loss_of(config, fabric, extractor, batch)
    with torch.no_grad():
        predicted = net(batch.image)
        truth = batch.reference * 250 - 100
        shown = torch.where(batch.weight > 0, predicted * 250 - 100, truth)
        share = torch.tensor([1.0, 0.5])  # of each sample's patch that counts
        pairs = zip(extractor(shown), extractor(truth), strict=True)
        layers = [((ours - theirs).abs().mean(dim=(1, 2, 3, 4)) / share).mean() for ours, theirs in pairs]
    assert len(layers) == 3
    assert min(layers) > 1e-3
    afp = sum(layers) / (1 if reduction == "sum" else 3)
    torch.testing.assert_close(scalars["afp"], afp, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss.detach(), 5 * l1_by_hand(predicted, batch) + 2 * afp, rtol=1e-4, atol=1e-6)
    assert set(scalars) == {"l1_hu", "afp"}


def test_features_alone_leave_l1_to_the_log(fabric: Fabric, extractor: FeatureExtractor) -> None:
    loss, scalars, _ = loss_of(settings(l1_weight=0.0, afp_weight=1.0), fabric, extractor, make_batch())
    torch.testing.assert_close(loss.detach(), scalars["afp"])
    assert scalars["l1_hu"] > 0


def test_the_gradient_reaches_the_network_and_not_the_extractor(fabric: Fabric, extractor: FeatureExtractor) -> None:
    before = {name: tensor.clone() for name, tensor in extractor.state_dict().items()}
    loss, _, net = loss_of(settings(l1_weight=0.0, afp_weight=1.0), fabric, extractor, make_batch())
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in net.parameters()]
    assert all(grad is not None for grad in grads)
    assert sum(float(grad.abs().sum()) for grad in grads if grad is not None) > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in extractor.parameters())
    assert not extractor.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in extractor.state_dict().items())


def test_forty_steps_lower_the_features_distance(fabric: Fabric, extractor: FeatureExtractor) -> None:
    """On one batch over and over: what the extractor measures falls."""
    config = settings(l1_weight=0.0, afp_weight=1.0, optimiser="adam", learning_rate=3e-3, weight_decay=0.0)
    objective = AfpObjective(config, PLAN, extractor, fabric)
    nets = made(objective)
    ((names, optimiser),) = objective.optimisers(nets).values()
    assert names == (NETWORK,)
    told = []
    for _ in range(40):
        ((_, loss, _),) = list(objective.losses(Networks(nets, fabric), make_batch()))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        told.append(loss.item())
    assert told[-1] < 0.8 * told[0]


def test_the_skip_is_trained_through(fabric: Fabric) -> None:
    """The image in HU is added before the loss: a network without a say pays for the CBCT's own error."""
    plan = make_plan_by_hand(image=CBCT.model_dump())
    objective = AfpObjective(settings(global_skip=True), plan, None, fabric)
    nets = made(objective)
    with torch.no_grad():
        for weight in nets[NETWORK].parameters():
            weight.zero_()
    hu = np.full(PATCH, 40.0, np.float32)
    image, reference = (torch.from_numpy(units.apply(hu))[None, None] for units in (CBCT, CT))
    ((_, loss, scalars),) = list(
        objective.losses(Networks(nets, fabric), Batch(image, reference + 0.1, torch.ones_like(image)))
    )
    assert loss.item() == pytest.approx(0.1, abs=1e-5)
    assert scalars["l1_hu"].item() == pytest.approx(25.0, abs=1e-2)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.AdamW)])
def test_optimisers(fabric: Fabric, name: str, kind: type[torch.optim.Optimizer]) -> None:
    objective = AfpObjective(settings(optimiser=name, learning_rate=0.02, weight_decay=0.5), PLAN, None, fabric)
    ((_, optimiser),) = objective.optimisers(made(objective)).values()
    assert type(optimiser) is kind
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.5)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.99, True)


class Noting:
    """Takes what it is shown for its features, and notes it."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, hu: Tensor) -> Sequence[Tensor]:
        self.seen.append(hu)
        return (hu,)


def judge(config: dict[str, Any], fabric: Fabric, net: Any, arrays: tuple[Any, Any, Any]) -> dict[str, float]:
    return FeatureJudge(net, settings(**config), PLAN, fabric).judge(*arrays)


def test_validation_by_hand(fabric: Fabric) -> None:
    """Ten HU off everywhere in the mask: L1 10 / 250; features 5 over a patch of which half counts, so 10."""
    truth = np.zeros((4, 16, 16), np.float32)
    inside = np.zeros(truth.shape, bool)
    inside[:, 4:12] = True
    sct = truth + 10
    found = judge({"l1_weight": 5.0, "afp_weight": 2.0}, fabric, Noting(), (sct, truth, inside))
    assert found == pytest.approx({"loss": 5 * 10 / 250 + 2 * 10.0, "afp": 10.0})
    assert next(iter(found)) == "loss", "the first value decides what is best"


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((slice(6, 8), slice(20, 24), slice(30, 34)), (5, 14, 24)),
        ((slice(0, 1), slice(0, 2), slice(0, 2)), (0, 0, 0)),
        ((slice(9, 10), slice(38, 40), slice(46, 48)), (6, 24, 32)),
    ],
)
def test_features_are_those_of_a_patch_at_the_middle_of_the_mask(
    fabric: Fabric, box: tuple[slice, ...], corner: tuple[int, ...]
) -> None:
    """4 x 16 x 16 around the centre, moved inwards at an edge; values tell where it was cut."""
    places = np.arange(10 * 40 * 48, dtype=np.float32).reshape(10, 40, 48)
    inside = np.zeros(places.shape, bool)
    inside[box] = True
    net = Noting()
    judge({"afp_weight": 1.0}, fabric, net, (places, places, inside))
    assert net.seen[0].shape == (1, 1, *PATCH)
    assert np.unravel_index(int(net.seen[0][0, 0, 0, 0, 0]), places.shape) == corner


def test_a_volume_smaller_than_the_patch_is_shown_whole(fabric: Fabric, extractor: FeatureExtractor) -> None:
    truth = np.random.default_rng(1).normal(0, 300, (3, 10, 12)).astype(np.float32)
    sct, inside = truth + 20, np.ones(truth.shape, bool)
    found = judge({"afp_weight": 1.0}, fabric, extractor, (sct, truth, inside))
    tensors = [torch.from_numpy(array.astype(np.float32))[None, None] for array in (sct, truth, inside)]
    expected = float(AnatomicalFeatureLoss(extractor, "sum")(*tensors))
    assert found["afp"] == pytest.approx(expected)
    assert found["loss"] == pytest.approx(20 / 250 + expected)


def test_units_of_a_tiny_extractor(tmp_path: Path) -> None:
    """HU to its own units: what CT's z-scores would have given is another thing."""
    digest = save_tiny_extractor(tmp_path)
    net = open_extractor(tmp_path)
    assert (net.sha256, net.random, net.layers) == (digest, False, ("encoder.0", "encoder.1", "decoder.0"))
    hu = torch.linspace(-1000, 1500, 4 * 16 * 16).reshape(1, 1, *PATCH)
    assert not torch.allclose(net(hu)[0], net(torch.from_numpy(CT.apply(hu.numpy())))[0])
