"""The rank prior of creps-cgan, by hand: the darkest MR value is the densest tissue, in between by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from creps_settings import tiny
from lightning_fabric import Fabric
from pydantic import ValidationError

from algorithms.creps_cgan.objective import GENERATOR, CrepsObjective
from algorithms.creps_cgan.ranks import RankTable
from synthct.errors import InputError
from synthct.training.cache import CachedCase
from synthct.training.objective import Batch, Networks

AIR = -1.0


def cached(image: Sequence[float], ct: Sequence[float] | None, inside: Sequence[int]) -> CachedCase:
    def line(values: Sequence[Any], kind: type[np.generic]) -> Any:
        return np.asarray(values, dtype=kind).reshape(1, 1, -1)

    weight = line(inside, np.uint8)
    return CachedCase(
        id="1EXA001",
        region="EX",
        image=line(image, np.float32),
        reference=None if ct is None else line(ct, np.float32),
        weight=weight,
        foreground=np.argwhere(weight > 0).astype(np.int32),
        inside=int(weight.sum()),
        digest="",
    )


def table(images: Sequence[float], references: Sequence[float]) -> RankTable:
    return RankTable(np.array(images, np.float64), np.array(references, np.float64), AIR)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.0, 1.4), (1.0, 0.05), (0.5, 0.725), (2.0, -0.1), (1.5, -0.025), (3.0, -0.1), (-1.0, AIR)],
)
def test_values_by_hand(value: float, wanted: float) -> None:
    """Ranks 0, 1/2, 1 are MR 0, 1, 2 and CT -0.1, 0.05, 1.4: reversed, and linear in between."""
    found = table([0.0, 1.0, 2.0], [-0.1, 0.05, 1.4])(torch.tensor([[value]]))
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    """MR 0 holds ranks 0 to 2 of 4, whose CT values are 4, 3, 2: it becomes the middle, 3."""
    found = table([0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0, 4.0])(torch.tensor([0.0, 0.5, 1.0]))
    assert found.tolist() == pytest.approx([3.0, 1.75, 0.5])


def test_a_constant_image_becomes_one_value() -> None:
    found = table([0.5, 0.5, 0.5], [0.0, 1.0, 4.0])(torch.tensor([0.2, 0.5, 0.9, -1.0]))
    assert found.tolist() == [2.0, 2.0, 2.0, AIR]


def test_quantiles_are_those_inside_the_masks_and_cases_count_alike() -> None:
    images = [cached([-1, 0, 2], None, [0, 1, 1]), cached([0, 2, 4, 4], None, [1, 1, 1, 0])]
    references = [cached([0, 0], [-1.0, 9.0], [0, 1]), cached([0, 0, 0], [1.0, 1.0, 1.0], [1, 1, 1])]
    fitted = RankTable.fit(images, references, AIR)
    # MR from 0 (both) to the mean of 2 and 4; the CT is (9 + 1) / 2 at every rank
    assert fitted(torch.tensor([0.0, 3.0])).tolist() == [5.0, 5.0]
    ordered = RankTable.fit(images, [cached([0, 0], [0.0, 2.0], [1, 1])], AIR)
    assert ordered(torch.tensor([0.0, 1.5, 3.0])).tolist() == pytest.approx([2.0, 1.0, 0.0])


@pytest.mark.parametrize(("images", "what"), [([[0, 0]], "1 images"), ([], "0 images")])
def test_empty_masks_are_refused(images: list[list[int]], what: str) -> None:
    cases = [cached([0, 1], None, inside) for inside in images]
    with pytest.raises(InputError, match=f"no voxel inside the masks of {what}; expected some"):
        RankTable.fit(cases, [cached([0, 1], [0, 1], [1, 1])], AIR)
    without = [cached([0, 1], None, [1, 1])]
    with pytest.raises(InputError, match="no voxel inside the masks of 0 CTs"):
        RankTable.fit(without, without, AIR)


def test_no_gradient_is_needed_and_the_images_device_is_taken() -> None:
    image = torch.rand(2, 1, 3, 4, 5, requires_grad=True)
    found = table([0.0, 1.0], [0.0, 1.0])(image.detach())
    assert found.shape == image.shape
    assert not found.requires_grad
    assert torch.allclose(found, 1 - image.detach())


def test_the_term_is_the_mean_distance_in_network_units() -> None:
    config = tiny(style_weight=0.0, adversarial_weight=0.0, rank_weight=3.0, mark_outside=True)
    ranks = table([0.0, 1.0], [0.0, 1.0])
    objective = CrepsObjective(config, ranks=ranks)
    torch.manual_seed(1)
    built = objective.networks()
    nets = Networks(built, Fabric(accelerator="cpu", devices=1, precision="32-true"))
    image = torch.rand(1, 1, 24, 24, 24)
    image[:, :, :4] = -1
    batch = Batch(image, torch.zeros_like(image), torch.ones_like(image))
    ((turn, loss, told),) = list(objective.losses(nets, batch))
    wanted = torch.where(image < 0, AIR, 1 - image)
    with torch.no_grad():
        distance = (built[GENERATOR](image) - wanted).abs().mean()
    assert turn == GENERATOR
    assert float(loss.detach()) == pytest.approx(3 * float(distance), rel=1e-5)
    assert float(told["rank"]) == pytest.approx(float(distance), rel=1e-5)
    assert loss.requires_grad


def test_ranks_without_a_marked_outside_are_refused() -> None:
    with pytest.raises(ValidationError, match="rank_weight is 2 without mark_outside; air would count as bone"):
        tiny(rank_weight=2.0)
    assert tiny(rank_weight=2.0, mark_outside=True).rank_weight == 2.0
    assert (tiny().rank_weight, tiny().mark_outside) == (0.0, False)  # the paper has neither
