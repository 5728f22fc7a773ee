"""The moving average of weights, and evaluation mode that leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.training.averaging import WeightAverage, evaluating


def constant(value: float) -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(network[0].weight, value)
    return network


def test_an_average_starts_at_the_weights_and_follows_by_the_decay() -> None:
    network = constant(1.0)
    average = WeightAverage({"net": network})
    nn.init.constant_(network[0].weight, 3.0)
    assert average.networks["net"][0].weight.tolist() == [[1.0, 1.0]]
    average.follow({"net": network}, decay=0.75)
    assert average.networks["net"][0].weight.tolist() == [[1.5, 1.5]]
    average.follow({"net": network}, decay=0.0)
    assert average.networks["net"][0].weight.tolist() == [[3.0, 3.0]]
    assert network[0].weight.tolist() == [[3.0, 3.0]]


def test_running_statistics_follow_like_weights_and_counters_are_copied() -> None:
    """Outputs 3 and 7: the running mean goes from 0 to 0.1 * 5, the average a tenth of that way."""
    network = constant(1.0)
    average = WeightAverage({"net": network})
    network(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert float(network[1].running_mean) == pytest.approx(0.5)
    average.follow({"net": network}, decay=0.9)
    kept = average.networks["net"][1]
    assert int(kept.num_batches_tracked) == 1
    assert float(kept.running_mean) == pytest.approx(0.05)
    average.follow({"net": network}, decay=0.0)
    assert torch.equal(kept.running_mean, network[1].running_mean)


def test_an_average_takes_no_gradient() -> None:
    average = WeightAverage({"net": constant(1.0)})
    assert not any(parameter.requires_grad for parameter in average.networks["net"].parameters())


def test_evaluation_ends_as_it_began_also_by_an_error() -> None:
    network = constant(1.0)
    network.train()
    network[1].eval()  # a part that an objective keeps frozen

    def evaluate() -> None:
        with evaluating({"net": network}) as shown:
            assert not shown["net"].training
            assert not torch.is_grad_enabled()
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        evaluate()
    assert [module.training for module in network.modules()] == [True, True, False]
    assert torch.is_grad_enabled()
