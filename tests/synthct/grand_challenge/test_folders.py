"""The container's folders: from the environment, else the platform's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synthct.grand_challenge.folders import ground_truth_folder, input_folder, output_folder

FOLDERS = [
    (input_folder, "INPUT_FOLDER", "/input"),
    (output_folder, "OUTPUT_FOLDER", "/output"),
    (ground_truth_folder, "GROUND_TRUTH_FOLDER", "/opt/ml/input/data/ground_truth"),
]


@pytest.mark.parametrize(("folder", "variable", "default"), FOLDERS)
def test_the_environment_goes_before_the_platform(
    folder: Callable[[], Path], variable: str, default: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert folder() == Path(default)
    monkeypatch.setenv(variable, "")
    assert folder() == Path(default)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv(variable, str(tmp_path / "link"))
    assert folder() == tmp_path / "link"  # made anew for each run: not resolved
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "real")
    assert folder() == tmp_path / "real"
