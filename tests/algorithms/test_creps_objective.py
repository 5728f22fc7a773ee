"""What CREPs cGAN trains: losses and gradients against values worked out apart from it."""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from creps_settings import tiny
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor, nn

from algorithms.creps_cgan.consistency import gradient_consistency
from algorithms.creps_cgan.discriminator import Discriminator
from algorithms.creps_cgan.network import Generator
from algorithms.creps_cgan.objective import DISCRIMINATOR, GENERATOR, CrepsObjective
from algorithms.creps_cgan.settings import RecipeConfig
from synthct.errors import UsageError
from synthct.training.launch import make_fabric
from synthct.training.loop import fit
from synthct.training.objective import Batch, Networks

softplus = nn.functional.softplus


def kilohounsfield(hu: Tensor) -> Sequence[Tensor]:
    """One map of one channel: the Gram of a slice is the mean square of its HU / 1000."""
    return (hu / 1000.0,)


def random_batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image, ct = torch.rand((2, 2, 1, 24, 24, 24), generator=generator)
    return Batch(2.0 * image, 4.0 * ct - 1.0, torch.zeros_like(ct))


def built(config: RecipeConfig) -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return CrepsObjective(config, kilohounsfield).networks()


def one_turn_each(
    modules: dict[str, nn.Module],
    batch: Batch,
    config: RecipeConfig,
    extractor: Any = kilohounsfield,
    precision: Any = "32-true",
) -> tuple[list[str], dict[str, float], dict[str, dict[str, list[Tensor]]]]:
    """Run the losses as the loop does, with nothing learnt: turns, scalars, and what each turn's loss reaches."""
    nets = Networks(modules, Fabric(accelerator="cpu", devices=1, precision=precision))
    turns: list[str] = []
    scalars: dict[str, float] = {}
    gradients: dict[str, dict[str, list[Tensor]]] = {}
    for turn, loss, told in CrepsObjective(config, extractor).losses(nets, batch):
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


def style_by_hand(fake: Tensor, ct: Tensor) -> Tensor:
    """Mean over batch and slices of the difference of the mean squares."""
    return (fake.square().mean(dim=(1, 3, 4)) - ct.square().mean(dim=(1, 3, 4))).abs().mean()


def test_losses_are_equation_5() -> None:
    """20 style + BCE(D(sCT), 1), against D's half of BCE(D(CT), 1) + BCE(D(sCT), 0); every logit counts alike."""
    config, batch = tiny(), random_batch()
    modules = built(config)
    with torch.no_grad():
        fake = modules[GENERATOR](batch.image)
        judged, real = modules[DISCRIMINATOR](fake), modules[DISCRIMINATOR](batch.reference)
    turns, scalars, _ = one_turn_each(modules, batch, config)
    style, adversarial = style_by_hand(fake, batch.reference), softplus(-judged).mean()
    assert turns == [DISCRIMINATOR, GENERATOR]
    assert set(scalars) == {"style", "adversarial", "discriminator loss", "generator loss"}
    assert scalars["style"] == pytest.approx(float(style), rel=1e-6)
    assert scalars["adversarial"] == pytest.approx(float(adversarial), rel=1e-6)
    assert scalars["generator loss"] == pytest.approx(float(20 * style + adversarial), rel=1e-6)
    expected = 0.5 * (softplus(-real).mean() + softplus(judged).mean())
    assert scalars["discriminator loss"] == pytest.approx(float(expected), rel=1e-6)


def test_gradients_are_those_of_equation_5() -> None:
    config, batch = tiny(style_weight=7.0, adversarial_weight=0.5), random_batch()
    modules = built(config)
    generator, discriminator = (copy.deepcopy(modules[name]) for name in (GENERATOR, DISCRIMINATOR))
    fake = generator(batch.image)
    loss = 7.0 * style_by_hand(fake, batch.reference) + 0.5 * softplus(-discriminator(fake)).mean()
    wanted = torch.autograd.grad(loss, list(generator.parameters()))
    own = softplus(-discriminator(batch.reference)).mean() + softplus(discriminator(fake.detach())).mean()
    wanted_of_judge = torch.autograd.grad(0.5 * own, list(discriminator.parameters()))
    _, _, gradients = one_turn_each(modules, batch, config)
    torch.testing.assert_close(gradients[GENERATOR][GENERATOR], list(wanted))
    torch.testing.assert_close(gradients[DISCRIMINATOR][DISCRIMINATOR], list(wanted_of_judge))
    assert any(float(each.abs().max()) > 0 for each in gradients[GENERATOR][GENERATOR])


def test_each_turn_reaches_its_own_network_alone() -> None:
    modules = built(tiny())
    _, _, gradients = one_turn_each(modules, random_batch(), tiny(consistency_weight=1.0))
    assert gradients[DISCRIMINATOR][GENERATOR] == []
    assert gradients[GENERATOR][DISCRIMINATOR] == []
    assert all(each.requires_grad for each in modules[DISCRIMINATOR].parameters())


def test_without_style_no_extractor_is_needed_and_none_is_asked() -> None:
    def never(hu: Tensor) -> Sequence[Tensor]:
        raise RuntimeError("asked for features")

    for extractor in (None, never):
        config = tiny(style_weight=0.0)
        _, scalars, _ = one_turn_each(built(config), random_batch(), config, extractor)
        assert set(scalars) == {"adversarial", "discriminator loss", "generator loss"}
        assert scalars["generator loss"] == scalars["adversarial"]


def test_mixed_precision_changes_little() -> None:
    """The networks run in 16 bits; losses and Gram matrices do not."""
    seen = []

    def noting(hu: Tensor) -> Sequence[Tensor]:
        seen.append(hu.dtype)
        return kilohounsfield(hu)

    config = tiny(consistency_weight=1.0)
    _, single, _ = one_turn_each(built(config), random_batch(), config)
    _, mixed, gradients = one_turn_each(built(config), random_batch(), config, noting, "bf16-mixed")
    assert mixed == pytest.approx(single, rel=0.05)
    assert mixed != single
    assert seen == [torch.float32] * 2
    assert all(torch.isfinite(each).all() for each in gradients[GENERATOR][GENERATOR])


def test_style_without_an_extractor_is_refused() -> None:
    with pytest.raises(UsageError, match="style_weight is 20, and no feature extractor is given"):
        CrepsObjective(tiny())


def test_style_alone_leaves_the_discriminator_out() -> None:
    config = tiny(adversarial_weight=0.0)
    modules = built(config)
    assert list(modules) == [GENERATOR]
    turns, scalars, _ = one_turn_each(modules, random_batch(), config)
    assert turns == [GENERATOR]
    assert scalars["generator loss"] == pytest.approx(20 * scalars["style"])


def test_consistency_looks_at_the_image_and_counts_by_its_weight() -> None:
    config, batch = tiny(consistency_weight=3.0), random_batch()
    modules = built(config)
    with torch.no_grad():
        expected = gradient_consistency(batch.image, modules[GENERATOR](batch.image))
    _, with_it, _ = one_turn_each(modules, batch, config)
    _, without, _ = one_turn_each(modules, batch, tiny())
    assert with_it["consistency"] == pytest.approx(float(expected), rel=1e-5)
    added = with_it["generator loss"] - without["generator loss"]
    assert added == pytest.approx(3.0 * float(expected), rel=1e-4)


def test_the_reduction_is_the_preset_s() -> None:
    """Two equal channels have a Gram matrix of four equal entries, each half as large: their sum is twice one's."""

    def twice(hu: Tensor) -> Sequence[Tensor]:
        return (torch.cat((hu, hu), dim=1) / 1000.0,)

    found = {}
    for reduction in ("sum", "mean"):
        config = tiny(style_reduction=reduction)
        _, scalars, _ = one_turn_each(built(config), random_batch(), config, twice)
        found[reduction] = scalars["style"]
    assert found["sum"] == pytest.approx(4 * found["mean"])


def test_the_weight_is_not_looked_at() -> None:
    """It is the reference's, and says nothing about another patient's sCT."""
    batch = random_batch()
    other = batch._replace(weight=torch.ones_like(batch.weight))
    one, two = (one_turn_each(built(tiny()), each, tiny())[1] for each in (batch, other))
    assert one == two


def test_optimisers_are_adamw_at_the_preset_s_rates() -> None:
    for rate, expected in ((None, 2e-4), (5e-5, 5e-5)):
        config = tiny(learning_rate=2e-4, discriminator_rate=rate, weight_decay=0.01, betas=(0.5, 0.99))
        objective = CrepsObjective(config, kilohounsfield)
        turns = objective.optimisers(objective.networks())
        assert {turn: names for turn, (names, _) in turns.items()} == {
            GENERATOR: (GENERATOR,),
            DISCRIMINATOR: (DISCRIMINATOR,),
        }
        for turn, wanted in ((GENERATOR, 2e-4), (DISCRIMINATOR, expected)):
            optimiser = turns[turn][1]
            assert isinstance(optimiser, torch.optim.AdamW)
            group: dict[str, Any] = optimiser.param_groups[0]
            assert (group["lr"], group["weight_decay"], group["betas"]) == (wanted, 0.01, (0.5, 0.99))


def test_networks_are_the_preset_s() -> None:
    modules = built(tiny())
    generator, discriminator = modules[GENERATOR], modules[DISCRIMINATOR]
    assert isinstance(generator, Generator)
    assert isinstance(discriminator, Discriminator)
    assert generator.config == tiny().network
    assert discriminator.net[0].out_channels == 2


class Batches:
    """The same batch for ever, or another each time."""

    def __init__(self, *, fixed: bool) -> None:
        self.fixed, self.next, self.seconds_waited = fixed, 0, 0.0

    def __next__(self) -> Batch:
        self.next += 1
        return random_batch(0 if self.fixed else self.next)

    @contextmanager
    def stream(self, first: int, *, rank: int, world: int) -> Iterator[Batches]:
        self.next = first
        yield self


def trained(run_dir: Path, config: RecipeConfig, *, fixed: bool) -> list[dict[str, str]]:
    """Run the loop itself; returns its log."""
    with Progress(disable=True) as progress:
        fit(
            CrepsObjective(config, kilohounsfield),
            Batches(fixed=fixed),
            None,
            config.loop,
            run_dir,
            make_fabric("cpu", 1, config.loop.precision),
            progress=progress,
        )
    with (run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


LOOP: dict[str, Any] = {"schedule": "fixed", "clip_norm": None, "precision": "fp32", "log_interval": 1}


def test_the_loop_lowers_the_style_loss(tmp_path: Path) -> None:
    loop = LOOP | {"iterations_per_epoch": 30, "epochs": 1}
    rows = trained(tmp_path, tiny(loop=loop, learning_rate=0.02), fixed=False)
    style = [float(row["style"]) for row in rows if row["style"]]
    assert len(style) == 30
    assert sum(style[-5:]) < 0.2 * sum(style[:5])


def test_further_discriminator_steps_are_taken(tmp_path: Path) -> None:
    """The log adds up one iteration's turns: three steps cost nearly three times the first, for each lowers it."""
    loop = LOOP | {"iterations_per_epoch": 2, "epochs": 1}
    (one, _), (three, _) = (
        trained(tmp_path / str(steps), tiny(loop=loop, discriminator_steps=steps), fixed=True) for steps in (1, 3)
    )
    first, added = float(one["discriminator_loss"]), float(three["discriminator_loss"])
    assert 2.5 * first < added < 3 * first
    assert float(three["adversarial"]) != float(one["adversarial"])
    batch, config = random_batch(), tiny(discriminator_steps=3)
    assert one_turn_each(built(config), batch, config)[0] == [DISCRIMINATOR] * 3 + [GENERATOR]
