"""Regions, tasks and ids in every spelling of CONTRACT 1.2 and 1.10, and what is close to one and is none."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.anatomy import (
    CaseId,
    Region,
    RegionWarning,
    Task,
    find_case_id,
    parse_region,
    parse_task,
    read_region_file,
)
from synthct.errors import InputError, UsageError

SPELLINGS = {
    "Head and Neck": "HN",
    "HN": "HN",
    "Abdomen": "AB",
    "AB": "AB",
    "Thorax": "TH",
    "TH": "TH",
    "Brain": "B",
    "B": "B",
    "Pelvis": "P",
    "P": "P",
    "Extremity": "EX",
    "EX": "EX",
}


@pytest.mark.parametrize(("text", "code"), SPELLINGS.items())
def test_parse_region_in_any_case(text: str, code: str) -> None:
    for variant in (text, text.lower(), text.upper(), text.swapcase(), f"  {text}\n"):
        assert parse_region(variant) is Region(code)


@pytest.mark.parametrize("text", ["head_and_neck", "Head-and-Neck", "HEAD  AND\tNECK", "Head & Neck"])
def test_parse_region_takes_other_separators(text: str) -> None:
    assert parse_region(text) is Region.HEAD_NECK


@pytest.mark.parametrize("text", ["", " ", "A", "ABD", "Abdo men", "Thorax2", "head", "neck", "1AB", "whole body"])
def test_parse_region_knows_no_other(text: str) -> None:
    assert parse_region(text) is None


def test_regions_and_titles() -> None:
    assert {str(region): region.title for region in Region} == {
        "AB": "Abdomen",
        "HN": "Head and Neck",
        "TH": "Thorax",
        "B": "Brain",
        "P": "Pelvis",
        "EX": "Extremity",
    }


@pytest.mark.parametrize("text", ["mri", "MRI", "mr", " 1 ", "Task1", "task 1"])
def test_parse_task_mri(text: str) -> None:
    assert parse_task(text) is Task.MRI


@pytest.mark.parametrize("text", ["cbct", "CBCT", "2", "Task2", "TASK 2"])
def test_parse_task_cbct(text: str) -> None:
    assert parse_task(text) is Task.CBCT


@pytest.mark.parametrize("text", ["", "ct", "3", "mri cbct"])
def test_parse_task_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="expected mri or cbct"):
        parse_task(text)


def test_task_names() -> None:
    assert [(task.value, task.number, task.stem) for task in Task] == [("mri", 1, "mr"), ("cbct", 2, "cbct")]


@given(
    st.sampled_from("12"),
    st.sampled_from(["AB", "HN", "TH", "EX"]),
    st.sampled_from("ABCDE"),
    st.integers(0, 999),
    st.booleans(),
)
def test_ids_of_2025(task: str, region: str, centre: str, number: int, lower: bool) -> None:
    text = f"{task}{region}{centre}{number:03}"
    found = CaseId.parse(text.lower() if lower else text)
    expected_task = {"1": Task.MRI, "2": Task.CBCT}[task]
    assert found == CaseId(text, expected_task, Region(region), centre, number)
    assert (str(found), found.year) == (text, 2025)


@given(st.sampled_from("12"), st.sampled_from("BP"), st.sampled_from("ABC"), st.integers(0, 999))
def test_ids_of_2023(task: str, region: str, centre: str, number: int) -> None:
    text = f"{task}{region}{centre}{number:03}"
    found = CaseId.parse(text)
    assert (found.text, found.region, found.centre, found.number, found.year) == (
        text,
        Region(region),
        centre,
        number,
        2023,
    )


NEAR_MISSES = [
    "",
    "3ABA001",
    "0BA001",
    "1ABF001",
    "1BD001",
    "1PE001",
    "1ABA01",
    "1ABA0011",
    "1BA01",
    "1A001",
    "1XXA001",
    "ABA001",
    " 1ABA001",
    "1ABA001\n",
    "1ABA\u0660\u0660\u0661",  # three digits, but not ASCII's
    "1AB A001",
]


@pytest.mark.parametrize("text", NEAR_MISSES, ids=lambda text: ascii(text))
def test_near_misses_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no case id"):
        CaseId.parse(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mask_1ABA001.mha", "1ABA001"),
        ("1ABA001.nii.gz", "1ABA001"),
        ("sct-2pc045-v2.mha", "2PC045"),
        ("1BA001_mask", "1BA001"),
        ("Task1 1HNE123 mr.mha", "1HNE123"),
        ("(1EXA051)", "1EXA051"),
    ],
)
def test_find_case_id(name: str, expected: str) -> None:
    found = find_case_id(name)
    assert found is not None
    assert found.text == expected


@pytest.mark.parametrize(
    "name", ["sct1ABA0012.mha", "x1ABA001", "11ABA001", "mr.mha", "", "1ABA001a.mha", "1ABA\u0660\u0660\u0661"]
)
def test_find_case_id_takes_no_part_of_a_word(name: str) -> None:
    assert find_case_id(name) is None


@given(st.uuids(version=4))
def test_no_uuid_holds_a_case_id(value: uuid.UUID) -> None:
    assert find_case_id(f"{value}.mha") is None


@pytest.mark.parametrize(("text", "code"), SPELLINGS.items())
def test_region_file(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "region.json"
    path.write_text(f'"{text}"')
    assert read_region_file(path) is Region(code)


def test_region_file_with_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "region.json"
    path.write_bytes(b'\xef\xbb\xbf "Thorax"\r\n')
    assert read_region_file(path) is Region.THORAX


UNUSABLE = {
    "empty": b"",
    "only a mark": b"\xef\xbb\xbf",
    "blank": b"\n",
    "unknown": b'"Left Foot"',
    "null": b"null",
    "number": b"7",
    "object": b'{"region": "Abdomen"}',
    "array": b'["Abdomen"]',
    "no JSON": b"Abdomen",
    "cut": b'"Abdo',
    "no UTF-8": b'"\xff\xfe"',
    "lone surrogate": b'"\\ud800"',
    "deep": b"[" * 4096,
    "long": b'"' + b"x" * 10_000 + b'"',
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_region_file_is_one_warning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "region.json"
    path.write_bytes(content)
    with pytest.warns(RegionWarning) as caught:
        assert read_region_file(path) is None
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert "\n" not in str(caught[0].message)


def test_missing_region_file_is_one_warning(tmp_path: Path) -> None:
    for path in (tmp_path / "region.json", tmp_path):  # absent; a folder
        with pytest.warns(RegionWarning) as caught:
            assert read_region_file(path) is None
        assert len(caught) == 1
