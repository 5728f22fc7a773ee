"""Predicting with spade-afp: by hand with the lower median, on its grid, resampled, as an ensemble, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from builders import make_volume
from spade_runs import GLOBAL, IMAGE, PATCH, SPADE, model_config, save_random

from algorithms.spade_afp.network import build_generator
from algorithms.spade_afp.predictor import load
from algorithms.spade_afp.settings import CT_SCALE
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.windows import sliding_windows
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import fill_network
from synthct.resample import resample_like, resample_to_spacing
from synthct.weights import ModelFolder, load_tensors, open_model

ENGINE = Engine(torch.device("cpu"), precision="fp32")
Z_SCORE: dict[str, Any] = {"kind": "z-score", "mean": -100.0, "std": 300.0, "low": -1000.0, "high": 1500.0}


def make_case(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (1.0, 1.0, 2.5)) -> Case:
    random = np.random.default_rng(5)
    mask = np.zeros(shape, np.uint8)
    mask[:, 1:-1, 1:-1] = 1
    grid: dict[str, Any] = {"spacing": spacing, "origin": (-3.25, 11.5, 7.125)}
    image = random.integers(1, 1500, shape).astype(np.int16)
    return Case("1PA001", Task.MRI, Region.PELVIS, make_volume(image, **grid), make_volume(mask, **grid))


def by_hand(folder: ModelFolder, units: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each voxel's predictions of all windows, sorted, and the lower middle of them; network units."""
    generator = build_generator(model_config().generator, spectral_norm=False).eval()
    fill_network(generator, load_tensors(folder), "by hand")
    found: list[list[npt.NDArray[np.float32]]] = []
    for start in sliding_windows(units.shape, PATCH, 0.5, rule="nnunet"):
        window = tuple(slice(first, first + edge) for first, edge in zip(start, PATCH, strict=True))
        values = np.full(units.shape, np.inf, np.float32)
        with torch.inference_mode():
            values[window] = generator(torch.from_numpy(units[window])[None, None])[0, 0].numpy()
        found.append([values])
    ordered = np.sort(np.concatenate(found), axis=0)  # what does not cover a voxel comes last
    count = np.isfinite(ordered).sum(axis=0)
    return np.take_along_axis(ordered, (count - 1)[None] // 2, axis=0)[0]


def difference(made: npt.NDArray[Any], hu: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]) -> float:
    """The largest inside the mask, of an sCT from HU that it may not hold as they are: 0.5 is rounding."""
    return float(np.abs(made - np.clip(hu, -1024, 3071))[inside].max())


def test_prediction_by_hand(tmp_path: Path) -> None:
    folder, case = save_random(tmp_path / "model"), make_case((12, 24, 24))
    made = load(folder, ENGINE).predict(case)
    hu = CT_SCALE.invert(by_hand(folder, IMAGE.apply(case.image.voxels)))
    inside = case.mask.voxels > 0
    assert difference(made.volume.voxels, hu, inside) <= 0.51
    assert np.all(made.volume.voxels[~inside] == -1000)
    assert made.volume.voxels[inside].std() > 5
    assert made.volume.geometry == case.image.geometry
    assert made.notes["sweep"]["merging"] == "median-lower"
    assert made.notes["sweep"]["windows"] == 2 * 2 * 2
    assert (made.notes["resampled"], made.notes["clipped_share"]) == (False, 0.0)


def test_case_z_score_and_ct_z_score(tmp_path: Path) -> None:
    """The mean and deviation are the case's own, whatever the scanner's unit; HU come by the data set's."""
    folder = save_random(tmp_path / "model", image={"kind": "case-z-score"}, ct=Z_SCORE)
    predictor, case = load(folder, ENGINE), make_case((12, 24, 24))
    made = predictor.predict(case)
    other = case.image.with_voxels(case.image.voxels * np.int16(3))
    brighter = predictor.predict(Case(case.id, case.task, case.region, other, case.mask))
    assert np.abs(brighter.volume.voxels - made.volume.voxels).max() <= 1
    hu = ZScore.model_validate(Z_SCORE).invert(by_hand(folder, CaseZScore().apply(case.image.voxels)))
    inside = case.mask.voxels > 0
    assert difference(made.volume.voxels, hu, inside) <= 0.51
    assert "clipped_share" not in made.notes


def test_beyond_the_edge_is_what_training_saw(tmp_path: Path) -> None:
    """An axis shorter than the patch: 0 on a scale, the darkest voxel of a z-score."""
    case = make_case((6, 16, 16))
    for number, image in enumerate((IMAGE.model_dump(), {"kind": "case-z-score"})):
        folder = save_random(tmp_path / str(number), image=image)
        config = model_config(image=image)
        units = config.image.apply(case.image.voxels)
        edge = 0.0 if number == 0 else units.min()
        filled = np.pad(units, ((0, 2), (0, 0), (0, 0)), constant_values=edge).astype(np.float32)
        hu = CT_SCALE.invert(by_hand(folder, filled))[:6]
        inside = case.mask.voxels > 0
        made = load(folder, ENGINE).predict(case).volume.voxels
        assert difference(made, hu, inside) <= 0.51


def test_mr_beyond_the_scale_is_told(tmp_path: Path) -> None:
    case = make_case((8, 16, 16))
    bright = case.image.with_voxels(case.image.voxels * np.int16(20))
    predictor = load(save_random(tmp_path / "model"), ENGINE)
    with pytest.warns(UserWarning, match="its HU will be wrong"):
        notes = predictor.predict(Case(case.id, case.task, case.region, bright, case.mask)).notes
    assert notes["clipped_share"] > 0.5


def test_another_spacing_is_resampled_and_brought_back(tmp_path: Path) -> None:
    spacing = (2.5, 1.5, 1.5)
    case = make_case((8, 24, 24))
    folder = save_random(tmp_path / "model", spacing=spacing)
    engine = Engine(torch.device("cpu"), precision="fp32", spread=True)
    made = load(folder, engine).predict(case)
    image = resample_to_spacing(case.image, spacing, order=3)
    assert image.voxels.shape == (8, 16, 16)
    hu = CT_SCALE.invert(by_hand(folder, IMAGE.apply(image.voxels)))
    back = resample_like(image.with_voxels(hu), case.image.geometry).voxels
    inside = case.mask.voxels > 0
    assert difference(made.volume.voxels, back, inside) <= 0.51
    assert made.notes["resampled"] is True
    assert made.spread is not None
    assert made.spread.geometry == case.image.geometry == made.volume.geometry


def test_spread_is_the_folds_deviation_in_hu(tmp_path: Path) -> None:
    """One window, two folds: half of their difference."""
    case = make_case(PATCH)
    singles = []
    for fold in (0, 1):
        folder = save_random(tmp_path / "folds" / f"fold_{fold}", seed=fold)
        singles.append(CT_SCALE.invert(by_hand(folder, IMAGE.apply(case.image.voxels))))
    engine = Engine(torch.device("cpu"), precision="fp32", spread=True)
    made = load(open_model(tmp_path / "folds"), engine).predict(case)
    inside = case.mask.voxels > 0
    assert made.spread is not None
    expected = np.abs(singles[0] - singles[1]) / 2
    assert expected[inside].mean() > 1
    np.testing.assert_allclose(made.spread.voxels[inside], expected[inside], rtol=1e-3, atol=0.05)
    assert difference(made.volume.voxels, np.minimum(*singles), inside) <= 0.51  # lower middle of two


def test_the_global_generator_predicts_too(tmp_path: Path) -> None:
    folder, case = save_random(tmp_path / "model", generator=GLOBAL), make_case((8, 24, 24))
    voxels = load(folder, ENGINE).predict(case).volume.voxels
    assert voxels[case.mask.voxels > 0].std() > 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"generator": SPADE | {"kind": "unet"}}, "generator"),
        ({"generator": SPADE | {"strides": [[1, 3, 3]]}}, r"patch \(8, 16, 16\) .* no multiple"),
        ({"image": {"kind": "z-score", "mean": 0.0, "std": 1.0}}, "image"),
        ({"ct": CaseZScore().model_dump()}, "ct"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_are_not_those_of_a_model(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    folder = save_random(tmp_path / "model")
    card = json.loads((folder.path / "model.json").read_text())
    card["config"] |= change
    (folder.path / "model.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=f"settings do not fit spade-afp .*{complaint}"):
        load(open_model(folder.path), ENGINE)


def test_tensors_of_another_network(tmp_path: Path) -> None:
    folder = save_random(tmp_path / "model")
    card = json.loads((folder.path / "model.json").read_text())
    card["config"]["generator"] |= {"width": 3}
    (folder.path / "model.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"weights.safetensors: .* has shape .* expected"):
        load(open_model(folder.path), ENGINE)
