"""Imported nets whose training images lay the other way round: they see, and give back, the body as they learned it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Array, make_volume
from nnunet_models import make_plans, write_nnunet_model
from typer.testing import CliRunner

from algorithms.commands.weights import weights
from algorithms.interface import Prediction
from algorithms.nnresunet_afp.predictor import load, read_config
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.inference.engine import Engine
from synthct.weights import open_model

CT = ["--ct-mean", "-200", "--ct-std", "400", "--ct-low", "-1024", "--ct-high", "3071"]
PATCH, TWO_WINDOWS = (8, 32, 40), (8, 32, 50)
REORIENTING = "NibabelIOWithReorient"


def imported(root: Path, reader: str, *options: str) -> tuple[Path, dict[str, torch.nn.Module]]:
    """Two folds, so that there is a spread; the networks of the same fold are alike whatever the reader."""
    plans = make_plans("residual", scheme="ZScoreNormalization") | {"image_reader_writer": reader}
    source, target = root / "-".join((reader, *options)), root / "-".join(("model", reader, *options))
    networks = write_nnunet_model(source, plans, outputs=1, folds=("0", "1"), channel="MRI")
    arguments = ["import", "nnunet", str(source), str(target), "--task", "mri", "--region", "HN", *CT, *options]
    result = CliRunner().invoke(weights, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return target, networks


def make_case(shape: tuple[int, ...], *, turned: bool = False) -> Case:
    """An MR with an off-centre mask; `turned` has the arrays of both the other way round in y and x."""
    rng = np.random.default_rng(5)
    image, mask = rng.integers(1, 900, shape).astype(np.int16), np.zeros(shape, np.uint8)
    mask[1:, 3:30, 5:36] = 1
    if turned:
        image, mask = turn(image), turn(mask)
    volumes = (make_volume(voxels, spacing=(1.0, 1.0, 3.0)) for voxels in (image, mask))
    return Case("1HNA001", Task.MRI, Region.HEAD_NECK, *volumes)


def turn(voxels: Array) -> Array:
    return np.ascontiguousarray(voxels[:, ::-1, ::-1])


def predict(folder: Path, case: Case) -> Prediction:
    return load(open_model(folder), Engine(torch.device("cpu"), precision="fp32", spread=True)).predict(case)


@pytest.mark.parametrize("shape", [PATCH, TWO_WINDOWS])
def test_the_same_net_by_both_readers(shape: tuple[int, ...], tmp_path: Path) -> None:
    """sCT and spread of the reoriented net are those of the plain one, for the body turned round, turned back."""
    reoriented, _ = imported(tmp_path, REORIENTING)
    plain, _ = imported(tmp_path, "SimpleITKIO")
    found, expected = predict(reoriented, make_case(shape)), predict(plain, make_case(shape, turned=True))
    assert np.array_equal(found.volume.voxels, turn(expected.volume.voxels))
    assert found.spread is not None
    assert expected.spread is not None
    assert np.array_equal(found.spread.voxels, turn(expected.spread.voxels))
    unturned = predict(plain, make_case(shape)).volume.voxels
    assert np.abs(found.volume.voxels.astype(int) - unturned).max() > 20


def test_by_nnunets_own_network(tmp_path: Path) -> None:
    folder, networks = imported(tmp_path, REORIENTING)
    case = make_case(PATCH)
    image = case.image.voxels.astype(np.float64)
    seen = turn((image - image.mean()) / image.std()).astype(np.float32)
    with torch.no_grad():
        made = [network(torch.from_numpy(seen)[None, None])[0, 0].numpy() for network in networks.values()]
    expected = turn(np.mean(made, axis=0)) * 400.0 - 200
    inside = case.mask.voxels > 0
    found = predict(folder, case).volume.voxels
    np.testing.assert_allclose(found[inside], np.clip(expected, -1024, 3071)[inside], atol=0.51)


@pytest.mark.parametrize(
    ("reader", "options", "flips"),
    [
        (REORIENTING, (), ("y", "x")),
        (REORIENTING, ("--orientation", "lps"), ()),
        ("SimpleITKIO", (), ()),
        ("SimpleITKIO", ("--orientation", "ras"), ("y", "x")),
    ],
)
def test_the_reader_tells_and_the_user_decides(
    reader: str, options: tuple[str, ...], flips: tuple[str, ...], tmp_path: Path
) -> None:
    folder, _ = imported(tmp_path, reader, *options)
    assert {read_config(member).flips for member in open_model(folder).members} == {flips}
