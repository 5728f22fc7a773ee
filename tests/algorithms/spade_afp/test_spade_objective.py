"""What spade-afp trains: losses and gradients against values worked out apart from it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from spade_runs import GLOBAL, PATCH, tiny
from torch import Tensor, nn

from algorithms.intensities import air_units
from algorithms.spade_afp.discriminator import Discriminator
from algorithms.spade_afp.global_generator import GlobalGenerator
from algorithms.spade_afp.modulated import SpadeGenerator
from algorithms.spade_afp.objective import DISCRIMINATOR, GENERATOR, SpadeObjective
from algorithms.spade_afp.settings import CT_SCALE, RecipeConfig
from synthct.features.interface import FeatureExtractor
from synthct.intensity import LinearScale, ZScore
from synthct.training.objective import Batch, Networks

AIR = 24 / 2047.5 - 1
"""-1000 HU where -1024 to 3071 are -1 to 1."""

Turns = tuple[list[str], dict[str, float], dict[str, dict[str, list[Tensor]]]]


class Kilohounsfield(nn.Module):
    """Two maps of an image in HU: itself / 1000, and twice that."""

    def forward(self, hu: Tensor) -> Sequence[Tensor]:
        return hu / 1000.0, hu / 500.0


def random_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image, ct, inside = torch.rand((3, 2, 1, *PATCH), generator=generator)
    return Batch(2.0 * image, 2.0 * ct - 1.0, (inside > 0.4).float())


def built(config: RecipeConfig) -> dict[str, nn.Module]:
    """Networks in evaluation mode: in training each pass moves spectral norm's vectors a step."""
    torch.manual_seed(3)
    networks = objective(config).networks()
    for network in networks.values():
        network.eval()
    return networks


def objective(config: RecipeConfig, ct: LinearScale | ZScore = CT_SCALE, precision: Any = "32-true") -> SpadeObjective:
    extractor = cast("FeatureExtractor", Kilohounsfield()) if config.afp_weight else None
    return SpadeObjective(config, ct, extractor, Fabric(accelerator="cpu", devices=1, precision=precision))


def one_turn_each(
    modules: dict[str, nn.Module],
    batch: Batch,
    config: RecipeConfig,
    ct: LinearScale | ZScore = CT_SCALE,
    precision: Any = "32-true",
) -> Turns:
    """Run the losses as the loop does, with nothing learnt: turns, scalars, and what each turn's loss reaches."""
    nets = Networks(modules, Fabric(accelerator="cpu", devices=1, precision=precision))
    turns: list[str] = []
    scalars: dict[str, float] = {}
    gradients: dict[str, dict[str, list[Tensor]]] = {}
    for turn, loss, told in objective(config, ct, precision).losses(nets, batch):
        for module in modules.values():
            module.zero_grad(set_to_none=True)
        loss.backward()
        gradients[turn] = {
            name: [each.grad.clone() for each in module.parameters() if each.grad is not None]
            for name, module in modules.items()
        }
        turns.append(turn)
        scalars |= {name: float(value) for name, value in told.items()} | {f"{turn} loss": float(loss.detach())}
    return turns, scalars, gradients


def shown(ct: Tensor, weight: Tensor) -> Tensor:
    """Air outside the mask."""
    return torch.where(weight > 0, ct, torch.tensor(AIR))


def terms_by_hand(generator: nn.Module, judge: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Each term of both losses, written out."""
    image, ct, weight = batch
    fake = generator(image)
    seen, wanted = judge(image, shown(fake, weight)), judge(image, shown(ct, weight))
    assert len(seen) == 2
    inside = [(fake - ct).abs()[number][weight[number] > 0].mean() for number in range(2)]
    apart = [(fake - ct).abs()[number] * weight[number] / weight[number].mean() for number in range(2)]
    return {
        "real": sum((1 - maps[-1]).clamp_min(0).mean() for maps in wanted) / 2,
        "fake": sum((1 + maps[-1]).clamp_min(0).mean() for maps in seen) / 2,
        "adversarial": -sum(maps[-1].mean() for maps in seen) / 2,
        "matching": sum(
            (one - other.detach()).abs().mean()
            for ours, theirs in zip(seen, wanted, strict=True)
            for one, other in zip(ours[:-1], theirs[:-1], strict=True)
        )
        / 2,
        "l1": (inside[0] + inside[1]) / 2,
        # mean of the two maps' differences, in 1 and 2 times HU / 1000, inside the mask
        "afp": 1.5 * 2.0475 * (apart[0].mean() + apart[1].mean()) / 2,
    }


def test_losses_are_the_equations() -> None:
    config, batch = tiny(afp_weight=1.0), random_batch()
    modules = built(config)
    with torch.no_grad():
        wanted = {name: float(term) for name, term in terms_by_hand(*modules.values(), batch).items()}
    turns, scalars, _ = one_turn_each(modules, batch, config)
    assert turns == [DISCRIMINATOR, GENERATOR]
    assert scalars == pytest.approx(
        {
            "discriminator loss": wanted["real"] + wanted["fake"],
            "generator loss": wanted["adversarial"] + 10 * wanted["matching"] + 10 * wanted["l1"] + wanted["afp"],
            "adversarial": wanted["adversarial"],
            "matching": wanted["matching"],
            "l1_hu": 2047.5 * wanted["l1"],
            "afp": wanted["afp"],
        },
        rel=1e-4,
    )


def test_gradients_are_those_of_the_equations() -> None:
    weights = {"adversarial_weight": 0.5, "feature_matching_weight": 3.0, "l1_weight": 2.0, "afp_weight": 0.25}
    config, batch = tiny(**weights), random_batch()
    modules = built(config)
    generator, judge = (copy.deepcopy(modules[name]) for name in (GENERATOR, DISCRIMINATOR))
    found = terms_by_hand(generator, judge, batch)
    loss = 0.5 * found["adversarial"] + 3 * found["matching"] + 2 * found["l1"] + 0.25 * found["afp"]
    expected = torch.autograd.grad(loss, list(generator.parameters()), retain_graph=True)
    expected_of_judge = torch.autograd.grad(found["real"] + found["fake"], list(judge.parameters()))
    _, _, gradients = one_turn_each(modules, batch, config)
    torch.testing.assert_close(gradients[GENERATOR][GENERATOR], list(expected), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gradients[DISCRIMINATOR][DISCRIMINATOR], list(expected_of_judge), rtol=1e-3, atol=1e-5)
    assert any(float(each.abs().max()) > 1e-3 for each in gradients[GENERATOR][GENERATOR])


def test_each_turn_reaches_its_own_network_alone() -> None:
    modules = built(tiny())
    _, _, gradients = one_turn_each(modules, random_batch(), tiny())
    assert gradients[DISCRIMINATOR][GENERATOR] == []
    assert gradients[GENERATOR][DISCRIMINATOR] == []
    assert all(each.requires_grad for each in modules[DISCRIMINATOR].parameters())


def test_nothing_outside_the_mask_counts() -> None:
    """Another CT outside it, where the sCT is another than the CT anyway, changes no term."""
    batch = random_batch()
    other = batch._replace(reference=torch.where(batch.weight > 0, batch.reference, torch.tensor(0.7)))
    config = tiny(afp_weight=1.0)
    one, two = (one_turn_each(built(config), each, config)[1] for each in (batch, other))
    assert one == pytest.approx(two, rel=1e-6)
    inside = batch._replace(reference=torch.where(batch.weight > 0, 0.0, batch.reference))
    assert one_turn_each(built(config), inside, config)[1]["matching"] != pytest.approx(one["matching"], rel=1e-3)


def test_afp_in_place_of_l1_leaves_l1_to_the_log() -> None:
    config = tiny(l1_weight=0.0, afp_weight=1.0, adversarial_weight=0.0, feature_matching_weight=0.0)
    modules = built(config)
    assert list(modules) == [GENERATOR]
    turns, scalars, _ = one_turn_each(modules, random_batch(), config)
    assert turns == [GENERATOR]
    assert set(scalars) == {"generator loss", "l1_hu", "afp"}
    assert scalars["generator loss"] == scalars["afp"]
    assert scalars["l1_hu"] > 100


@pytest.mark.parametrize(("left_out", "told"), [("adversarial", "matching"), ("feature_matching", "adversarial")])
def test_either_term_of_the_discriminator_can_be_left_out(left_out: str, told: str) -> None:
    config = tiny(**{f"{left_out}_weight": 0.0})
    turns, scalars, _ = one_turn_each(built(config), random_batch(), config)
    assert turns == [DISCRIMINATOR, GENERATOR]
    assert set(scalars) == {"discriminator loss", "generator loss", "l1_hu", told}


def test_reduction_sums_or_averages_the_layers() -> None:
    found = {}
    for reduction in ("mean", "sum"):
        config = tiny(afp_weight=1.0, reduction=reduction)
        found[reduction] = one_turn_each(built(config), random_batch(), config)[1]["afp"]
    assert found["sum"] == pytest.approx(2 * found["mean"])


def test_units_are_those_of_the_normalisation() -> None:
    """The same networks and tensors, a unit of 300 HU with a mean of -100."""
    ct, config, batch = ZScore(mean=-100, std=300, low=-1024, high=3071), tiny(afp_weight=1.0), random_batch()
    scaled, z_score = (one_turn_each(built(config), batch, config, units)[1] for units in (CT_SCALE, ct))
    assert z_score["l1_hu"] == pytest.approx(scaled["l1_hu"] * 300 / 2047.5)
    assert z_score["afp"] == pytest.approx(scaled["afp"] * 300 / 2047.5, rel=1e-4)
    assert air_units(ct) == -3.0
    assert z_score["matching"] != pytest.approx(scaled["matching"], rel=1e-3)  # other air around the same CT


def test_mixed_precision_changes_little() -> None:
    config = tiny(afp_weight=1.0)
    _, single, _ = one_turn_each(built(config), random_batch(), config)
    _, mixed, gradients = one_turn_each(built(config), random_batch(), config, precision="bf16-mixed")
    assert mixed == pytest.approx(single, rel=0.05)
    assert mixed != single
    assert all(torch.isfinite(each).all() for each in gradients[GENERATOR][GENERATOR])


@pytest.mark.parametrize(("two", "rates"), [(True, (1e-4, 4e-4)), (False, (2e-4, 2e-4))])
def test_optimisers_are_adam_at_two_time_scales(two: bool, rates: tuple[float, float]) -> None:
    config = tiny(two_time_scale=two)
    turns = objective(config).optimisers(built(config))
    assert {turn: names for turn, (names, _) in turns.items()} == {
        GENERATOR: (GENERATOR,),
        DISCRIMINATOR: (DISCRIMINATOR,),
    }
    for turn, rate in zip((GENERATOR, DISCRIMINATOR), rates, strict=True):
        optimiser = turns[turn][1]
        assert type(optimiser) is torch.optim.Adam
        group: dict[str, Any] = optimiser.param_groups[0]
        assert (group["lr"], group["betas"]) == (pytest.approx(rate), (0.0, 0.9))
        assert len(group["params"]) > 2


def test_networks_are_the_preset_s() -> None:
    modules = built(tiny())
    assert isinstance(modules[GENERATOR], SpadeGenerator)
    assert isinstance(modules[DISCRIMINATOR], Discriminator)
    assert any("parametrizations" in name for name in modules[GENERATOR].state_dict())
    assert isinstance(built(tiny(generator=GLOBAL))[GENERATOR], GlobalGenerator)
