"""Validation: means over cases, random numbers that are the case's own, and what is kept as best."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import GanObjective, PlainObjective, settings
from torch import nn

from synthct.errors import WeightsError
from synthct.training.interruption import Interruption
from synthct.training.judging import judge
from synthct.training.launch import make_fabric
from synthct.training.objective import CaseScore
from synthct.training.state import Best, TrainingState, prepare_state


class Told:
    """Scores that are given; notes the mode and draws a random number for each case."""

    cases = ("a", "b", "c")

    def __init__(self, interruption: Interruption | None = None) -> None:
        self.drawn: list[float] = []
        self.interruption = interruption

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        assert not any(module.training for net in nets.values() for module in net.modules())
        assert not torch.is_grad_enabled()
        self.drawn.append(float(torch.rand(())))
        if self.interruption is not None and index == 1:
            self.interruption.note(signal.SIGTERM)
        picture = np.full((2, 2), index / 2, dtype=np.float32)
        return CaseScore({"mae": 10.0 * index, "psnr": 30.0 - index}, {f"case {self.cases[index]}": picture})


def prepared(**changes: object) -> TrainingState:
    return prepare_state(PlainObjective(0.3), settings(**changes), make_fabric("cpu", 1, "fp32"))


def test_values_are_means_and_the_first_one_decides() -> None:
    state = prepared()
    verdict = judge(Told(), state, make_fabric("cpu", 1, "fp32"), seed=0, interruption=Interruption())
    assert verdict is not None
    assert verdict.values == {"mae": 10.0, "psnr": 29.0}
    assert verdict.score == 10.0
    assert [float(image[0, 0]) for image in verdict.images.values()] == [0.0, 0.5, 1.0]
    assert list(verdict.images) == ["case a", "case b", "case c"]
    assert all(module.training for module in state.networks["net"].modules())


def test_random_numbers_of_a_case_are_the_same_each_time_and_trainings_go_on() -> None:
    state, fabric = prepared(), make_fabric("cpu", 1, "fp32")
    first, second, other = Told(), Told(), Told()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    judge(first, state, fabric, seed=0, interruption=Interruption())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    judge(second, state, fabric, seed=0, interruption=Interruption())
    judge(other, state, fabric, seed=1, interruption=Interruption())
    assert first.drawn == second.drawn
    assert len({*first.drawn, *other.drawn}) == 6


def test_a_signal_breaks_a_validation_off_between_two_cases() -> None:
    interruption = Interruption()
    told = Told(interruption)
    verdict = judge(told, prepared(), make_fabric("cpu", 1, "fp32"), seed=0, interruption=interruption)
    assert verdict is None
    assert len(told.drawn) == 2


def test_only_a_lower_finite_score_is_better() -> None:
    network = nn.Linear(1, 1)
    best = Best()
    for iteration, score in enumerate([float("nan"), float("inf"), 5.0, 5.0, 7.0, float("-inf"), 4.0]):
        nn.init.constant_(network.weight, float(iteration))
        best.offer(score, iteration, {"net": network})
        if iteration == 5:
            assert (best.score, best.iteration) == (5.0, 2)
            assert best.weights["net"]["weight"].tolist() == [[2.0]]
    assert (best.score, best.iteration, best.weights["net"]["weight"].tolist()) == (4.0, 6, [[6.0]])


def test_a_state_goes_from_one_run_to_another_whole() -> None:
    source, target = prepared(ema=0.9), prepared(ema=0.9)
    batch = torch.randn(2, 1, 4, 8, 8)
    source.networks["net"](batch).square().mean().backward()
    source.turns["net"].optimiser.step()
    source.iteration, source.validated = 7, 6
    source.best.offer(3.0, 6, source.networks)
    target.load_state_dict(source.state_dict())
    assert (target.iteration, target.validated, target.best.score) == (7, 6, 3.0)
    for mine, theirs in ((target.networks, source.networks), (target.judged, source.judged)):
        assert all(
            torch.equal(*pair) for pair in zip(mine["net"].parameters(), theirs["net"].parameters(), strict=True)
        )
    moments = [state.turns["net"].optimiser.state_dict()["state"][0]["exp_avg"] for state in (source, target)]
    assert torch.equal(*moments)
    assert moments[0].abs().sum() > 0


def test_rates_are_multiples_of_the_optimisers_own() -> None:
    state = prepare_state(GanObjective(), settings(), make_fabric("cpu", 1, "fp32"))
    turn = state.turns["generator"]
    turn.optimiser.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5})
    with pytest.raises(ValueError, match="zip"):
        turn.set_rate(0.1)  # a group that came later has no rate of its own to scale
    assert state.turns["discriminator"].set_rate(0.5) == pytest.approx(0.025)
    assert state.turns["discriminator"].set_rate(0.5) == pytest.approx(0.025)


def test_networks_are_built_from_the_seed_and_laid_out_channels_last(tmp_path: Path) -> None:
    first, same, other = prepared(), prepared(), prepared(seed=1)
    weights = [state.networks["net"][0].weight for state in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    deep = first.networks["net"][3].weight
    assert deep.is_contiguous(memory_format=torch.channels_last_3d)
    assert first.average is None
    with pytest.raises(WeightsError, match=r"network 'x'; expected one of net"):
        prepare_state(PlainObjective(), settings(), make_fabric("cpu", 1, "fp32"), {"x": {}})
