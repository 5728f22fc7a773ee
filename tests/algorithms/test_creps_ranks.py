"""The rank table of creps-cgan, by hand: the darkest MR value is the densest tissue, in between by rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands.command_line import synthct
from creps_settings import DISCRIMINATOR_SHAPE, GENERATOR_SHAPE, tiny
from lightning_fabric import Fabric
from pydantic import ValidationError

from algorithms.creps_cgan.network import Generator, GeneratorConfig
from algorithms.creps_cgan.objective import GENERATOR, CrepsObjective
from algorithms.creps_cgan.plan import describe
from algorithms.creps_cgan.ranks import RANKS, RankTable
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError
from synthct.intensity import LinearScale
from synthct.networks.state import own_tensors
from synthct.outline import body_inside
from synthct.training.averaging import WeightAverage
from synthct.training.cache import CachedCase
from synthct.training.objective import Batch, Networks
from synthct.volume import read_volume

AIR = -1.0
CT = LinearScale(low=-1000.0, high=3000.0, scale=1000.0)


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
    """Of evenly spread ranks, linear between the values given."""
    ranks = np.linspace(0.0, 1.0, RANKS)
    spread = (np.interp(ranks, np.linspace(0.0, 1.0, len(values)), values) for values in (images, references))
    return RankTable().fill(*spread, AIR)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.0, 1.4), (1.0, 0.05), (0.5, 0.725), (2.0, -0.1), (1.5, -0.025), (3.0, -0.1), (-1.0, AIR)],
)
def test_values_by_hand(value: float, wanted: float) -> None:
    """Ranks 0, 1/2, 1 are MR 0, 1, 2 and CT -0.1, 0.05, 1.4: reversed, and linear in between."""
    found = table([0.0, 1.0, 2.0], [-0.1, 0.05, 1.4])(torch.tensor([[value]]))
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(wanted, abs=1e-5)


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    """The lower half of the ranks is MR 0. Reversed, they are CT 4 to 2, so MR 0 becomes 3."""
    images = np.maximum(np.linspace(-1.0, 1.0, RANKS), 0.0)
    found = RankTable().fill(images, np.linspace(0.0, 4.0, RANKS), AIR)(torch.tensor([0.0, 0.5, 1.0]))
    assert found.tolist() == pytest.approx([3.0, 1.0, 0.0], abs=1e-5)


def test_a_constant_image_becomes_one_value() -> None:
    found = table([0.5, 0.5], [0.0, 4.0])(torch.tensor([0.2, 0.5, 0.9, -1.0]))
    assert found.tolist() == [2.0, 2.0, 2.0, AIR]


def test_quantiles_are_those_inside_the_masks_and_cases_count_alike() -> None:
    images = [cached([-1, 0, 2], None, [0, 1, 1]), cached([0, 2, 4, 4], None, [1, 1, 1, 0])]
    references = [cached([0, 0], [-1.0, 9.0], [0, 1]), cached([0, 0, 0], [1.0, 1.0, 1.0], [1, 1, 1])]
    fitted = RankTable().fit(images, references, CT)
    # MR from 0 (both) to the mean of 2 and 4; the CT is (9 + 1) / 2 at every rank
    assert fitted(torch.tensor([0.0, 3.0])).tolist() == [5.0, 5.0]
    ordered = RankTable().fit(images, [cached([0, 0], [0.0, 2.0], [1, 1])], CT)
    assert ordered(torch.tensor([0.0, 1.5, 3.0])).tolist() == pytest.approx([2.0, 1.0, 0.0], abs=1e-5)


def test_gas_inside_a_mask_takes_no_rank() -> None:
    """-0.3 is -300 HU and left out, -0.2 is tissue; without the bound MR 1 would become gas."""
    fitted = RankTable().fit([cached([0, 1], None, [1, 1])], [cached([0, 0, 0], [-0.3, -0.2, 1.0], [1, 1, 1])], CT)
    assert fitted(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([1.0, -0.2], abs=1e-6)


@pytest.mark.parametrize(("images", "what"), [([[0, 0]], "1 images"), ([], "0 images")])
def test_empty_masks_are_refused(images: list[list[int]], what: str) -> None:
    cases = [cached([0, 1], None, inside) for inside in images]
    with pytest.raises(InputError, match=f"no tissue inside the masks of {what}; expected some"):
        RankTable().fit(cases, [cached([0, 1], [0, 1], [1, 1])], CT)
    without = [cached([0, 1], None, [1, 1])]
    with pytest.raises(InputError, match="no tissue inside the masks of 0 CTs"):
        RankTable().fit(without, without, CT)
    with pytest.raises(InputError, match="no tissue inside the masks of 1 CTs"):
        RankTable().fit(without, [cached([0, 0], [-1.0, -0.9], [1, 1])], CT)


def test_the_term_is_the_mean_distance_in_network_units() -> None:
    config = tiny(style_weight=0.0, adversarial_weight=0.0, rank_weight=3.0, mark_outside=True)
    objective = CrepsObjective(config, ranks=table([0.0, 1.0], [0.0, 1.0]))
    torch.manual_seed(1)
    built = objective.networks()
    nets = Networks(built, Fabric(accelerator="cpu", devices=1, precision="32-true"))
    image = torch.rand(1, 1, 24, 24, 24)
    image[:, :, :4] = -1
    ((turn, loss, told),) = list(objective.losses(nets, Batch(image, torch.zeros_like(image), torch.ones_like(image))))
    wanted = torch.where(image < 0, AIR, 1 - image)
    with torch.no_grad():
        distance = (built[GENERATOR](image) - wanted).abs().mean()
    assert turn == GENERATOR
    assert float(loss.detach()) == pytest.approx(3 * float(distance), rel=1e-5)
    assert float(told["rank"]) == pytest.approx(float(distance), rel=1e-5)
    assert loss.requires_grad


def started(seed: int = 2) -> Generator:
    """The generator of an objective that starts from ranks."""
    network = {**GENERATOR_SHAPE, "rank_start": True}
    config = tiny(network=network, mark_outside=True, style_weight=0.0)
    torch.manual_seed(seed)
    built = CrepsObjective(config, ranks=table([0.0, 1.0], [-0.1, 1.4])).networks()[GENERATOR]
    assert isinstance(built, Generator)
    return built


def test_a_generator_that_starts_from_ranks_gives_them_at_first_and_learns_from_there() -> None:
    generator = started().train()
    image = torch.rand(2, 1, 4, 6, 8)
    image[0, :, 0] = -1
    wanted = torch.where(image < 0, AIR, 1.4 - 1.5 * image)
    first = generator(image)
    assert torch.allclose(first, wanted, atol=1e-5)
    (first - 0.5).abs().mean().backward()
    assert generator.head.weight.grad is not None
    assert generator.head.weight.grad.abs().sum() > 0
    with torch.no_grad():
        generator.head.weight.fill_(0.25)
    assert not torch.allclose(generator(image), wanted, atol=1e-2)


def test_the_table_travels_with_the_weights() -> None:
    """Halved, as weights are saved: MR 0.93 is then off by 0.0005 at most, half a unit."""
    generator = started()
    tensors = own_tensors(generator)
    assert {"ranks.image", "ranks.ct", "ranks.air"} <= set(tensors)
    other = Generator(generator.config).eval()
    other.load_state_dict({name: tensor.half() for name, tensor in tensors.items()})
    image = torch.rand(1, 1, 4, 6, 8)
    assert (other(image) - generator.eval()(image)).abs().max() < 2e-3
    average = WeightAverage({GENERATOR: generator})
    average.follow({GENERATOR: generator}, 0.9)
    assert torch.allclose(average.networks[GENERATOR](image), generator(image), atol=1e-6)


def test_the_table_is_no_parameter() -> None:
    shape = GeneratorConfig.model_validate(GENERATOR_SHAPE)
    counts = []
    for rank_start in (False, True):
        network = {**shape.model_dump(mode="json"), "rank_start": rank_start}
        counts.append(describe({"network": network, "mark_outside": True, "style_weight": 0.0}))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("changes", [{"rank_weight": 2.0}, {"network": {**GENERATOR_SHAPE, "rank_start": True}}])
def test_ranks_without_a_marked_outside_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"ranks \(rank_weight, network.rank_start\) without mark_outside; air"):
        tiny(**changes)
    assert tiny(**changes, mark_outside=True).needs_ranks
    assert (tiny().rank_weight, tiny().mark_outside, tiny().needs_ranks) == (0.0, False, False)  # the paper has none
    assert not tiny().network.rank_start


@pytest.mark.slow
def test_a_run_from_ranks_predicts(tmp_path: Path) -> None:
    """After one step at a tiny rate dark is still dense, and the air around and inside the mask has no say in it."""
    settings = {
        "network": {**GENERATOR_SHAPE, "rank_start": True},
        "discriminator": DISCRIMINATOR_SHAPE,
        "sampling": {"patch": [24, 24, 24]},
        "batch": 1,
        "mark_outside": True,
        "style_weight": 0.0,
        "learning_rate": 1e-6,
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    data, run_dir, made = (tmp_path / name for name in ("data", "run", "sct"))
    assert synthct("sample", data, "--kind", "limb", "--cases", "2", "--seed", "4").code == 0
    options = ("--config", tmp_path / "settings.yaml", "--device", "cpu", "--max-steps", "1")
    trained = synthct("train", "creps-cgan", data, run_dir, *options)
    assert trained.code == 0, trained.err
    predicted = synthct("predict", "creps-cgan", data, made, "--model", run_dir)
    assert predicted.code == 0, predicted.err
    for files in find_cases(data):
        case = load_case(files)
        body = body_inside(case.image, case.mask)
        values, hu = case.image.voxels[body], read_volume(made / f"{case.id}.mha").voxels
        dark, bright = (np.quantile(values, rank) for rank in (0.02, 0.98))
        assert hu[body][values <= dark].mean() > 300
        assert -250 <= hu[body][values >= bright].mean() < 0
        assert hu[body].min() >= -260
        rim = (case.mask.voxels > 0) & ~body
        assert rim.any()
        assert np.abs(hu[rim] + 1000).max() <= 10
