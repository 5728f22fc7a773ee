"""What a kept row depends on, and which rows an earlier run's folder gives back."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluation.rows import ROWS_FOLDER, ScoredCase, fingerprint, read_row, write_row
from evaluation.submission import ScoringCase
from synthct.anatomy import CaseId
from synthct.errors import InputError

SETTINGS: dict[str, Any] = {"protocol": "synthrad2025", "judges": [["tissue", None]], "nsd_tolerance_mm": None}
FILES = ("ct", "mask", "segmentation", "prediction")
SCORED = ScoredCase("1ABA001", "0123", {"case": "1ABA001", "mae": 5.0, "psnr": None}, ("a warning", "another"))


def save_case_files(folder: Path) -> ScoringCase:
    """A case whose four files hold their own names; no image is needed to hash them."""
    folder.mkdir()
    paths = {name: folder / name for name in FILES}
    for name, path in paths.items():
        path.write_text(name)
    return ScoringCase(CaseId.parse("1ABA001"), **paths)


@pytest.fixture
def case(tmp_path: Path) -> ScoringCase:
    return save_case_files(tmp_path / "case")


def row_file(output: Path) -> Path:
    return output / "rows" / "1ABA001.json"


@pytest.mark.parametrize("name", FILES)
def test_each_file_counts_by_its_content(case: ScoringCase, name: str) -> None:
    before = fingerprint(case, SETTINGS)
    assert fingerprint(case, SETTINGS) == before
    path: Path = getattr(case, name)
    path.write_text(f"another {name}")
    assert fingerprint(case, SETTINGS) != before
    path.write_text(name)
    assert fingerprint(case, SETTINGS) == before


def test_place_and_name_of_the_files_do_not_count(case: ScoringCase, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    shutil.copytree(case.ct.parent, other)
    (other / "ct").rename(other / "renamed")
    moved = dataclasses.replace(save_case_files(tmp_path / "again"), ct=other / "renamed")
    assert fingerprint(moved, SETTINGS) == fingerprint(case, SETTINGS)


def test_two_files_that_change_places_count(case: ScoringCase) -> None:
    swapped = dataclasses.replace(case, ct=case.mask, mask=case.ct)
    assert fingerprint(swapped, SETTINGS) != fingerprint(case, SETTINGS)


def test_a_missing_segmentation_differs_from_an_empty_one(case: ScoringCase) -> None:
    none = fingerprint(dataclasses.replace(case, segmentation=None), SETTINGS)
    assert case.segmentation is not None
    case.segmentation.write_bytes(b"")
    assert len({none, fingerprint(case, SETTINGS)}) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol": "synthrad2023"},
        {"judges": [["tissue", "0123abcd"]]},
        {"judges": [["totalsegmentator", None]]},
        {"nsd_tolerance_mm": 2.0},
        {"one": "more"},
    ],
)
def test_each_setting_counts(case: ScoringCase, changed: dict[str, Any]) -> None:
    assert fingerprint(case, {**SETTINGS, **changed}) != fingerprint(case, SETTINGS)


def test_the_order_of_the_settings_does_not_count(case: ScoringCase) -> None:
    backwards = dict(reversed(SETTINGS.items()))
    assert list(backwards) != list(SETTINGS)
    assert fingerprint(case, backwards) == fingerprint(case, SETTINGS)


def test_further_files_count(case: ScoringCase, tmp_path: Path) -> None:
    labels = tmp_path / "labels.mha"
    labels.write_text("labels")
    without, before = fingerprint(case, SETTINGS), fingerprint(case, SETTINGS, labels)
    labels.write_text("other labels")
    assert len({without, before, fingerprint(case, SETTINGS, labels)}) == 3


def test_the_program_s_version_counts(case: ScoringCase, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(case, SETTINGS)
    monkeypatch.setattr("evaluation.rows.SCORING_VERSION", -1)
    assert fingerprint(case, SETTINGS) != before


def test_a_file_that_cannot_be_read_is_named(case: ScoringCase) -> None:
    case.mask.unlink()
    with pytest.raises(InputError, match=r"case/mask: cannot be read \(No such file or directory\)"):
        fingerprint(case, SETTINGS)


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_row(tmp_path, SCORED)
    assert row_file(tmp_path).parent.name == ROWS_FOLDER
    assert [path.name for path in (tmp_path / ROWS_FOLDER).iterdir()] == ["1ABA001.json"]
    assert read_row(tmp_path, "1ABA001") == SCORED
    assert read_row(tmp_path, "1ABA002") is None
    assert read_row(tmp_path / "nowhere", "1ABA001") is None


def test_a_later_row_replaces_the_earlier_one(tmp_path: Path) -> None:
    later = dataclasses.replace(SCORED, fingerprint="4567", warnings=())
    write_row(tmp_path, SCORED)
    write_row(tmp_path, later)
    assert read_row(tmp_path, "1ABA001") == later


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    write_row(tmp_path, ScoredCase("1ABA001", failure="it has another size", exit_code=3))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_row_of_other_content_as_it_is(tmp_path: Path) -> None:
    write_row(tmp_path, SCORED)
    write_row(tmp_path, ScoredCase("1ABA001", failure="it has another size", exit_code=3))
    assert read_row(tmp_path, "1ABA001") == SCORED  # its fingerprint keeps it from being taken for the new files


def test_a_row_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_row(tmp_path, dataclasses.replace(SCORED, row={"mae": math.nan}))
    assert read_row(tmp_path, "1ABA001") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"fingerprint": "0123"}',
        b'{"fingerprint": "0123", "warnings": [], "row": null}',
        b'{"fingerprint": "0123", "warnings": [], "row": "mae"}',
        b'{"fingerprint": "0123", "warnings": null, "row": {}}',
        b'{"warnings": [], "row": {"mae": 5.0}}',
    ],
)
def test_a_damaged_row_file_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    row_file(tmp_path).parent.mkdir()
    row_file(tmp_path).write_bytes(content)
    assert read_row(tmp_path, "1ABA001") is None
    write_row(tmp_path, SCORED)
    assert read_row(tmp_path, "1ABA001") == SCORED


def test_a_row_that_was_cut_off_is_ignored(tmp_path: Path) -> None:
    write_row(tmp_path, SCORED)
    whole = row_file(tmp_path).read_text()
    json.loads(whole)
    row_file(tmp_path).write_text(whole[: len(whole) // 2])
    assert read_row(tmp_path, "1ABA001") is None
