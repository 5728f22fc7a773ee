"""Setting `whole_patches`: volumes padded to a multiple of the patch, as paper 001 sweeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthct.errors import GeometryError
from synthct.inference.engine import Engine
from synthct.inference.plan import Planner
from synthct.inference.settings import SweepSettings

PATCH = (4, 8, 8)
ENGINE = Engine(torch.device("cpu"), precision="fp32")


def settings(*, whole: bool = True) -> SweepSettings:
    return SweepSettings(patch=PATCH, step=0.5, rule="monai", merging="mean", whole_patches=whole)


@pytest.mark.parametrize(
    ("shape", "multiple", "least"),
    [
        ((4, 8, 8), (4, 8, 8), (4, 8, 8)),
        ((5, 8, 15), (8, 8, 16), (5, 8, 15)),
        ((1, 17, 1), (4, 24, 8), (4, 17, 8)),
    ],
)
def test_shapes_by_hand(
    shape: tuple[int, int, int], multiple: tuple[int, int, int], least: tuple[int, int, int]
) -> None:
    assert settings().swept_shape(shape) == multiple
    assert settings(whole=False).swept_shape(shape) == least


def test_windows_reach_into_the_padding() -> None:
    """5 slices are padded to 8: windows at 0, 2, 4; without, the last slides back to 1 = 5 - 4."""
    shape = (5, 8, 8)
    assert [start[0] for start in Planner(shape, settings()).plan().starts] == [0, 2, 4]
    assert [start[0] for start in Planner(shape, settings(whole=False)).plan().starts] == [0, 1]


def test_windows_in_the_padding_alone_are_skipped() -> None:
    """9 slices are padded to 12, and windows begin at 0, 2, 4, 6, 8: the mask ends with slice 2."""
    wanted = np.zeros((9, 8, 8), bool)
    wanted[:3] = True
    plan = Planner((9, 8, 8), settings(), wanted).plan()
    assert [start[0] for start in plan.starts] == [0, 2]
    assert plan.skipped == 3
    with pytest.raises(GeometryError, match=r"shape \(9, 8, 8\) .* expected the image's, \(12, 8, 8\)"):
        Planner((12, 8, 8), settings(), wanted)


class Slicewise(nn.Module):
    """Adds to each voxel the mean of its window, so that padding shows."""

    def forward(self, image: Tensor) -> Tensor:
        return image + image.mean(dim=(2, 3, 4), keepdim=True)


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_a_sweep_equals_one_of_a_volume_padded_by_hand(fill: float) -> None:
    image = np.random.default_rng(1).random((5, 9, 14), dtype=np.float32)
    by_hand = np.full((8, 16, 16), fill, np.float32)
    by_hand[:5, :9, :14] = image
    network = Slicewise().eval()
    found = ENGINE.sweep(network, image, settings(), fill=fill)
    wanted = ENGINE.sweep(network, by_hand, settings(whole=False), fill=99.0)
    assert found.values.shape == image.shape
    assert np.array_equal(found.values, wanted.values[:5, :9, :14])
    assert found.notes["windows"] == wanted.notes["windows"] == 3 * 3 * 3
    plain = ENGINE.sweep(network, image, settings(whole=False), fill=fill)
    assert not np.allclose(found.values, plain.values)


def test_the_spread_is_cropped_too() -> None:
    engine = Engine(torch.device("cpu"), precision="fp32", spread=True)
    found = engine.sweep(Slicewise().eval(), np.ones((5, 9, 14), np.float32), settings())
    assert found.spread is not None
    assert found.spread.shape == (5, 9, 14)
    assert found.spread[-1].max() > 0  # windows with more padding have a lower mean
    assert found.spread[0, 0, 0] == 0  # one window alone


def test_a_setting_of_before_pads_nothing() -> None:
    assert SweepSettings.model_validate({"patch": PATCH}).whole_patches is False
