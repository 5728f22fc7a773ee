"""predictions.json as an attacker would write it: no path outside the input folder is opened, no job loses another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from submission_files import SCT_FOLDER, entry, forge_job, save_jobs

from synthct.errors import InputError
from synthct.grand_challenge import read_predictions_json
from synthct.grand_challenge.submission import BYTE_LIMIT, JOB_LIMIT

GOOD = ("good", "1HNA001")


def messages(root: Path, *jobs: Any, images: bool = True) -> list[str]:
    """The problems of these jobs; the good job beside them must survive."""
    path = save_jobs(root, *jobs, images=images)
    save_jobs(root, forge_job(*GOOD))
    path.write_text(json.dumps([*jobs, forge_job(*GOOD)]))
    found, problems = read_predictions_json(path)
    assert [(job.pk, str(job.case)) for job in found] == [GOOD]
    assert all(problem.message.isascii() and len(problem.message) < 1000 for problem in problems)
    return [problem.message for problem in problems]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the input that holds what must not be reached."""
    folder = tmp_path / "outside" / SCT_FOLDER
    folder.mkdir(parents=True)
    (folder / "secret.mha").write_bytes(b"secret")
    return tmp_path / "outside"


@pytest.mark.parametrize(
    "pk",
    [
        "/etc",
        "..",
        ".",
        "",
        "../outside",
        "a/../../outside",
        "..\\outside",
        "C:",
        "a\x00b",
        "a\nb",
        "a1\n",
        "~",
        ".hidden",
        "\u0430",
        "\ud800",
        "x" * 201,
        None,
        5,
        True,
        ["a1"],
        {"pk": "a1"},
    ],
)
def test_a_pk_that_is_no_plain_name(tmp_path: Path, outside: Path, pk: Any) -> None:
    (message,) = messages(tmp_path / "input", forge_job(pk, "1ABA001"), images=False)
    assert "job 1 of 2 (case 1ABA001): its pk is " in message
    assert "expected a plain name" in message


def test_an_absolute_pk_would_replace_the_root(tmp_path: Path, outside: Path) -> None:
    """What pathlib does with an absolute part, and why the official evaluator could be led anywhere."""
    reached = tmp_path / "input" / str(outside) / SCT_FOLDER / "secret.mha"
    assert reached.read_bytes() == b"secret"
    (message,) = messages(tmp_path / "input", forge_job(str(outside), "1ABA001"), images=False)
    assert "its pk is " in message


@pytest.mark.parametrize("form", ["{}", "/{}", "images/../../../{}", "../../{}", "images\\..\\{}", "./../{}"])
def test_a_relative_path_that_leads_out(tmp_path: Path, outside: Path, form: str) -> None:
    target = form.format(outside if form == "{}" else f"outside/{SCT_FOLDER}")
    outputs = [entry("synthetic-ct-image", target)]
    (message,) = messages(tmp_path / "input", forge_job("a1", "1ABA001", outputs=outputs))
    assert "the relative_path of its output is " in message
    assert message.endswith("expected one like images/synthetic-ct")


@pytest.mark.parametrize(
    "path", ["", "/", ".", "images/\x00", "images/\ud800", "images/.git", "a b", "images/" * 50, "x" * 10_000]
)
def test_a_relative_path_that_is_no_plain_name(tmp_path: Path, path: str) -> None:
    outputs = [entry("synthetic-ct-image", path)]
    (message,) = messages(tmp_path, forge_job("a1", "1ABA001", outputs=outputs))
    assert "the relative_path of its output is " in message


@pytest.mark.parametrize("path", [None, 5, ["images/synthetic-ct"], {"a": 1}, True])
def test_a_relative_path_of_another_type(tmp_path: Path, path: Any) -> None:
    (message,) = messages(tmp_path, forge_job("a1", "1ABA001", outputs=[entry("synthetic-ct-image", path)]))
    assert "its outputs name 0 places for the sCT" in message


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        [entry("region", "region.json", value="Abdomen")],
        [entry("a", "images/a", name="a.mha"), entry("b", "images/b", name="b.mha")],
        [entry("synthetic-ct-image", "images/a"), entry("x", "images/synthetic-ct")],
        [None, 5, "images/synthetic-ct"],
    ],
)
def test_outputs_that_name_no_place_or_two(tmp_path: Path, outputs: list[Any]) -> None:
    (message,) = messages(tmp_path, forge_job("a1", "1ABA001", outputs=outputs))
    assert message.endswith("expected one, images/synthetic-ct")


@pytest.mark.parametrize("job", [None, 5, "a1", ["a1"], {}, {"pk": "a1"}, {"pk": "a1", "inputs": {}, "outputs": []}])
def test_a_job_of_another_shape(tmp_path: Path, job: Any) -> None:
    (message,) = messages(tmp_path, job)
    assert message.startswith("predictions.json: job 1 of 2: ")


@pytest.mark.parametrize("part", ["pk folder", "output", "images", "synthetic-ct", "file"])
def test_a_link_that_leads_out_is_not_followed(tmp_path: Path, outside: Path, part: str) -> None:
    root = tmp_path / "input"
    names = ["a1", "output", "images", "synthetic-ct", "0.mha"]
    depth = ["pk folder", "output", "images", "synthetic-ct", "file"].index(part)
    link = root.joinpath(*names[: depth + 1])
    link.parent.mkdir(parents=True)
    link.symlink_to(outside.joinpath(*[*SCT_FOLDER.split("/"), "secret.mha"][:depth]))
    (message,) = messages(root, forge_job("a1", "1ABA001"), images=False)
    expected = "a file" if part == "file" else "a folder with one image"  # a folder outside is not even listed
    assert message.endswith(f"is a link that leads out of the input folder; expected {expected}")


def test_a_link_inside_is_followed_and_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "0.mha").touch()
    for pk, target in (("a1", tmp_path / "store"), ("b2", tmp_path / "b2" / SCT_FOLDER)):
        (tmp_path / pk / "output" / "images").mkdir(parents=True)
        (tmp_path / pk / SCT_FOLDER).symlink_to(target)
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001"), forge_job("b2", "1ABA002"), images=False)
    found, problems = read_predictions_json(path)
    assert [job.prediction for job in found] == [tmp_path / "store" / "0.mha"]
    assert [problem.case for problem in problems] == ["1ABA002"]
    assert "cannot be read" in problems[0].message


def test_the_input_folder_may_be_a_link(tmp_path: Path) -> None:
    """The platform's /input is one; what is returned stays right when the next task's link replaces it."""
    save_jobs(tmp_path / "task1", forge_job("a1", "1ABA001"))
    (tmp_path / "input").symlink_to("task1")
    found, problems = read_predictions_json(tmp_path / "input" / "predictions.json")
    assert problems == ()
    assert found[0].prediction.is_relative_to(tmp_path / "task1")


def test_predictions_json_that_is_a_link_out_or_no_file(tmp_path: Path, outside: Path) -> None:
    save_jobs(outside, forge_job("a1", "1ABA001"))
    root = tmp_path / "input"
    root.mkdir()
    path = root / "predictions.json"
    path.symlink_to(outside / "predictions.json")
    with pytest.raises(InputError, match=r"predictions\.json: is a link that leads out of its folder"):
        read_predictions_json(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"predictions\.json: is no file"):
        read_predictions_json(path)
    path.rmdir()
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.raises(InputError, match=r"predictions\.json: is no file"):
        read_predictions_json(path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "cannot be read as JSON"),
        (b"[", "cannot be read as JSON"),
        (b"[NaN]", "NaN is not JSON"),
        (b'[{"pk": -Infinity}]', "-Infinity is not JSON"),
        (b"[" + b"9" * 5000 + b"]", "cannot be read as JSON"),
        (b"[\xff]", "in UTF-8"),
        ("[]".encode("utf-16"), "in UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'[{"a":' * 100_000, "nested too deeply"),
        (b"{}", "of type dict; expected an array of jobs"),
        (b"null", "null; expected an array of jobs"),
        (b'"jobs"', "of type str"),
        (b"[" + b"0," * JOB_LIMIT + b"0]", "holds 10001 jobs; expected at most 10000"),
    ],
)
def test_content_that_breaks_the_whole_file(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_predictions_json(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert word in str(caught.value)


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    with path.open("wb") as stream:
        stream.truncate(BYTE_LIMIT + 1)
    with pytest.raises(InputError, match="is larger than 64 MiB"):
        read_predictions_json(path)


def test_a_byte_order_mark_and_the_largest_number_of_jobs_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_bytes(b"\xef\xbb\xbf[" + b"0," * (JOB_LIMIT - 1) + b"0]")
    found, problems = read_predictions_json(path)
    assert (len(found), len(problems)) == (0, JOB_LIMIT)


def test_one_pk_in_two_jobs_counts_for_neither(tmp_path: Path) -> None:
    found = messages(tmp_path, forge_job("a1", "1ABA001"), forge_job("a1", "1ABA002"))
    assert [message.rpartition(": ")[2] for message in found] == ["its pk a1 stands 2 times; expected each once"] * 2


def test_hostile_names_are_shown_in_plain_short_letters(tmp_path: Path) -> None:
    inputs = [entry("body", "images/body", name="\x1b[2J\u202e\n" + "x" * 5000)]
    (message,) = messages(tmp_path, forge_job("a1", "x", inputs=inputs))
    assert "\\u001b[2J\\u202e\\n" in message
    assert message.isprintable()
