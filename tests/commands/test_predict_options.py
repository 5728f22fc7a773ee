"""Options of `synthct predict`: OUTPUT/spread over several runs, what an algorithm without windows ignores, limits."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from commands.command_line import files_below, synthct
from commands.limb_cases import limb, save_limb

from algorithms.commands.predict import predict
from algorithms.lookup_table.table import TableConfig
from algorithms.pix2pix_pelvis.network import NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.predictor import ModelConfig
from synthct.anatomy import Region, Task
from synthct.errors import HeaderError, OutputError
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.volume import read_volume
from synthct.weights import save_model

FOR_LIMBS: dict[str, Any] = {"half": False, "tasks": (Task.MRI,), "regions": (Region.EXTREMITY,)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in (1, 2):
        save_limb(tmp_path / "data" / f"1EXA00{number}", seed=number, reference=False)
    return tmp_path / "data"


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """An untrained network for limbs."""
    torch.manual_seed(11)
    config = ModelConfig(
        network=NetworkConfig(
            widths=(4, 8), strides=((1, 2, 2),), kernels=((1, 3, 3), (3, 3, 3)), norm="none", discriminator_width=4
        ),
        sweep=SweepSettings(patch=(8, 24, 24)),
        image=LinearScale(low=0, high=4000, scale=1000),
        ct=LinearScale(low=-1024, high=3071, scale=1000),
    )
    tensors, content = UNetGenerator(config.network).state_dict(), config.model_dump(mode="json")
    save_model(tmp_path / "generator", tensors, algorithm="pix2pix-pelvis", config=content, **FOR_LIMBS)
    return tmp_path / "generator"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 50 HU for every MR value."""
    config = TableConfig()
    tensors = {"table": torch.full((config.bins,), 50.0)}
    save_model(tmp_path / "table", tensors, algorithm="lookup-table", config=config.model_dump(), **FOR_LIMBS)
    return tmp_path / "table"


def table_with(data: Path, table: Path, output: Path, **options: Any) -> list[str]:
    """Predict with the table; returns the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict("lookup-table", data, output, model=table, device="cpu", **options)
    return [str(warning.message) for warning in caught]


def test_spread_of_an_earlier_run_goes_with_its_sct(data: Path, generator: Path, tmp_path: Path) -> None:
    """Case 1 is predicted anew without --spread: its own map goes, that of case 2 still belongs to its sCT."""
    out = tmp_path / "out"
    predict("pix2pix-pelvis", data, out, model=generator, device="cpu", spread=True)
    assert files_below(out / "spread") == ["1EXA001.mha", "1EXA002.mha"]
    predict("pix2pix-pelvis", data / "1EXA001", out, model=generator, device="cpu")
    assert files_below(out / "spread") == ["1EXA002.mha"]
    assert {"1EXA001.mha", "1EXA002.mha"} <= set(files_below(out))
    predict("pix2pix-pelvis", data / "1EXA002", out, model=generator, device="cpu")
    assert files_below(out) == ["1EXA001.mha", "1EXA002.mha", "manifest.json"]


def test_spread_is_written_again_over_the_earlier_one(data: Path, generator: Path, tmp_path: Path) -> None:
    out, case = tmp_path / "out", data / "1EXA001"
    (out / "spread").mkdir(parents=True)
    (out / "spread" / "1EXA001.mha").write_text("of an earlier run")
    (out / "spread" / "notes.txt").write_text("the user's")
    predict("pix2pix-pelvis", case, out, model=generator, device="cpu", spread=True)
    assert read_volume(out / "spread" / "1EXA001.mha").geometry == limb().mask.geometry
    assert files_below(out / "spread") == ["1EXA001.mha", "notes.txt"]


def test_file_named_spread_is_told_before_anything_is_predicted(data: Path, generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "spread").write_text("the user's")
    (out / "manifest.json").write_text("of an earlier run")
    with pytest.raises(
        OutputError, match=r"out/spread: cannot be written to \(.+\); expected a writable folder"
    ) as caught:
        predict("pix2pix-pelvis", data, out, model=generator, device="cpu", spread=True)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert files_below(out) == ["manifest.json", "spread"]
    assert (out / "spread").read_text() == "the user's"


def test_file_named_spread_is_in_nobodys_way_without_the_option(data: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "spread").write_text("the user's")
    assert table_with(data / "1EXA001", table, out) == []
    assert (out / "spread").read_text() == "the user's"
    assert files_below(out) == ["1EXA001.mha", "manifest.json", "spread"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"budget": 1.0}, "--budget changed"),
        ({"precision": "fp32"}, "--precision changed"),
        ({"spread": True}, "--spread changed"),
        ({"budget": 1.0, "precision": "bf16", "spread": True}, "--budget and --precision and --spread changed"),
    ],
)
def test_options_that_mean_nothing_are_told_once(
    options: dict[str, Any], named: str, data: Path, table: Path, tmp_path: Path
) -> None:
    """Two cases, one warning; a folder for spread does not stay where there is none."""
    out = tmp_path / "out"
    assert table_with(data, table, out, **options) == [f"lookup-table sweeps no windows, so {named} nothing"]
    assert files_below(out) == ["1EXA001.mha", "1EXA002.mha", "manifest.json"]
    assert len(json.loads((out / "manifest.json").read_text())["cases"]) == 2


def test_options_that_work_are_not_warned_of(data: Path, generator: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(
            "pix2pix-pelvis",
            data / "1EXA001",
            tmp_path,
            model=generator,
            device="cpu",
            budget=600,
            precision="fp32",
            spread=True,
        )
    (row,) = json.loads((tmp_path / "manifest.json").read_text())["cases"]
    assert (row["sweep"]["budget_s"], row["sweep"]["precision"]) == (600, "fp32")


def test_voxel_limit(data: Path, table: Path, tmp_path: Path) -> None:
    """The limit is the largest volume in bytes: the image is int16 here, the mask half of it."""
    case, out = data / "1EXA001", tmp_path / "out"
    size = read_volume(case / "mr.mha").voxels.nbytes
    with pytest.raises(HeaderError, match=rf"{size} bytes.*at most {size - 1} bytes.*--voxel-limit"):
        predict("lookup-table", case, out, model=table, device="cpu", voxel_limit=size - 1)
    assert not out.exists()
    predict("lookup-table", case, out, model=table, device="cpu", voxel_limit=size)
    assert (out / "1EXA001.mha").exists()


def test_in_a_real_process(data: Path, table: Path, tmp_path: Path) -> None:
    """One line on stderr, that warning, and exit 0."""
    command = ("predict", "lookup-table", data, tmp_path / "out", "--model", table, "--device", "cpu")
    idle = synthct(*command, "--budget", "5", "--precision", "fp32", OMP_NUM_THREADS="1")
    assert idle.code == 0, idle.err
    assert idle.err.splitlines() == [
        "warning: lookup-table sweeps no windows, so --budget and --precision changed nothing"
    ]
