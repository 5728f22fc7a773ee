"""The loop: the same steps as written out by hand, accumulation, clipping, averages, best weights, early ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from small_run import GanObjective, HeldOut, IndexedSource, PlainObjective, element, run, settings
from torch import Tensor

from synthct.errors import SynthCTError, WeightsError
from synthct.losses.pixel import masked_l1
from synthct.training.objective import Batch, Networks
from synthct.training.schedules import rate_factor


def by_hand(iterations: int, *, batch: int, dropout: float = 0.0, clip_norm: float | None = 12.0) -> dict[str, Tensor]:
    """Train PlainObjective's network by a plain PyTorch loop."""
    torch.manual_seed(0)
    network = PlainObjective(dropout).networks()["net"]
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    torch.manual_seed(1)
    for done in range(iterations):
        optimiser.param_groups[0]["lr"] = 0.01 * rate_factor(settings(), done)
        parts = [element(done * batch + place) for place in range(batch)]
        image, reference, weight = (torch.stack([part[kind] for part in parts]) for kind in range(3))
        optimiser.zero_grad()
        masked_l1(network(image), reference, weight).backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimiser.step()
    return network.state_dict()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_the_weights_are_those_of_a_loop_written_by_hand(
    tmp_path: Path, dropout: float, clip_norm: float | None
) -> None:
    result = run(tmp_path, PlainObjective(dropout), changes={"clip_norm": clip_norm})
    expected = by_hand(10, batch=2, dropout=dropout, clip_norm=clip_norm)
    assert all(torch.equal(result.best["net"][name], tensor) for name, tensor in expected.items())
    assert (result.iterations, result.best_iteration, result.best_score) == (10, 10, None)


def test_micro_batches_add_up_to_one_large_batch(tmp_path: Path) -> None:
    large = run(tmp_path / "large", batch=4)
    small = run(tmp_path / "small", batch=1, changes={"accumulation": 4})
    for name, tensor in large.best["net"].items():
        torch.testing.assert_close(small.best["net"][name], tensor, rtol=1e-4, atol=1e-6)


def test_micro_batches_of_two_turns_add_up_too(tmp_path: Path) -> None:
    large = run(tmp_path / "large", GanObjective(), batch=4)
    small = run(tmp_path / "small", GanObjective(), batch=1, changes={"accumulation": 4})
    for network in ("generator", "discriminator"):
        for name, tensor in large.best[network].items():
            torch.testing.assert_close(small.best[network][name], tensor, rtol=1e-4, atol=1e-6)


def test_a_generators_loss_does_not_move_the_discriminator(tmp_path: Path) -> None:
    class GeneratorOnly(GanObjective):
        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            fake = nets["generator"](batch.image)
            yield "generator", nets["discriminator"](torch.cat([batch.image, fake], dim=1)).square().mean(), {}
            # The loss above left a gradient in the discriminator; its own turn must not count it.
            yield "discriminator", 0.0 * nets["discriminator"](torch.cat([batch.image] * 2, dim=1)).mean(), {}

    torch.manual_seed(0)
    start = GeneratorOnly().networks()
    result = run(tmp_path, GeneratorOnly(), changes={"precision": "fp32"})
    for name, tensor in start["discriminator"].state_dict().items():
        assert torch.equal(result.best["discriminator"][name], tensor)
    assert not torch.equal(result.best["generator"]["0.weight"], start["generator"].state_dict()["0.weight"])


def test_training_lowers_the_error_in_bf16_too(tmp_path: Path) -> None:
    judge = HeldOut("generator")
    run(tmp_path, GanObjective(), judge, changes={"epochs": 15, "precision": "bf16-mixed", "ema": 0.5})
    errors = [error for index, error in judge.scored if index == 0]
    assert errors[-1] < 0.7 * errors[0]


def test_each_optimiser_has_its_own_loss_scale(tmp_path: Path) -> None:
    class Overflowing(GanObjective):
        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            for name, loss, scalars in super().losses(nets, batch):
                yield name, loss * (1e36 if name == "discriminator" else 0.01), scalars

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=plugin)
    fabric.launch()
    torch.manual_seed(0)
    start = GanObjective().networks()
    result = run(tmp_path, Overflowing(), fabric=fabric)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["scalers"]
    assert saved["generator"]["scale"] == 2.0**16
    assert saved["discriminator"]["scale"] == 2.0**6
    assert torch.equal(result.best["discriminator"]["0.weight"], start["discriminator"].state_dict()["0.weight"])
    assert not torch.equal(result.best["generator"]["0.weight"], start["generator"].state_dict()["0.weight"])


def test_a_loss_scale_that_fell_to_nothing_ends_the_run(tmp_path: Path) -> None:
    class Hopeless(PlainObjective):
        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            for name, loss, scalars in super().losses(nets, batch):
                yield name, loss * float("inf"), scalars

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=plugin)
    fabric.launch()
    with pytest.raises(SynthCTError, match=r"turn net, net_loss is inf at iteration 17;"):
        run(tmp_path, Hopeless(), fabric=fabric, changes={"epochs": 20})


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    class Diverging(GanObjective):
        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            for name, loss, scalars in super().losses(nets, batch):
                broken = {**scalars, "fooled": loss.detach() * float("nan")} if name == "generator" else scalars
                yield name, loss * (float("nan") if name == "generator" else 1.0), broken

    with pytest.raises(SynthCTError, match=r"diverged: turn generator, fooled is nan at iteration 1; expected finite"):
        run(tmp_path, Diverging())
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_best_weights_are_those_that_validated_best(tmp_path: Path) -> None:
    judge = HeldOut()
    result = run(tmp_path, PlainObjective(learning_rate=1.0), judge, changes={"schedule": "fixed", "epochs": 6})
    rounds = [judge.scored[start : start + 3] for start in range(0, len(judge.scored), 3)]
    means = [sum(error for _, error in part) / 3 for part in rounds]
    assert len(means) == 6
    assert result.best_score == pytest.approx(min(means))
    assert result.best_iteration == 2 * (1 + means.index(min(means)))
    again = HeldOut()
    network = PlainObjective().networks()["net"]
    network.load_state_dict(result.best["net"])
    with torch.no_grad():
        errors = [again.score({"net": network}, index).values["mae"] for index in range(3)]
    assert sum(errors) / 3 == pytest.approx(min(means))


def test_what_is_judged_and_kept_is_the_average(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain")
    averaged = run(tmp_path / "averaged", changes={"ema": 0.9})
    saved = torch.load(tmp_path / "averaged" / "checkpoint.pt", weights_only=True)["state"]
    assert all(torch.equal(saved["networks"]["net"][name], tensor) for name, tensor in plain.best["net"].items())
    assert all(torch.equal(saved["average"]["net"][name], tensor) for name, tensor in averaged.best["net"].items())
    assert not torch.equal(plain.best["net"]["0.weight"], averaged.best["net"]["0.weight"])


def test_validation_does_not_touch_the_weights(tmp_path: Path) -> None:
    without = run(tmp_path / "without", PlainObjective(0.3))
    often = run(tmp_path / "often", PlainObjective(0.3), HeldOut(), changes={"validation_interval": 1})
    last = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("without", "often")]
    assert all(
        torch.equal(last[1]["state"]["networks"]["net"][name], tensor) for name, tensor in without.best["net"].items()
    )
    assert often.best_score is not None
    empty = run(tmp_path / "empty", validation=HeldOut(cases=0))
    assert empty.best_score is None


def test_the_last_weights_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    """What is held out may judge without choosing; a finished run may be asked again."""

    class Worse(HeldOut):
        """Each validation finds it worse than the one before."""

        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            self.asked = getattr(self, "asked", 0) + 1
            return super().score(nets, index)._replace(values={"mae": float(self.asked)})  # type: ignore[arg-type]

    changes = {"validation_interval": 2}
    best = run(tmp_path / "run", validation=Worse(cases=1), changes=changes)
    last = run(tmp_path / "run", validation=Worse(cases=1), changes=changes | {"keep": "last"}, resume=True)
    plain = run(tmp_path / "plain")
    assert (best.best_iteration, last.best_iteration) == (2, 10)
    assert all(torch.equal(last.best["net"][name], tensor) for name, tensor in plain.best["net"].items())
    assert not torch.equal(best.best["net"]["0.weight"], last.best["net"]["0.weight"])


def test_a_score_that_is_not_finite_is_never_best(tmp_path: Path) -> None:
    class Undefined(HeldOut):
        def score(self, nets: object, index: int) -> object:  # type: ignore[override]
            return super().score(nets, index)._replace(values={"mae": float("nan")})  # type: ignore[arg-type]

    result = run(tmp_path, validation=Undefined())
    assert (result.best_score, result.best_iteration) == (None, 10)


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """The last step's gradient is infinite where its loss was not, and nothing is validated."""

    class Last(PlainObjective):
        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            for name, loss, scalars in super().losses(nets, batch):
                yield name, (loss - loss.detach()).sqrt(), scalars  # 0, of infinite slope

    with pytest.raises(SynthCTError, match=r"training diverged: net, 0\.weight holds NaN or infinity; expected finite"):
        run(tmp_path, Last(), changes={"max_steps": 1})


def test_a_run_may_start_from_other_weights(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    still = run(tmp_path / "second", PlainObjective(learning_rate=0.0), initial=first.best)
    assert all(torch.equal(still.best["net"][name], tensor) for name, tensor in first.best["net"].items())
    with pytest.raises(WeightsError, match=r"network 'other'; expected one of net"):
        run(tmp_path / "third", initial={"other": {}})
    with pytest.raises(WeightsError, match=r"initial weights \(--init\) of the network 'net': holds no 0.bias"):
        run(tmp_path / "third", initial={"net": {"0.weight": torch.ones(1)}})


def test_the_time_spent_waiting_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, source=IndexedSource(pause=0.01))
    assert result.seconds_waited == pytest.approx(0.1)
    assert result.seconds > 0.1


def test_an_objective_must_take_the_same_turns_for_each_micro_batch(tmp_path: Path) -> None:
    class Fickle(GanObjective):
        calls = 0

        def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
            self.calls += 1
            yield ("generator" if self.calls % 2 else "discriminator"), nets["generator"](batch.image).mean(), {}

    with pytest.raises(ValueError, match="different turns"):
        run(tmp_path, Fickle(), changes={"accumulation": 2})
