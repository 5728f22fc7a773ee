"""Finding algorithms: by folder, without torch, and with one line where a name is unknown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import algorithms
from algorithms.interface import About, all_algorithms, find_algorithm
from algorithms.training import load_recipe
from synthct.errors import UsageError

FOLDERS = sorted(path.parent for path in Path(algorithms.__path__[0]).glob("*/about.py"))


def test_every_folder_with_an_about_is_found() -> None:
    found = all_algorithms()
    assert sorted(about.folder for about in found) == FOLDERS
    assert [about.name for about in found] == sorted(about.name for about in found)
    assert len({about.name for about in found}) == len(found)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_about_is_complete(folder: Path) -> None:
    about = next(about for about in all_algorithms() if about.folder == folder)
    assert about.name == folder.name.replace("_", "-")
    assert about.module == f"algorithms.{folder.name}"
    assert about.starter == folder / "starter"
    assert about.tasks
    assert about.regions
    assert about.presets
    assert "\n" not in about.summary
    assert find_algorithm(about.name) is about
    assert callable(load_recipe(about))


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="'lookup_tabel' is unknown") as caught:
        find_algorithm("lookup_tabel")
    for about in all_algorithms():
        assert about.name in str(caught.value)
    assert caught.value.exit_code == 2


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from algorithms.interface import all_algorithms; assert all_algorithms(); "
        "print([name for name in ('torch', 'SimpleITK', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(algorithms.__path__[0]).parent,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_about_is_frozen() -> None:
    about: About = all_algorithms()[0]
    with pytest.raises(AttributeError):
        about.name = "other"  # type: ignore[misc]
