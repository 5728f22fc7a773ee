"""Reading presets: unknown ones, files that hold none, and keys in the wrong place."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from algorithms.interface import all_algorithms, find_algorithm
from algorithms.presets import parse_settings, preset_file, read_preset
from algorithms.training import check_settings
from synthct.errors import UsageError

PIX2PIX = find_algorithm("pix2pix-pelvis")


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    patch: int = 1
    steps: int = 2


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    batch: int = 1
    first: Inner = Inner()
    second: Inner | None = None


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"patch": 3}, "setting 'patch' is unknown; did you mean first.patch or second.patch?"),
        ({"batc": 3}, "setting 'batc' is unknown; did you mean batch?"),
        ({"first": {"step": 3}}, "setting 'first.step' is unknown; did you mean steps?"),
        ({"second": {"step": 3}}, "setting 'second.step' is unknown; did you mean steps?"),
        ({"first": {"batch": 3}}, "setting 'first.batch' is unknown; did you mean batch?"),
        ({"zzz": 3}, "setting 'zzz' is unknown; expected some of batch, first, second"),
        ({"batch": "many"}, "setting 'batch': Input should be a valid integer"),
    ],
)
def test_setting_is_told_its_place(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(Outer, dict(settings))
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("about", all_algorithms(), ids=lambda about: about.name)
def test_every_preset_is_one_its_recipe_takes(about: object) -> None:
    algorithm = next(each for each in all_algorithms() if each is about)
    for name in algorithm.presets:
        check_settings(algorithm, read_preset(algorithm, name))


def test_preset_file_is_the_one_that_is_read() -> None:
    assert preset_file(PIX2PIX) == PIX2PIX.folder / "configs" / "full.yaml"
    assert preset_file(PIX2PIX, "starter").is_file()
    assert read_preset(PIX2PIX, "starter") == read_preset(PIX2PIX, file=preset_file(PIX2PIX, "starter"))
    with pytest.raises(UsageError, match=r"preset 'starte' is unknown to pix2pix-pelvis.*did you mean starter\?"):
        preset_file(PIX2PIX, "starte")


def test_file_is_not_taken_for_a_preset(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="holds a list"):
        read_preset(PIX2PIX, file=tmp_path / "list.yaml")
    with pytest.raises(UsageError, match="no such file"):
        read_preset(PIX2PIX, file=tmp_path / "none.yaml")
