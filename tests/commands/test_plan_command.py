"""`synthct plan` on small made limbs, and on real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click.testing import Result
from commands.limb_cases import save_limb
from typer.testing import CliRunner

from algorithms.commands.plan import plan
from synthct.anatomy import Region
from synthct.dataset import find_cases
from synthct.errors import InputError, SynthCTError, UsageError
from synthct.intensity import CaseZScore, ZScore
from synthct.planning.fingerprint import fingerprint
from synthct.planning.plan import Plan, make_plan


def run(*words: str | Path) -> Result:
    app = typer.Typer()
    app.command()(plan)
    return CliRunner().invoke(app, [*map(str, words)])


def refused(*words: str | Path) -> SynthCTError:
    error = run(*words).exception
    assert isinstance(error, SynthCTError), error
    return error


def save_data(root: Path) -> Path:
    """Two MR and one CBCT limb."""
    for name, seed in (("1EXA001", 1), ("1EXA002", 2), ("2EXA001", 3)):
        save_limb(root / f"Task{name[0]}" / "EX" / name, seed=seed)
    return root


def test_a_plan_of_mr(tmp_path: Path) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    result = run(data, path, "--task", "mri")
    assert result.exit_code == 0, result.output
    made = Plan.read(path)
    assert made == make_plan(fingerprint(find_cases(data / "Task1")), kind="residual")
    assert made.spacing == (5.0, 3.0, 3.0)
    assert (made.cases, made.image, made.network.kind) == (2, CaseZScore(), "residual")
    assert made.ct.low == -1024
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)
    assert lines["cases"] == "2 (mri, EX)"
    assert lines["spacing"].startswith("5 x 3 x 3 mm")
    assert (
        f"of a median case of 12 x 40 x 40; a multiple of {' x '.join(map(str, made.network.multiple))}"
        in lines["patch"]
    )
    assert lines["image"] == "z-score of each case (each MR by itself)"
    assert result.stdout.splitlines()[-1] == f"plan {path}"


def test_options_reach_the_plan(tmp_path: Path) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    options = ("--gpu-memory", "0.05", "--kind", "plain", "--bounds", "percentile", "--region", "EX")
    assert run(data / "Task2", path, *options).exit_code == 0
    made = Plan.read(path)
    found = fingerprint(find_cases(data / "Task2"))
    assert made == make_plan(found, gpu_memory_gb=0.05, kind="plain", upsampling="transposed", bounds="percentile")
    assert isinstance(made.image, ZScore)
    assert made.image.high == pytest.approx(found.image.percentile(99.5))
    assert made.gpu_memory_gb == 0.05


@pytest.mark.parametrize(
    ("options", "upsampling"),
    [
        (("--kind", "plain"), "transposed"),
        (("--kind", "plain", "--upsampling", "trilinear"), "trilinear"),
        (("--kind", "hybrid"), "trilinear"),
        (("--upsampling", "transposed"), "transposed"),
    ],
)
def test_the_standard_nnunet_has_transposed_convolutions(
    tmp_path: Path, options: tuple[str, ...], upsampling: str
) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    result = run(data / "Task1", path, "--gpu-memory", "0.05", *options)
    assert result.exit_code == 0, result.output
    assert Plan.read(path).network.upsampling == upsampling
    assert f"times; {upsampling} up-sampling)" in result.stdout


def test_a_case_may_be_left_out(tmp_path: Path) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    assert run(data, path, "--task", "mri", "--exclude", "1exa002").exit_code == 0
    assert Plan.read(path).cases == 1


def test_an_older_plan_is_replaced(tmp_path: Path) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    path.write_text("old")
    assert run(data / "Task1", path).exit_code == 0
    assert yaml.safe_load(path.read_text())["cases"] == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "cases of one task (--task mri or cbct)"),
        (("--task", "mri", "--exclude", "1ABA001"), "--exclude 1ABA001 is no case of"),
        (("--task", "mri", "--region", "AB"), "no case is left of 2 (regions EX)"),
        (("--task", "mri", "--gpu-memory", "0"), "--gpu-memory 0 cannot be planned for"),
        (("--task", "mri", "--gpu-memory", "nan"), "--gpu-memory nan cannot be planned for"),
        (("--task", "mri", "--gpu-memory", "1e-6"), "expected larger images or more memory"),
    ],
)
def test_options_that_cannot_be_meant(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    data, path = save_data(tmp_path / "data"), tmp_path / "plan.yaml"
    error = refused(data, path, *words)
    assert isinstance(error, UsageError)
    assert reason in str(error)
    assert not path.exists()


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    data = save_data(tmp_path / "data")
    assert "is a folder; expected a file" in str(refused(data, tmp_path, "--task", "mri"))
    assert isinstance(refused(tmp_path / "nothing", tmp_path / "plan.yaml"), InputError)
    (data / "Task1" / "EX" / "1EXA002" / "ct.mha").unlink()
    assert "1EXA002 has no CT" in str(refused(data, tmp_path / "plan.yaml", "--task", "mri"))


@pytest.mark.parametrize(
    "words", [("--kind", "wide"), ("--upsampling", "cubic"), ("--bounds", "5"), ("--region", "X"), ("--task", "pet")]
)
def test_unknown_choices(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(tmp_path, tmp_path / "plan.yaml", *words)
    assert result.exit_code == 2
    assert words[1] in result.output


def test_importing_the_command_stays_quick() -> None:
    code = "import sys, algorithms.commands.plan; sys.exit('torch' in sys.modules or 'SimpleITK' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_real_limbs(data_root: Path, tmp_path: Path) -> None:
    every: Any = find_cases(data_root / "sts" / "Task1")
    others = [word for files in every[3:] for word in ("--exclude", files.id)]
    assert run(data_root / "sts" / "Task1", tmp_path / "plan.yaml", *others).exit_code == 0
    made = Plan.read(tmp_path / "plan.yaml")
    assert {files.region for files in every} == {Region.EXTREMITY}
    assert made.network.kernels[0] == (1, 3, 3)
    assert made.spacing == pytest.approx((3.27, 0.977, 0.977), abs=0.01)
    assert -200 < made.ct.mean < 200
    assert 100 < made.ct.std < 500
