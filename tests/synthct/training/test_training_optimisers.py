"""One optimiser for each network, in the form that the loop takes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from synthct.training.optimisers import one_each

RATES = {"generator": 0.1, "discriminator": 0.02}


def descent(name: str, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATES[name])


def networks() -> dict[str, nn.Module]:
    return {"generator": nn.Linear(2, 3), "discriminator": nn.Linear(3, 1, bias=False)}


def test_each_network_has_a_turn_of_its_own_name() -> None:
    turns = one_each(networks(), descent)
    assert list(turns) == ["generator", "discriminator"]
    assert {name: trained for name, (trained, _) in turns.items()} == {name: (name,) for name in RATES}
    assert {name: optimiser.param_groups[0]["lr"] for name, (_, optimiser) in turns.items()} == RATES
    assert one_each({}, descent) == {}


def test_an_optimiser_holds_its_own_network_s_parameters_and_no_other() -> None:
    nets = networks()
    for name, (_, optimiser) in one_each(nets, descent).items():
        held = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        wanted = list(nets[name].parameters())
        assert len(held) == len(wanted) > 0
        assert all(ours is theirs for ours, theirs in zip(held, wanted, strict=True))


def test_a_step_moves_one_network_by_its_own_rate() -> None:
    """Gradient 1 everywhere: each weight of the network moves by the rate, the other network's stay."""
    nets = networks()
    turns = one_each(nets, descent)
    before = {name: net.weight.detach().clone() for name, net in nets.items()}
    for net in nets.values():
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
    turns["discriminator"][1].step()
    torch.testing.assert_close(nets["discriminator"].weight.detach(), before["discriminator"] - 0.02)
    assert torch.equal(nets["generator"].weight, before["generator"])
