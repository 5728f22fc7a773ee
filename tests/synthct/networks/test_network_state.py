"""Tensors by one name each, and filling a network with them."""

from __future__ import annotations

import pytest
import torch

from synthct.errors import WeightsError
from synthct.networks.state import fill_network, own_tensors, require_fit
from synthct.networks.unet import UNetPlan, build_unet

PLAN = UNetPlan(features=(4, 6), kernels=((1, 3, 3), (3, 3, 3)), strides=((1, 1, 1), (1, 2, 2)))


def test_a_state_dict_repeats_weights_and_own_tensors_do_not() -> None:
    network = build_unet(PLAN)
    own = own_tensors(network)
    assert sum(tensor.numel() for tensor in own.values()) == sum(weight.numel() for weight in network.parameters())
    assert len(network.state_dict()) > len(own)


@pytest.mark.parametrize("repeated", [False, True])
def test_both_forms_fill_a_network(repeated: bool) -> None:
    torch.manual_seed(0)
    source, target = build_unet(PLAN), build_unet(PLAN)
    fill_network(target, dict(source.state_dict()) if repeated else own_tensors(source), "here")
    image = torch.randn(1, 1, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(source.eval()(image), target.eval()(image))


def test_what_does_not_fit_is_named() -> None:
    network = build_unet(PLAN)
    tensors = own_tensors(network)
    first = next(iter(tensors))
    with pytest.raises(WeightsError, match=rf"w\.st: holds no {first} "):
        fill_network(network, {name: tensor for name, tensor in tensors.items() if name != first}, "w.st")
    with pytest.raises(WeightsError, match=r"w\.st: holds foreign"):
        fill_network(network, {**tensors, "foreign": torch.zeros(1)}, "w.st")
    with pytest.raises(WeightsError, match="has shape"):
        fill_network(network, {**tensors, first: torch.zeros(1)}, "w.st")


def test_a_network_that_is_declared_too_large_is_refused_without_building_it() -> None:
    """200 GB of weights beside a file of a few kB."""
    huge = UNetPlan(features=(2048, 4096), kernels=((15, 15, 15),) * 2, strides=((1, 1, 1), (1, 2, 2)))
    with pytest.raises(WeightsError, match=r"w\.st: .* has shape .*; expected .*2048"):
        require_fit(lambda: build_unet(huge), own_tensors(build_unet(PLAN)), "w.st")


def test_tensors_of_the_declared_network_fit_in_both_forms() -> None:
    network = build_unet(PLAN)
    require_fit(lambda: build_unet(PLAN), own_tensors(network), "w.st")
    require_fit(lambda: build_unet(PLAN), dict(network.state_dict()), "w.st")


def test_whole_numbers_are_no_weights() -> None:
    tensors = {name: tensor.clone() for name, tensor in own_tensors(build_unet(PLAN)).items()}
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.int8)
    with pytest.raises(WeightsError, match=rf"here: {name} holds torch.int8; expected torch.float32 for this network"):
        fill_network(build_unet(PLAN), tensors, "here")
