"""The house rules that a program can see: arrows, exported names, file sizes, lint, types, no torch in info."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import algorithms
import evaluation
import synthct

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("synthct", "algorithms", "evaluation")
PLAIN = {
    *("errors", "volume", "files", "header", "anatomy", "dataset", "phantom", "intensity", "weights", "outline"),
    *("failure", "memory", "model_source", "routes", "worker", "resample"),
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = sorted(
    module.name
    for package in (synthct, algorithms, evaluation)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


def imported_modules(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in the file it does so."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def offences(path: Path) -> list[str]:
    """Imports of a file that run against the arrows of the house."""
    own = path.relative_to(ROOT).with_suffix("").parts
    found = []
    for name in imported_modules(path):
        target = tuple(name.split("."))
        if target[0] not in PACKAGES:
            continue
        upward = own[0] == "synthct" and target[0] != "synthct"
        across = {own[0], target[0]} == {"algorithms", "evaluation"}
        shared = {
            "interface",
            "training",
            "pairs",
            "unpaired",
            "fitting",
            "loading",
            "extractors",
            "intensities",
            "presets",
            "runtime",
            "commands",
        }
        between = (
            own[0] == target[0] == "algorithms"
            and len(target) > 1
            and len(own) > 2
            and target[1] != own[1]
            and target[1] not in shared
        )
        up_to_floor = own[0] == "synthct" and own[1] in PLAIN and len(target) > 1 and target[1] not in PLAIN
        if upward or across or between or up_to_floor:
            found.append(f"{'/'.join(own)} imports {name}")
    return found


def test_imports_follow_the_arrows() -> None:
    assert [offence for path in SOURCES for offence in offences(path)] == []


def test_the_arrow_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    wrong = {
        "synthct/volume.py": "from evaluation.metrics import image",
        "synthct/weights.py": "import synthct.inference.engine",
        "evaluation/scoring.py": "import algorithms.interface",
        "algorithms/a/network.py": "from algorithms.b.network import Net",
    }
    for name, line in wrong.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)
        assert offences(path), name


@pytest.mark.parametrize("name", MODULES)
def test_exported_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert [wanted for wanted in exported if not hasattr(module, wanted)] == []
    assert len(set(exported)) == len(exported)
    is_package_without_names = hasattr(module, "__path__") and not exported
    assert exported or is_package_without_names, f"{name} declares no __all__"


def test_every_module_has_a_docstring_and_stays_below_300_lines() -> None:
    long = [
        str(path) for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")] if len(path.read_text().splitlines()) > 300
    ]
    silent = [str(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert (long, silent) == ([], [])


def test_sources_neither_print_nor_assert() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if is_print or isinstance(node, ast.Assert):
                found.append(f"{path}:{getattr(node, 'lineno', 0)}")
    assert found == []


def test_tests_are_at_least_as_long_as_sources() -> None:
    def lines(paths: list[Path]) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert lines(sorted((ROOT / "tests").rglob("*.py"))) >= lines(SOURCES)


def test_no_committed_file_names_this_machine() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    needles = (str(ROOT.parent) + "/", str(Path.home()) + "/")
    found = [
        name
        for name in files
        if (ROOT / name).is_file() and any(needle.encode() in (ROOT / name).read_bytes() for needle in needles)
    ]
    assert found == []


def test_info_imports_no_torch() -> None:
    code = (
        "import sys\nfrom synthct.cli import main\n"
        "try:\n    main(['info', '--json'])\nexcept SystemExit as error:\n    assert not error.code\n"
        "heavy = [name for name in ('torch', 'SimpleITK', 'scipy', 'pandas') if name in sys.modules]\n"
        "sys.stderr.write(repr(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "[]")


def test_every_entry_point_leads_to_a_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = [target for group in project["entry-points"].values() for target in group.values()]
    assert len(points) >= 9
    for target in points:
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), target


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_lint_and_types(command: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
