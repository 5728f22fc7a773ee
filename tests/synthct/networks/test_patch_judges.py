"""Geometry of patch discriminators, counted by hand and measured on torch's own convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.networks.patch_judges import Layers, edge_after, layers_of_field, least_edge, receptive_field

FIELDS = (9, 16, 34, 70, 142)


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ((), 1),
        (((3, 1),), 3),
        (((3, 1), (3, 1)), 5),
        (((2, 2), (2, 2)), 4),
        (((3, 2), (4, 1)), 9),  # 4 outputs of the first: 2 * 3 + 3
        (((4, 2), (4, 1), (4, 1)), 16),  # 4, 7, 2 * 6 + 4
    ],
)
def test_receptive_field_by_hand(layers: Layers, field: int) -> None:
    assert receptive_field(layers) == field


@pytest.mark.parametrize("field", FIELDS)
def test_layers_see_what_they_are_named_after(field: int) -> None:
    layers = layers_of_field(field)
    assert receptive_field(layers) == field
    assert layers[-1] == (4, 1)


def test_layers_are_pix2pix_s_own() -> None:
    assert layers_of_field(9) == ((3, 2), (4, 1))
    assert layers_of_field(16) == ((4, 2), (4, 1), (4, 1))
    assert layers_of_field(70) == ((4, 2), (4, 2), (4, 2), (4, 1), (4, 1))
    assert [len(layers_of_field(field)) for field in FIELDS] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("field", [0, 1, 8, 10, 286, -9])
def test_other_fields_are_refused(field: int) -> None:
    with pytest.raises(ValueError, match=rf"receptive field {field} .* expected one of 9, 16, 34, 70, 142"):
        layers_of_field(field)


@pytest.mark.parametrize(
    ("edge", "field", "outputs"),
    [
        (32, 9, 15),  # 32 -> 16 -> 15
        (3, 9, 1),  # 3 -> 2 -> 1
        (2, 9, 0),
        (1, 9, 0),
        (224, 70, 26),  # 112, 56, 28, 27, 26
        (256, 70, 30),
        (88, 70, 9),  # 44, 22, 11, 10, 9
        (24, 70, 1),
        (23, 70, 0),  # 11, 5, 2, 1, none
        (5, 142, 0),
    ],
)
def test_outputs_by_hand(edge: int, field: int, outputs: int) -> None:
    assert edge_after(edge, layers_of_field(field)) == outputs


def test_outputs_without_padding_and_without_layers() -> None:
    assert edge_after(9, layers_of_field(9), padding=0) == 1
    assert edge_after(8, layers_of_field(9), padding=0) == 0
    assert edge_after(7, ()) == 7
    assert edge_after(1, ((4, 1), (1, 1))) == 0, "padding makes no output of nothing"


@pytest.mark.parametrize("field", FIELDS)
def test_torch_gives_as_many(field: int) -> None:
    """1-D convolutions of one channel, on every edge up to 60 that gives an output."""
    layers = layers_of_field(field)
    network = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride, padding=1) for kernel, stride in layers))
    for edge in range(least_edge(1, layers), 60):
        assert network(torch.zeros(1, 1, edge)).shape[-1] == edge_after(edge, layers), edge


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("outputs", [1, 2, 9, 10])
def test_the_least_edge_is_just_enough(field: int, outputs: int) -> None:
    layers = layers_of_field(field)
    edge = least_edge(outputs, layers)
    assert edge_after(edge, layers) == outputs
    assert edge_after(edge - 1, layers) < outputs


def test_least_edges_by_hand() -> None:
    assert [least_edge(1, layers_of_field(field)) for field in FIELDS] == [3, 6, 12, 24, 48]
    assert least_edge(9, layers_of_field(70)) == 88  # 10, 11, 22, 44, 88
    assert least_edge(5, ()) == 5
    assert least_edge(1, layers_of_field(16), padding=0) == 16, "without padding it is the receptive field"
