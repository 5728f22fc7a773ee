"""Predicting with nnresunet-afp: by hand, on real scans bit for bit on their grid, resampled, by several folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import Array, make_volume
from nnresunet_runs import CBCT, CPU, CT, NETWORK, PATCH, model_config, save_random_model

from algorithms.commands.predict import predict
from algorithms.nnresunet_afp.network import build_network
from algorithms.nnresunet_afp.predictor import ModelConfig, load
from synthct.anatomy import Region, Task
from synthct.dataset import Case, find_cases, load_case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import own_tensors
from synthct.volume import read_volume
from synthct.weights import ModelFolder, load_tensors, open_model, save_model

EXACT = Engine(CPU, precision="fp32")
SWEEP = SweepSettings(patch=(8, 48, 48), step=0.5, merging="mean")


def make_case(shape: tuple[int, int, int], *, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> Case:
    """An MR whose mask is a box with a hole; spacing is (x, y, z)."""
    rng = np.random.default_rng(7)
    image, mask = rng.integers(50, 900, shape).astype(np.int16), np.zeros(shape, np.uint8)
    mask[:, 2:-2, 2:-2] = 1
    mask[0, 5:7, 5:7] = 0
    grid: dict[str, Any] = {"spacing": spacing, "origin": (-3.25, 11.5, 7.125)}
    return Case("1ABA001", Task.MRI, Region.ABDOMEN, make_volume(image, **grid), make_volume(mask, **grid))


def network_of(folder: ModelFolder) -> torch.nn.Module:
    config = ModelConfig.model_validate(folder.card.config)
    network = build_network(config.network, config.image, config.ct, global_skip=config.global_skip).eval()
    own = own_tensors(network)
    for name, tensor in load_tensors(folder).items():
        own[name].copy_(tensor)
    return network


def by_hand(folder: ModelFolder, image: Array) -> Array:
    """One window: z-score of the whole image, translated, back to HU."""
    values = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    with torch.no_grad():
        found = network_of(folder)(torch.from_numpy(values.astype(np.float32))[None, None])[0, 0].numpy()
    return np.asarray(found * 250 - 100)


def test_one_window_by_hand(tmp_path: Path) -> None:
    case = make_case(PATCH)
    folder = save_random_model(tmp_path, model_config())
    steps: list[tuple[int, int]] = []
    prediction = load(folder, EXACT).predict(case, advance=lambda done, total: steps.append((done, total)))
    made, inside = prediction.volume.voxels, case.mask.voxels > 0
    expected = np.clip(by_hand(folder, case.image.voxels), -1024, 3071)
    assert np.ptp(expected[inside]) > 50
    np.testing.assert_allclose(made[inside], expected[inside], atol=0.51)
    assert np.all(made[~inside] == -1000)
    assert (made.dtype, prediction.volume.geometry) == (np.int16, case.image.geometry)
    assert (prediction.spread, steps) == (None, [(1, 1)])
    assert prediction.notes["resampled"] is False


def test_a_silent_network_with_the_skip_returns_the_cbct(tmp_path: Path) -> None:
    """Every HU within the bounds comes back, to the voxel; weights of 0 leave the image alone."""
    config = model_config(image=CBCT, global_skip=True)
    torch.manual_seed(1)
    tensors = own_tensors(build_network(config.network, config.image, config.ct, global_skip=True))
    card: dict[str, Any] = {"algorithm": "nnresunet-afp", "tasks": (Task.CBCT,), "regions": (Region.ABDOMEN,)}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    folder = save_model(tmp_path, zeros, half=True, config=config.model_dump(mode="json"), **card)
    hu = np.random.default_rng(2).integers(-1024, 3072, (6, 24, 20)).astype(np.int16)
    case = Case("2ABA001", Task.CBCT, Region.ABDOMEN, make_volume(hu), make_volume(np.ones(hu.shape, np.uint8)))
    assert np.array_equal(load(folder, EXACT).predict(case).volume.voxels, hu)


@pytest.fixture(scope="module")
def scans(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, ModelFolder]]:
    """A real MR and a CBCT that was simulated from a real CT: case folder, written sCT, model of random weights."""
    root = tmp_path_factory.mktemp("scans")
    found = {}
    for name, place, changes in (
        ("mr", "sts/Task1/EX/1EXA031", {"spacing": (3.27, 0.9765625, 0.9765625)}),
        ("cbct", "cbct-simulated/Task2/AB/2ABA001", {"image": CBCT, "spacing": (3.0, 3.0, 3.0), "global_skip": True}),
    ):
        case = data_root / place
        region = Region.EXTREMITY if name == "mr" else Region.ABDOMEN
        model = save_random_model(root / name, model_config(sweep=SWEEP, **changes), region=region)
        predict("nnresunet-afp", case, root / f"{name}-sct", model=model.path, spread=True, device="cpu")
        found[name] = (case, root / f"{name}-sct", model)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "identity"), [("mr", "1EXA031"), ("cbct", "2ABA001")])
def test_predicted_written_and_read_on_the_scans_own_grid(
    name: str, identity: str, scans: dict[str, tuple[Path, Path, ModelFolder]]
) -> None:
    """ITK's own reader: size, spacing, origin and direction to the last bit, for the sCT and for its spread."""
    case, output, _ = scans[name]
    source = sitk.ReadImage(str(case / f"{name}.mha"))
    for path in (output / f"{identity}.mha", output / "spread" / f"{identity}.mha"):
        made = sitk.ReadImage(str(path))
        for property_of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(made, property_of)() == getattr(source, property_of)(), (path, property_of)
    written, inside = read_volume(output / f"{identity}.mha"), read_volume(case / "mask.mha").voxels > 0
    assert written.voxels.dtype == np.int16
    assert np.all(written.voxels[~inside] == -1000)
    assert written.voxels[inside].std() > 10
    spread = read_volume(output / "spread" / f"{identity}.mha").voxels
    assert np.all(spread[~inside] == 0)
    assert 0 < np.median(spread[inside]) < 4095
    (row,) = json.loads((output / "manifest.json").read_text())["cases"]
    assert row["resampled"] is False, "the plan has the scan's own spacing"


@pytest.mark.slow
def test_the_files_voxels_are_the_predictors(scans: dict[str, tuple[Path, Path, ModelFolder]]) -> None:
    case, output, model = scans["cbct"]
    (files,) = find_cases(case)
    loaded = load_case(files)
    prediction = load(model, Engine(CPU)).predict(loaded)
    assert np.array_equal(read_volume(output / "2ABA001.mha").voxels, prediction.volume.voxels)


def test_a_real_ct_survives_its_normalisation(data_root: Path) -> None:
    """There and back within 0.01 HU, by the very ZScore that model.json holds."""
    ct = read_volume(data_root / "sts" / "Task1" / "EX" / "1EXA031" / "ct.mha").voxels
    config = model_config(ct=ZScore(mean=-15.83, std=261.27, low=-1024, high=3071))
    units = ModelConfig.model_validate(json.loads(config.model_dump_json())).ct
    back = units.invert(units.apply(ct))
    assert np.ptp(ct.astype(np.int32)) > 1500
    assert np.abs(back - np.clip(ct.astype(np.float64), -1024, 3071)).max() < 0.01
    assert np.array_equal(np.rint(back), np.clip(ct, -1024, 3071))


@pytest.mark.parametrize("spacing", [(2.0, 1.5, 0.8), (5.0, 2.0, 2.5)])
def test_another_spacing_ends_on_the_inputs_grid(spacing: tuple[float, float, float], tmp_path: Path) -> None:
    """Finer and coarser plans; inside the mask no air of the network's surroundings is mixed in."""
    folder = save_random_model(tmp_path, model_config(spacing=spacing))
    case = make_case((6, 24, 22))
    prediction = load(folder, Engine(CPU, precision="fp32", spread=True)).predict(case)
    inside = case.mask.voxels > 0
    made = prediction.volume
    assert prediction.notes["resampled"] is True
    assert (made.voxels.shape, made.geometry) == (case.image.voxels.shape, case.image.geometry)
    assert np.all(made.voxels[~inside] == -1000)
    assert np.unique(made.voxels[inside]).size > 50
    assert made.voxels[inside].min() > -900, "random weights stay near the CT's mean"
    assert prediction.spread is not None
    assert prediction.spread.geometry == case.image.geometry
    assert np.all(prediction.spread.voxels[~inside] == 0)


def test_a_spacing_that_is_almost_the_plans_is_not_resampled(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path, model_config())
    case = make_case(PATCH, spacing=(1.0004, 1.0, 3.001))
    assert load(folder, EXACT).predict(case).notes["resampled"] is False


def changed(folder: ModelFolder, **sweep: Any) -> Array:
    """Predict with other windows."""
    config = json.loads((folder.path / "model.json").read_text())
    config["config"]["sweep"] |= sweep
    (folder.path / "model.json").write_text(json.dumps(config))
    return load(open_model(folder.path), EXACT).predict(make_case((4, 24, 16))).volume.voxels


def test_mean_and_median_of_three_windows(tmp_path: Path) -> None:
    """Windows at rows 0, 4 and 8 of 24 - 16: the middle rows are seen by all, and there the merging decides."""
    folder = save_random_model(tmp_path, model_config())
    case = make_case((4, 24, 16))
    values = CaseZScore().apply(case.image.voxels)
    with torch.no_grad():
        seen = [network_of(folder)(torch.from_numpy(values[None, None, :, a : a + 16]))[0, 0] for a in (0, 4, 8)]
    rows = np.stack([made.numpy()[:, 8 - a : 16 - a] for a, made in zip((0, 4, 8), seen, strict=True)]) * 250 - 100
    inside = case.mask.voxels[:, 8:16] > 0
    for merging, expected in (("mean", rows.mean(axis=0)), ("median-lower", np.median(rows, axis=0))):
        made = changed(folder, merging=merging, step=0.25)[:, 8:16]
        np.testing.assert_allclose(made[inside], expected[inside], atol=0.51)
    assert np.abs(rows.mean(axis=0) - np.median(rows, axis=0))[inside].max() > 1


def test_mirroring_is_the_mean_of_both_views(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path, model_config())
    case = make_case(PATCH)
    image = case.image.voxels
    expected = (by_hand(folder, image) + by_hand(folder, image[:, :, ::-1])[:, :, ::-1]) / 2
    config = model_config(sweep=SweepSettings(patch=PATCH, merging="mean", mirror_axes=(2,)))
    made = load(save_random_model(tmp_path, config), EXACT).predict(case).volume.voxels
    inside = case.mask.voxels > 0
    np.testing.assert_allclose(made[inside], expected[inside], atol=0.51)
    assert np.abs(expected - by_hand(folder, image))[inside].max() > 5


def test_an_ensemble_is_the_mean_of_its_folds(tmp_path: Path) -> None:
    case = make_case((4, 24, 20))
    singles = [
        load(save_random_model(tmp_path / f"fold_{fold}", model_config(), seed=fold), EXACT).predict(case).volume.voxels
        for fold in (0, 1)
    ]
    both = load(open_model(tmp_path), EXACT).predict(case).volume.voxels
    assert np.abs(singles[0].astype(int) - singles[1]).max() > 20
    within = np.all([(single > -1024) & (single < 3071) for single in singles], axis=0)
    assert within[case.mask.voxels > 0].mean() > 0.5, "elsewhere a fold's own sCT is cut to the range"
    assert np.abs(both - (singles[0].astype(float) + singles[1]) / 2)[within].max() <= 1.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": NETWORK | {"kind": "plain"}}, "weights.safetensors: holds no encoder"),
        ({"sweep": {"patch": [4, 16, 17]}}, r"settings do not fit nnresunet-afp \(config: Value error, patch"),
        ({"spacing": [3.0, 0.0, 1.0]}, r"settings do not fit nnresunet-afp \(spacing\.1: Input should be greater"),
        ({"global_skip": True}, "global_skip needs an image in HU"),
        ({"tile": 3}, r"settings do not fit nnresunet-afp \(tile: Extra inputs"),
        ({"flips": ["x", "x"]}, "flips are x, x; expected each axis once"),
        ({"network": NETWORK | {"features": [2048, 4096], "kernels": [[15] * 3] * 2}}, "weights.safetensors: .* shape"),
    ],
)
def test_a_card_that_does_not_fit(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    folder = save_random_model(tmp_path, model_config())
    content = json.loads((tmp_path / "model.json").read_text())
    content["config"] |= changes
    (folder.path / "model.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=complaint) as caught:
        load(open_model(tmp_path), EXACT)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path, model_config())
    card = folder.card.model_dump(exclude={"sha256", "format"})
    tensors = load_tensors(folder)
    name = "decoder.seg_layers.0.weight"
    less = {key: tensor for key, tensor in tensors.items() if key != name}
    more, other = tensors | {"extra": torch.zeros(1)}, tensors | {name: torch.zeros(1, 5, 1, 1, 1)}
    for wrong, complaint in ((less, f"holds no {name}"), (more, "holds extra"), (other, f"{name} has shape")):
        save_model(tmp_path, dict(wrong), half=False, **card)
        with pytest.raises(WeightsError, match=complaint):
            load(open_model(tmp_path), EXACT)
    (tmp_path / "weights.safetensors").write_bytes(b"not what the card says")
    with pytest.raises(WeightsError):
        open_model(tmp_path)


def test_second_names_of_weights_are_taken_too(tmp_path: Path) -> None:
    """Files with the state dict's aliases, as imports write them, hold the same model."""
    folder = save_random_model(tmp_path / "short", model_config())
    card = folder.card.model_dump(exclude={"sha256", "format"})
    long = {name: tensor.clone() for name, tensor in network_of(folder).state_dict().items()}
    assert len(long) > len(load_tensors(folder))
    save_model(tmp_path / "long", long, half=False, **card)
    case = make_case(PATCH)
    made = [load(open_model(tmp_path / name), EXACT).predict(case).volume.voxels for name in ("short", "long")]
    assert np.array_equal(*made)
    assert ModelConfig.model_validate(folder.card.config).ct == CT
