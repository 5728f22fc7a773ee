"""evaluation.json: what it may say, where its places lie, and that a bad one is named by its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.phase import PHASE_NAME, PhaseSettings, read_phase
from synthct.errors import InputError


def save(folder: Path, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / PHASE_NAME).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("content", [None, {}])
def test_without_it_the_challenge_s_own_way(tmp_path: Path, content: dict[str, Any] | None) -> None:
    folder = tmp_path if content is None else save(tmp_path, content)
    assert read_phase(folder) == PhaseSettings()
    assert PhaseSettings().protocol == "synthrad2025"
    assert PhaseSettings().segmenters == ("totalsegmentator",)
    assert PhaseSettings().nsd_tolerance_mm is None


def test_all_of_it(tmp_path: Path) -> None:
    judges = ["totalsegmentator:weights/total.zip", "nnunet:airways", "precomputed:maps: ours", "tissue"]
    content = {"protocol": "synthrad2023", "segmenters": judges, "nsd_tolerance_mm": 2}
    settings = read_phase(save(tmp_path, content))
    assert (settings.protocol, settings.nsd_tolerance_mm) == ("synthrad2023", 2.0)
    assert settings.segmenters == (
        f"totalsegmentator:{tmp_path}/weights/total.zip",
        f"nnunet:{tmp_path}/airways",
        f"precomputed:{tmp_path}/maps: ours",
        "tissue",
    )


def test_places_are_seen_from_the_ground_truth_not_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "truth", {"segmenters": ["nnunet:model"]})
    monkeypatch.chdir(tmp_path)
    assert read_phase(Path("truth")).segmenters == (f"nnunet:{tmp_path}/truth/model",)


def test_links_within_the_folder_and_a_folder_that_is_a_link(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth", {"segmenters": ["nnunet:alias"]})
    (truth / "model").mkdir()
    (truth / "alias").symlink_to("model")
    (tmp_path / "link").symlink_to(truth)
    assert read_phase(tmp_path / "link").segmenters == (f"nnunet:{tmp_path}/link/alias",)


@pytest.mark.parametrize("place", ["../other", "model/../../other", "/etc", "out", "out/model", "~/../../.."])
def test_a_place_outside_is_refused(tmp_path: Path, place: str) -> None:
    truth = save(tmp_path / "truth", {"segmenters": ["tissue", f"nnunet:{place}"]})
    (tmp_path / "other").mkdir()
    (truth / "out").symlink_to(tmp_path / "other")
    with pytest.raises(InputError) as caught:
        read_phase(truth)
    assert f'{truth / PHASE_NAME}: segmenters.1: "nnunet:{place}" is no place below {truth}' in str(caught.value)
    assert str(caught.value).endswith("expected one relative to it, such as nnunet:model")


@pytest.mark.parametrize("place", ["a\0b", "x" * 5000, "circle/model"])
def test_a_place_that_cannot_be_looked_at(tmp_path: Path, place: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(
        InputError, match=r"evaluation\.json: segmenters\.0: .* is no place that can be looked at"
    ) as caught:
        read_phase(save(tmp_path, {"segmenters": [f"nnunet:{place}"]}))
    assert len(str(caught.value)) < 400
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"protocol": "synthrad2024"},
            "protocol: Input should be 'synthrad2025' or 'synthrad2023'; found \"synthrad2024\"",
        ),
        ({"tolerance": 2}, "tolerance: is no known field; expected protocol, segmenters, nsd_tolerance_mm"),
        ({"segmenters": "tissue"}, 'segmenters: expected a list of judges; found "tissue"'),
        ({"segmenters": {"tissue": 1}}, "segmenters: expected a list of judges; found {"),
        ({"segmenters": None}, "segmenters: expected a list of judges; found null"),
        ({"segmenters": []}, "segmenters: "),
        ({"segmenters": ["tissue", 3]}, "segmenters.1: Input should be a valid string; found 3"),
        ({"segmenters": ["eyes"]}, "segmenters.0: segmenter 'eyes' is unknown; expected totalsegmentator"),
        ({"segmenters": ["tissue", "nnunet"]}, "segmenters.1: segmenter 'nnunet' names no folder"),
        ({"nsd_tolerance_mm": 0}, "nsd_tolerance_mm: Input should be greater than 0; found 0"),
        ({"nsd_tolerance_mm": "2"}, 'nsd_tolerance_mm: Input should be a valid number; found "2"'),
        ({"nsd_tolerance_mm": True}, "nsd_tolerance_mm: "),
        ({"nsd_tolerance_mm": float("nan")}, "nsd_tolerance_mm: "),
        ({"nsd_tolerance_mm": float("inf")}, "nsd_tolerance_mm: Input should be a finite number"),
        ([], "content: expected an object; found []"),
        ("tissue", 'content: expected an object; found "tissue"'),
    ],
)
def test_a_field_that_cannot_be_meant_is_named(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_phase(save(tmp_path, content))
    assert f"{tmp_path / PHASE_NAME}: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "cannot be read as JSON"),
        (b"{'protocol': 1}", "cannot be read as JSON"),
        (b'{"protocol": "\xff"}', "cannot be read as JSON in UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b" " * (1 << 20) + b"{}", "larger than 1 MiB"),
    ],
)
def test_what_is_no_json(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / PHASE_NAME).write_bytes(raw)
    with pytest.raises(InputError, match=words) as caught:
        read_phase(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / PHASE_NAME}: ")


def test_a_folder_or_a_broken_link_of_that_name_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / PHASE_NAME).mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        read_phase(tmp_path)
    (tmp_path / PHASE_NAME).rmdir()
    (tmp_path / PHASE_NAME).symlink_to("nowhere")
    with pytest.raises(InputError, match="No such file"):
        read_phase(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / PHASE_NAME).write_bytes(b'\xef\xbb\xbf{"segmenters": ["tissue"]}')
    assert read_phase(tmp_path).segmenters == ("tissue",)
