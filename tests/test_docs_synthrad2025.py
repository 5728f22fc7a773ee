"""docs/synthrad2025.md: its bash blocks run as they stand, on six phantoms in Zenodo's folders, with tiny settings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from algorithms.interface import find_algorithm
from algorithms.nnresunet_afp.settings import RecipeConfig
from algorithms.presets import parse_settings
from benchmarks.random_network import write_random_checkpoint
from synthct.dataset import find_cases
from synthct.phantom import PhantomKind, make_phantom
from synthct.planning.plan import Plan
from synthct.routes import read_routes
from synthct.volume import read_volume, write_volume
from synthct.weights import open_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "synthrad2025.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BASH = [code for language, code in BLOCKS if language == "bash"]
CONFIGS = ROOT / "algorithms" / "nnresunet_afp" / "configs"
KINDS: dict[str, PhantomKind] = {"HN": "head", "TH": "thorax", "AB": "abdomen"}
STAGES = ("l1", "l1-afp")
SPACING = (7.0, 7.0, 10.0)
TINY = {"loop": {"iterations_per_epoch": 1, "epochs": 1, "log_interval": 1}, "step": 0.8, "validation_step": 1.0}
EXTRACTOR: dict[str, Any] = {
    "network": {
        "kind": "plain",
        "features": [4, 8],
        "kernels": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2]],
        "upsampling": "transposed",
        "output_channels": 7,
    },
    "spacing": [10.0, 6.0, 6.0],
    "patch": [4, 16, 16],
    "batch": 1,
    "loop": {"iterations_per_epoch": 2, "epochs": 1, "log_interval": 1},
}


def save_case(folder: Path, kind: PhantomKind, seed: int, *, reference: bool) -> None:
    """As Zenodo has it: no segmentation, a mask of int16."""
    phantom = make_phantom(kind, seed=seed, size=(48, 40, 16), spacing=SPACING)
    folder.mkdir(parents=True)
    write_volume(phantom.image, folder / "mr.mha")
    write_volume(phantom.mask.with_voxels(phantom.mask.voxels.astype(np.int16)), folder / "mask.mha")
    if reference:
        write_volume(phantom.reference, folder / "ct.mha")


def make_data(root: Path) -> None:
    """Two cases a region to train on, one without a CT to predict, and what lies between them on Zenodo."""
    for region, kind in KINDS.items():
        train = root / "synthRAD2025_Task1_Train" / "Task1" / region
        for number in (1, 2):
            save_case(train / f"1{region}A00{number}", kind, number, reference=True)
        (train / "overviews").mkdir()
        (train / "overviews" / f"1{region}A001_overview.png").write_bytes(b"no image")
        validation = root / "synthRAD2025_Task1_Val_Input" / "Task1" / region
        save_case(validation / f"1{region}A003", kind, 3, reference=False)
    (root / "synthRAD2025_Task1_Train" / "LICENSE.txt").write_text("a licence")


def make_settings(root: Path) -> dict[str, str]:
    """The page's variables: small nets, two folds of one case each, pairs left as they are, random labels."""
    configs, splits, labeller = root / "settings", root / "splits", root / "labeller"
    for folder in (configs, splits, labeller):
        folder.mkdir()
    for name in ("mri-hn", "mri-th", "mri-ab", "l1-afp"):
        preset = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(preset | TINY | {"batch": 1}))
    for region in KINDS:
        first, second = (f"1{region}A00{number}" for number in (1, 2))
        folds = [{"train": [second], "val": [first]}, {"train": [first], "val": [second]}]
        (splits / f"{region}.json").write_text(json.dumps(folds))
    (root / "extractor.yaml").write_text(yaml.safe_dump(EXTRACTOR))
    write_random_checkpoint(labeller, small=True)
    (plans,) = labeller.rglob("plans.json")
    content = json.loads(plans.read_text())
    content["configurations"]["3d_fullres"]["spacing"] = SPACING[::-1]  # one window, where 3 mm would be dozens
    plans.write_text(json.dumps(content))
    return {
        "CONFIGS": str(configs),
        "SPLITS": str(splits),
        "EXTRACTOR_SETTINGS": str(root / "extractor.yaml"),
        "GPU_MEMORY": "0.02",
        "REPAIR": "drop",
        "JUDGE": "tissue",
        "SEGMENTER": f"nnunet:{plans.parent}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a team has done what the page says."""
    root, own = tmp_path_factory.mktemp("challenge"), tmp_path_factory.mktemp("own")
    make_data(root)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(BASH)],
        cwd=root,
        env={**os.environ, "PATH": path, **make_settings(own)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return root


@pytest.mark.slow
def test_pairs_plans_and_extractor(followed: Path) -> None:
    assert {case.id for case in find_cases(followed / "aligned")} == {f"1{r}A00{n}" for r in KINDS for n in (1, 2)}
    assert len(list((followed / "alignment" / "overlays").glob("*.png"))) == 6
    for region in KINDS:
        plan = Plan.read(followed / "plans" / f"{region}.yaml")
        assert (plan.cases, plan.gpu_memory_gb, plan.network.kind) == (2, 0.02, "residual")
        assert f"({region})" in plan.note
    card = json.loads((followed / "extractor" / "extractor.json").read_text())
    assert (card["random"], card["network"]["output_channels"]) == (False, 7)


@pytest.mark.slow
@pytest.mark.parametrize("region", KINDS)
def test_both_stages_of_every_region(followed: Path, region: str) -> None:
    """One plan for both; the extractor stands on the cards of stage two."""
    digest = json.loads((followed / "extractor" / "extractor.json").read_text())["sha256"]
    plan = Plan.read(followed / "plans" / f"{region}.yaml")
    for stage in STAGES:
        model = open_model(followed / "runs" / region / stage)
        assert [member.path.name for member in model.members] == ["fold_0", "fold_1"]
        for member in model.members:
            assert member.card.regions == (region,)
            assert member.card.extractors == ((digest,) if stage == "l1-afp" else ())
            assert member.card.trained_on == "1 case"
            own = Plan.read(member.path / "plan.yaml")
            assert (own.network, own.patch, own.ct) == (plan.network, plan.patch, plan.ct)


@pytest.mark.slow
def test_stages_are_compared_on_cases_that_neither_saw(followed: Path) -> None:
    held_out = {f"1{region}A001" for region in KINDS}
    for stage in STAGES:
        metrics = json.loads((followed / "scores" / stage / "metrics.json").read_text())
        assert {row["case"] for row in metrics["results"]} == held_out
        assert all(0 < row["mae"] < 4095 for row in metrics["results"])
        manifest = json.loads((followed / "sct" / stage / "manifest.json").read_text())
        assert {Path(row["model"]).name: row["case"] for row in manifest["cases"]} == {
            region: f"1{region}A001" for region in KINDS
        }
    board = json.loads((followed / "leaderboard" / "leaderboard.json").read_text())
    assert len(board["entries"]) == 2


@pytest.mark.slow
def test_one_model_folder_serves_three_regions(followed: Path) -> None:
    """Three models, each an ensemble, and nothing but models."""
    routes = read_routes(followed / "model")
    assert routes is not None
    assert [folder.name for folder in routes.folders()] == list(KINDS)
    assert len({open_model(folder).card.sha256 for folder in routes.folders()}) == 3
    files = {path.name for path in (followed / "model").rglob("*") if path.is_file()}
    assert files == {"routes.json", "model.json", "weights.safetensors"}
    manifest = json.loads((followed / "validation" / "manifest.json").read_text())
    assert {row["case"]: Path(row["model"]).name for row in manifest["cases"]} == {
        f"1{region}A003": region for region in KINDS
    }
    assert len(manifest["models"]) == 3


@pytest.mark.slow
def test_the_zip_holds_every_validation_case_on_its_grid(followed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(followed / "validation.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"1{region}A003.mha" for region in KINDS)
        archive.extractall(tmp_path)
    for case in find_cases(followed / "synthRAD2025_Task1_Val_Input"):
        made, mask = read_volume(tmp_path / f"{case.id}.mha"), read_volume(case.image.parent / "mask.mha")
        assert made.geometry == read_volume(case.image).geometry
        assert np.all(made.voxels[mask.voxels == 0] == -1000)
        assert made.voxels[mask.voxels > 0].std() > 0


def test_every_variable_has_a_default_or_may_be_unset() -> None:
    """The blocks run under `set -u`: what a block reads, the page has set, a loop sets, or it may be absent."""
    code = "\n".join(BASH)
    read = set(re.findall(r"\$\{?([A-Z_]+)", code))
    given = set(re.findall(r"^(?:\[.*\] && )?([A-Z_]+)=", code, re.MULTILINE))
    optional = set(re.findall(r"\$\{([A-Z_]+):[-+]", code))
    assert read - given - optional == set()
    assert {"TASK", "TRAIN", "CONFIGS", "SPLITS", "EXTRACTOR_SETTINGS"} <= read


@pytest.mark.parametrize("kind", ["mri", "cbct"])
def test_the_pages_default_settings_are_there_for_both_tasks(kind: str) -> None:
    about = find_algorithm("nnresunet-afp")
    for region in KINDS:
        name = f"{kind}-{region.lower()}"
        assert name in about.presets
        config = parse_settings(RecipeConfig, yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
        assert config.loop.iterations >= 250_000
    assert "CONFIGS:-algorithms/nnresunet_afp/configs}" in PAGE


def test_console_blocks_name_commands_that_there_are() -> None:
    """Steps that need a network, Docker or the platform are not run here."""
    shown = "\n".join(code for language, code in BLOCKS if language == "console")
    for script in re.findall(r"^\./(\w+\.sh)", shown, re.MULTILINE):
        assert (ROOT / script).is_file(), script
    assert {"./build.sh", "./export.sh", "./setup.sh"} <= set(re.findall(r"\./\w+\.sh", shown))
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"synthct-nnresunet-afp:{version[1]}" in shown


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", PAGE)
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
