"""Predicting with creps-cgan: by hand with the paper's padding and upper median, on its grid, resampled, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from builders import make_volume

from algorithms.creps_cgan.network import Generator, GeneratorConfig
from algorithms.creps_cgan.predictor import ModelConfig, load
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.networks.state import own_tensors
from synthct.resample import resample_like, resample_to_spacing
from synthct.weights import ModelFolder, load_tensors, open_model, save_model

ENGINE = Engine(torch.device("cpu"), precision="fp32")
NETWORK = GeneratorConfig(width=2, inner=4, blocks=1)
IMAGE = LinearScale(low=0.0, high=2000.0, scale=1000.0)
CT = LinearScale(low=-1000.0, high=3000.0, scale=1000.0)
PATCH = (4, 8, 8)


def model_config(**changes: Any) -> ModelConfig:
    sweep = SweepSettings(patch=PATCH, step=0.5, rule="monai", merging="median-upper", whole_patches=True)
    settings: dict[str, Any] = {"network": NETWORK, "sweep": sweep, "spacing": None, "image": IMAGE, "ct": CT}
    return ModelConfig(**(settings | changes))


def save_random(folder: Path, *, head: float | None = None, **changes: Any) -> ModelFolder:
    torch.manual_seed(0)
    generator = Generator(NETWORK)
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm3d):  # as after some training
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.normal_(module.bias)
    torch.nn.init.normal_(generator.head.weight)
    if head is not None:
        torch.nn.init.constant_(generator.head.weight, head)
    return save_model(
        folder,
        own_tensors(generator),
        half=False,
        algorithm="creps-cgan",
        tasks=(Task.MRI,),
        regions=(Region.PELVIS,),
        config=model_config(**changes).model_dump(mode="json"),
    )


def make_case(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 2.5)) -> Case:
    rng = np.random.default_rng(5)
    mask = np.zeros(shape, np.uint8)
    mask[:, 1:-1, 1:-1] = 1
    grid: dict[str, Any] = {"spacing": spacing, "origin": (-3.25, 11.5, 7.125)}
    image = rng.integers(0, 1500, shape).astype(np.int16)
    return Case("1PA001", Task.MRI, Region.PELVIS, make_volume(image, **grid), make_volume(mask, **grid))


def by_hand(folder: ModelFolder, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Paper 001's inference written out: pad, every half patch, append 3.0 to even counts, the middle, crop, clip."""
    generator = Generator(NETWORK).eval()
    own = own_tensors(generator)
    for name, tensor in load_tensors(folder).items():
        own[name].copy_(tensor)
    zeros = [(0, -size % edge) for size, edge in zip(image.shape, PATCH, strict=True)]
    volume = np.pad(np.clip(image.astype(np.float32), 0, 2000) / 1000, zeros)
    found: list[list[float]] = [[] for _ in range(volume.size)]
    places = np.arange(volume.size).reshape(volume.shape)
    starts = [range(0, size - edge + 1, edge // 2) for size, edge in zip(volume.shape, PATCH, strict=True)]
    with torch.no_grad():
        for z in starts[0]:
            for y in starts[1]:
                for x in starts[2]:
                    window = (slice(z, z + PATCH[0]), slice(y, y + PATCH[1]), slice(x, x + PATCH[2]))
                    output = generator(torch.from_numpy(volume[window].copy())[None, None])[0, 0].numpy()
                    for place, value in zip(places[window].flat, output.flat, strict=True):
                        found[place].append(float(value))
    middle = [sorted([*values, 3.0] if len(values) % 2 == 0 else values) for values in found]
    merged = np.array([values[len(values) // 2] for values in middle], np.float32).reshape(volume.shape)
    cropped = merged[tuple(slice(0, size) for size in image.shape)]
    return np.asarray(np.clip(cropped * 1000, -1024, 3000), dtype=np.float32)


@pytest.mark.parametrize(("shape", "windows"), [((8, 16, 16), 27), ((5, 9, 14), 27), ((3, 8, 7), 1)])
def test_the_paper_by_hand(tmp_path: Path, shape: tuple[int, int, int], windows: int) -> None:
    folder = save_random(tmp_path / "model")
    case = make_case(shape)
    prediction = load(folder, ENGINE).predict(case)
    wanted = np.rint(by_hand(folder, case.image.voxels))
    inside = case.mask.voxels > 0
    assert np.abs(prediction.volume.voxels[inside] - wanted[inside]).max() <= 1  # rounded at x.5 either way
    assert (prediction.volume.voxels[~inside] == -1000).all()
    assert prediction.volume.geometry == case.image.geometry
    assert prediction.volume.voxels.dtype == np.int16
    assert prediction.notes["sweep"]["windows"] == windows
    assert prediction.notes["resampled"] is False
    assert wanted[inside].std() > 10  # the network says something


@pytest.mark.parametrize(("head", "bound"), [(1000.0, 3000), (-1000.0, -1024)])
def test_values_are_clipped_to_the_papers_bounds(tmp_path: Path, head: float, bound: int) -> None:
    case = make_case((4, 16, 16))
    found = load(save_random(tmp_path / "model", head=head), ENGINE).predict(case).volume.voxels
    values = found[case.mask.voxels > 0]
    assert (values == bound).mean() > 0.9
    assert abs(values.astype(int)).max() <= 3000


def test_another_spacing_goes_there_and_back(tmp_path: Path) -> None:
    case = make_case((10, 20, 24), spacing=(0.75, 0.75, 2.0))
    prediction = load(save_random(tmp_path / "model", spacing=(2.5, 1.0, 1.0)), ENGINE).predict(case)
    assert prediction.notes["resampled"] is True
    assert prediction.notes["sweep"]["windows"] == 3 * 3 * 5  # of 8 x 15 x 18 voxels, padded to 8 x 16 x 24
    assert prediction.volume.geometry == case.image.geometry
    inside = case.mask.voxels > 0
    assert (prediction.volume.voxels[~inside] == -1000).all()
    assert prediction.volume.voxels[inside].std() > 10
    same = load(save_random(tmp_path / "own", spacing=(2.0, 0.75, 0.75)), ENGINE).predict(case)
    assert same.notes["resampled"] is False


def test_the_spread_is_in_hu(tmp_path: Path) -> None:
    engine = Engine(torch.device("cpu"), precision="fp32", spread=True)
    case = make_case((8, 16, 16))
    prediction = load(save_random(tmp_path / "model"), engine).predict(case)
    assert prediction.spread is not None
    values = prediction.spread.voxels
    assert (values[case.mask.voxels == 0] == 0).all()
    assert values[case.mask.voxels > 0].max() > 1
    assert values[0, 1, 1] == 0  # a corner, which one window alone reaches


def test_mr_of_another_scale_gives_a_warning(tmp_path: Path) -> None:
    case = make_case((4, 8, 8))
    case.image.voxels[:] = 9000
    with pytest.warns(UserWarning, match=r"1PA001: MR values from 9000 to 9000 \(100% beyond 0 to 2000\)"):
        prediction = load(save_random(tmp_path / "model"), ENGINE).predict(case)
    assert prediction.notes["clipped_share"] == 1.0


def test_a_card_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    folder = save_random(tmp_path / "model")
    for change, message in (
        ({"spacing": [1.0, 0.0, 1.0]}, r"settings do not fit creps-cgan \(spacing.1: Input should be greater than 0\)"),
        ({"sweep": {"patch": [3, 8, 8]}}, r"config: Value error, patch \(3, 8, 8\) .* is no multiple"),
    ):
        damaged = folder.card.model_copy(update={"config": folder.card.config | change})
        with pytest.raises(WeightsError, match=message):
            load(ModelFolder(folder.path, damaged), ENGINE)


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = save_random(tmp_path / "model", network=GeneratorConfig(width=2, inner=6, blocks=1))
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        load(open_model(folder.path), ENGINE)


def test_the_image_is_resampled_by_splines(tmp_path: Path) -> None:
    """Noise at 0.75 mm on a grid of 1 mm, where a spline and a straight line differ by some HU."""
    case = make_case((10, 20, 24), spacing=(0.75, 0.75, 2.0))
    folder = save_random(tmp_path / "model", spacing=(2.5, 1.0, 1.0))
    found = load(folder, ENGINE).predict(case).volume.voxels
    inside = case.mask.voxels > 0
    differences = {}
    for order in (1, 3):
        image = resample_to_spacing(case.image, (2.5, 1.0, 1.0), order=order)
        hu = image.with_voxels(by_hand(folder, image.voxels))
        back = resample_like(hu, case.image.geometry).voxels
        differences[order] = float(np.abs(found[inside] - back[inside]).max())
    assert differences[3] <= 1
    assert differences[1] > 3
