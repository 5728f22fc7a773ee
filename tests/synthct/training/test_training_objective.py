"""Networks as an objective sees them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from synthct.training.launch import make_fabric
from synthct.training.objective import Batch, Networks


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)[0]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.layer(x)
        self.seen.append(hidden.dtype)
        return hidden, hidden * 2


def test_networks_run_in_the_precision_of_the_run_and_return_float32() -> None:
    coder = Coder()
    nets = Networks({"coder": coder}, make_fabric("cpu", 1, "bf16-mixed"))
    x = torch.ones(2, 3)
    assert nets["coder"](x).dtype == torch.float32
    assert [half.dtype for half in nets["coder"].encode(x)] == [torch.float32, torch.float32]
    assert coder.seen == [torch.bfloat16, torch.bfloat16]
    plain = Networks({"coder": coder}, make_fabric("cpu", 1, "fp32"))
    assert torch.equal(plain["coder"](x), coder(x))
    assert coder.seen[2:] == [torch.float32, torch.float32]


def test_networks_are_a_mapping_and_show_their_attributes() -> None:
    coder = Coder()
    nets = Networks({"coder": coder}, make_fabric("cpu", 1, "fp32"))
    assert (list(nets), len(nets)) == (["coder"], 1)
    assert nets["coder"].module is coder
    assert nets["coder"].layer is coder.layer
    assert sum(parameter.numel() for parameter in nets["coder"].parameters()) == 12
    with pytest.raises(KeyError):
        nets["decoder"]
    with pytest.raises(AttributeError, match="decode"):
        nets["coder"].decode(torch.ones(1))


def test_gradients_flow_through_a_frozen_network_but_not_into_it() -> None:
    coder = Coder()
    coder.layer.bias.requires_grad_(False)
    nets = Networks({"coder": coder}, make_fabric("cpu", 1, "fp32"))
    x = torch.ones(2, 3, requires_grad=True)
    with nets.frozen("coder") as judge:
        loss = judge(x).sum()
    loss.backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert coder.layer.weight.grad is None
    assert [parameter.requires_grad for parameter in coder.parameters()] == [True, False]


def test_a_batch_moves_whole() -> None:
    batch = Batch(*(torch.full((1, 1, 2, 2, 2), float(value)) for value in range(3)))
    moved = batch.to(torch.device("cpu"))
    assert [float(tensor.mean()) for tensor in moved] == [0.0, 1.0, 2.0]
    assert isinstance(moved, Batch)
