"""The prediction phase's zip: one flat folder, or one top folder, and what a Mac or Windows adds to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthct.errors import InputError
from synthct.grand_challenge import find_flat_predictions

LITTER = (
    "._1THA001.mha",
    "__MACOSX/1THA001.mha",
    "__MACOSX/._1THA001.mha",
    ".DS_Store",
    ".hidden/1THA001.mha",
    "desktop.ini",
    "inputs.json",
    "manifest.json",
    "1THA001.png",
    "spread/1THA001.mha",
)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no voxel is read here")
    return folder


def find(folder: Path) -> tuple[dict[str, str], list[str | None]]:
    found, problems = find_flat_predictions(folder)
    return (
        {str(case): path.relative_to(folder).as_posix() for case, path in found.items()},
        [problem.case for problem in problems],
    )


@pytest.mark.parametrize("top", ["", "my submission/"])
def test_flat_or_in_one_top_folder(tmp_path: Path, top: str) -> None:
    names = ["sct_1HNA001.mha", "1abA002.mha", "2PC045.nii.gz", "1THC003.MHA", "mask_1ABA001.mha"]
    fill(tmp_path, *LITTER, *(f"{top}{name}" for name in names), *(f"{top}{name}" for name in LITTER))
    assert find(tmp_path) == (
        {
            "1ABA001": f"{top}mask_1ABA001.mha",
            "1ABA002": f"{top}1abA002.mha",
            "1HNA001": f"{top}sct_1HNA001.mha",
            "1THC003": f"{top}1THC003.MHA",
            "2PC045": f"{top}2PC045.nii.gz",
        },
        [],
    )


def test_the_top_level_counts_alone_where_it_holds_any(tmp_path: Path) -> None:
    fill(tmp_path, "1ABA001.mha", "old/1ABA002.mha", "older/1ABA003.mha")
    assert find(tmp_path) == ({"1ABA001": "1ABA001.mha"}, [])


def test_a_top_folder_may_have_neighbours_without_images(tmp_path: Path) -> None:
    fill(tmp_path, "logs/run.txt", "sct/1ABA001.mha", "sct/deeper/1ABA002.mha")
    assert find(tmp_path) == ({"1ABA001": "sct/1ABA001.mha"}, [])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/1ABA001.mha", "b/1ABA002.mha"], ["predictions in 2 folders (a, b)"]),
        (["a/b/1ABA001.mha"], ["a/b/1ABA001.mha lies too deep"]),
        (["Task1/AB/1ABA001/sct.nii.gz"], ["Task1/AB/1ABA001/sct.nii.gz lies too deep"]),
        (["1ABA001.nii", "1ABA002.nrrd", "x.png", "z.txt"], ["found 1ABA001.nii, 1ABA002.nrrd, x.png"]),
        (["spread/1ABA001.mha", "__MACOSX/1ABA002.mha"], ["holds no prediction", "found __MACOSX, spread"]),
        ([".DS_Store"], ["it is empty"]),
    ],
)
def test_what_cannot_be_a_submission_says_what_was_found(tmp_path: Path, names: list[str], words: list[str]) -> None:
    fill(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        find_flat_predictions(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: ")
    assert [word for word in words if word not in message] == []
    assert message.endswith("expected files named like 1ABA001.mha at its top level, or in one folder there")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: no such folder; expected one with <case id>\.mha files"):
        find_flat_predictions(tmp_path / "missing")


def test_folders_named_like_images_are_none(tmp_path: Path) -> None:
    (tmp_path / "1ABA001.mha").mkdir()
    (tmp_path / "1ABA002.mha").symlink_to("nowhere")
    fill(tmp_path, "1ABA003.mha")
    assert find(tmp_path) == ({"1ABA003": "1ABA003.mha"}, [])


def test_one_case_twice_is_a_problem_and_the_others_stay(tmp_path: Path) -> None:
    fill(tmp_path, "1ABA001.mha", "sct_1aba001.nii.gz", "1ABA002.mha")
    found, problems = find_flat_predictions(tmp_path)
    assert [str(case) for case in found] == ["1ABA002"]
    assert [problem.case for problem in problems] == ["1ABA001"]
    assert "case 1ABA001 stands twice, as 1ABA001.mha and sct_1aba001.nii.gz" in problems[0].message


def test_a_file_without_an_id_is_a_problem_and_the_others_stay(tmp_path: Path) -> None:
    fill(tmp_path, "patient7.mha", "1ABA0012.mha", "1ABA002.mha")
    found, problems = find_flat_predictions(tmp_path)
    assert [str(case) for case in found] == ["1ABA002"]
    assert [(problem.case, problem.message) for problem in problems] == [
        (None, f"{tmp_path / name}: its name holds no case id; expected one like 1ABA001.mha")
        for name in ("1ABA0012.mha", "patient7.mha")
    ]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("sct1PA001.mha", "1PA001"),
        ("sct1aba001.mha", "1ABA001"),
        ("sct11ABA001.nii.gz", "1ABA001"),  # the last 7 letters, whatever stands before them
        ("x2BC0451BA003.mha", "1BA003"),
        ("1HNA002_sct1ABA001.mha", "1HNA002"),  # between separators goes first
        ("sct1ABA001.v2.mha", "1ABA001"),
        ("sct1ABA001v2.mha", None),
        ("x1PA001_.mha", None),
        ("sct1ABA0012.mha", None),
        ("A001.mha", None),
    ],
)
def test_an_id_without_a_separator_stands_at_the_end(tmp_path: Path, name: str, case: str | None) -> None:
    fill(tmp_path, name)
    assert find(tmp_path) == (({case: name}, []) if case is not None else ({}, [None]))


def test_links_out_of_the_folder_are_a_problem_and_the_others_stay(tmp_path: Path) -> None:
    fill(tmp_path / "outside", "secret.mha", "input2/1ABA009.mha")
    folder = fill(tmp_path / "outside" / "input", "1ABA001.mha", "stored/of_a_run.mha")
    (folder / "1ABA002.mha").symlink_to("../secret.mha")
    (folder / "1ABA003.mha").symlink_to("stored/of_a_run.mha")
    (folder / "1ABA004.mha").symlink_to(folder / "1ABA001.mha")
    (folder / "1ABA005.mha").symlink_to("../input2/1ABA009.mha")  # a folder whose name begins alike
    found, problems = find_flat_predictions(folder)
    assert [str(case) for case in found] == ["1ABA001", "1ABA003", "1ABA004"]
    assert [(problem.case, problem.message) for problem in problems] == [
        (case, f"{folder / case}.mha: is a link that leads out of the folder; expected the file itself: copy it there")
        for case in ("1ABA002", "1ABA005")
    ]


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    fill(tmp_path / "stored", "1ABA001.mha")
    (tmp_path / "input").symlink_to("stored")
    assert find(tmp_path / "input") == ({"1ABA001": "1ABA001.mha"}, [])


def test_a_top_folder_that_leads_out_gives_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "stored", "1ABA001.mha")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "team").symlink_to(tmp_path / "stored")
    assert find(tmp_path / "input") == ({}, ["1ABA001"])


def test_a_link_out_beside_the_file_stands_twice(tmp_path: Path) -> None:
    fill(tmp_path, "input/1ABA001.mha", "secret.mha")
    (tmp_path / "input" / "sct_1ABA001.mha").symlink_to(tmp_path / "secret.mha")
    found, (problem,) = find_flat_predictions(tmp_path / "input")
    assert (found, problem.case) == ({}, "1ABA001")
    assert "stands twice" in problem.message
