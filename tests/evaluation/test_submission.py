"""Predictions of both phases matched with their references: what cannot be scored is told, the others are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import save_image
from submission_files import SCT_FOLDER, forge_job, save_jobs

from evaluation.submission import Problem, ScoringCase, Submission, find_predictions, match
from synthct.anatomy import CaseId
from synthct.errors import InputError


def case(text: str) -> ScoringCase:
    return ScoringCase(CaseId.parse(text), Path("ct") / f"{text}.mha", Path("mask") / f"{text}.mha")


def submission(*texts: str, problems: Sequence[Problem] = ()) -> Submission:
    return Submission({CaseId.parse(text): Path(f"{text}.mha") for text in texts}, tuple(problems))


def ids(cases: Sequence[ScoringCase]) -> list[str]:
    return [str(case.id) for case in cases]


@pytest.mark.parametrize("top", ["", "team/"])
def test_a_flat_folder(tmp_path: Path, top: str) -> None:
    for name in ("1ABA001.mha", "sct_1HNA001.nii.gz"):
        save_image(tmp_path / f"{top}{name}")
    found = find_predictions(tmp_path)
    assert {str(case): path for case, path in found.predictions.items()} == {
        "1ABA001": tmp_path / f"{top}1ABA001.mha",
        "1HNA001": tmp_path / f"{top}sct_1HNA001.nii.gz",
    }
    assert (found.problems, found.kind) == ((), "flat")


def test_an_algorithm_phase_is_told_by_its_file(tmp_path: Path) -> None:
    save_jobs(tmp_path, forge_job("a1", "1ABA001"), forge_job("b2", "1ABA002", status="Failed"))
    save_image(tmp_path / "1HNA001.mha")
    found = find_predictions(tmp_path)
    (path,) = found.predictions.values()
    assert path.parent == tmp_path / "a1" / SCT_FOLDER
    assert found.kind == "algorithm phase"
    assert [problem.case for problem in found.problems] == ["1ABA002"]


def test_an_algorithm_phase_never_falls_back_to_a_flat_folder(tmp_path: Path) -> None:
    save_image(tmp_path / "1ABA001.mha")
    (tmp_path / "predictions.json").symlink_to("nowhere.json")
    with pytest.raises(InputError, match=r"predictions\.json: is no file"):
        find_predictions(tmp_path)


def test_what_is_no_submission_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_predictions(tmp_path / "missing")
    with pytest.raises(InputError, match=r"holds no prediction \(it is empty\)"):
        find_predictions(tmp_path)


def test_match_gives_each_reference_its_prediction() -> None:
    references = [case("1ABA001"), case("1HNA001")]
    matched, problems = match(references, submission("1HNA001", "1ABA001"))
    assert [(str(found.id), found.prediction) for found in matched] == [
        ("1ABA001", Path("1ABA001.mha")),
        ("1HNA001", Path("1HNA001.mha")),
    ]
    assert matched[0].ct == references[0].ct
    assert problems == ()


def test_match_names_each_case_that_is_missing_and_keeps_the_others() -> None:
    references = [case(f"1ABA00{number}") for number in range(1, 5)]
    matched, problems = match(references, submission("1ABA003", "1ABA001"))
    assert ids(matched) == ["1ABA001", "1ABA003"]
    assert problems == tuple(
        Problem(text, f"case {text} has no prediction; expected its sCT as {text}.mha")
        for text in ("1ABA002", "1ABA004")
    )


def test_match_says_what_an_algorithm_phase_lacks() -> None:
    jobs = Submission(submission("1ABA001").predictions, (), "algorithm phase")
    _, problems = match([case("1ABA001"), case("1ABA002")], jobs)
    assert [problem.message for problem in problems] == [
        "case 1ABA002 has no prediction; expected a job of it in predictions.json"
    ]


def test_match_tells_each_problem_once_in_the_order_of_the_cases() -> None:
    told = (Problem("1ABA003", "twice"), Problem("1ABA002", "failed"))
    references = [case(f"1ABA00{number}") for number in range(1, 5)]
    matched, problems = match(references, submission("1ABA001", problems=told))
    assert ids(matched) == ["1ABA001"]
    assert [problem.case for problem in problems] == ["1ABA002", "1ABA003", "1ABA004"]
    assert [problem.message for problem in problems[:2]] == ["failed", "twice"]


def test_match_only_warns_of_problems_that_concern_no_reference() -> None:
    """A nameless file and a double of another case: one line each, and the submission stays complete."""
    told = (Problem(None, "patient7.mha: no id"), Problem("1THA009", "case 1THA009 stands twice"))
    with pytest.warns(UserWarning, match="patient7|1THA009") as caught:
        matched, problems = match([case("1ABA001")], submission("1ABA001", problems=told))
    assert [str(warning.message) for warning in caught] == ["patient7.mha: no id", "case 1THA009 stands twice"]
    assert (ids(matched), problems) == (["1ABA001"], ())


def test_a_case_that_is_missing_stays_a_problem_beside_nameless_files() -> None:
    told = (Problem(None, "patient7.mha: no id"),)
    with pytest.warns(UserWarning, match=r"^patient7\.mha: no id$"):
        _, problems = match([case("1ABA001"), case("1ABA002")], submission("1ABA001", problems=told))
    assert problems == (Problem("1ABA002", "case 1ABA002 has no prediction; expected its sCT as 1ABA002.mha"),)


@pytest.mark.parametrize("phase", ["flat", "jobs"])
def test_a_complete_submission_is_complete_whatever_lies_beside(tmp_path: Path, phase: str) -> None:
    if phase == "flat":
        for name in ("1ABA001.mha", "average.mha", "1THA009.mha", "sct_1THA009.mha"):
            save_image(tmp_path / name)
        words = ["average.mha: its name holds no case id", "case 1THA009 stands twice"]
    else:
        jobs = [forge_job("a1", "1ABA001"), forge_job("b2", "1THA009", status="Failed"), "no job"]
        save_jobs(tmp_path, *jobs)
        words = ["(case 1THA009): its status is", "job 3 of 3: is of type str"]
    with pytest.warns(UserWarning, match="expected") as caught:
        matched, problems = match([case("1ABA001")], find_predictions(tmp_path))
    assert (ids(matched), problems) == (["1ABA001"], ())
    assert [word for word, warning in zip(words, caught, strict=True) if word not in str(warning.message)] == []


def test_a_link_out_of_the_folder_costs_its_own_case_only(tmp_path: Path) -> None:
    save_image(tmp_path / "input" / "1ABA001.mha")
    (tmp_path / "input" / "1ABA002.mha").symlink_to(save_image(tmp_path / "secret.mha"))
    matched, problems = match([case("1ABA001"), case("1ABA002")], find_predictions(tmp_path / "input"))
    assert ids(matched) == ["1ABA001"]
    assert [problem.case for problem in problems] == ["1ABA002"]
    assert "leads out of the folder" in problems[0].message


def test_match_warns_of_what_is_extra() -> None:
    with pytest.warns(UserWarning, match="1 predictions have no reference .* 1THA001"):
        matched, problems = match([case("1ABA001")], submission("1ABA001", "1THA001"))
    assert (ids(matched), problems) == (["1ABA001"], ())


def test_match_without_any_case_to_score() -> None:
    references = [case("1ABA001"), case("1ABA002")]
    with pytest.raises(InputError, match=r"^none of 2 cases can be scored; first: case 1ABA001 has no prediction"):
        match(references, submission("1THA001"))
    told = (Problem(None, "predictions.json: job 1 of 1: its pk is null"),)
    with (
        pytest.warns(UserWarning, match="its pk is null"),
        pytest.raises(InputError, match=r"none of 1 cases .* first: case 1ABA001"),
    ):
        match(references[:1], submission(problems=told))


def test_both_kinds_to_the_end(tmp_path: Path) -> None:
    """Two good cases, one that stands twice, one that is missing: the same outcome in both phases."""
    references = [case(f"1ABA00{number}") for number in range(1, 5)]
    for name in ("1ABA001.mha", "1aba003.mha", "1ABA002.mha", "sct_1ABA002.mha"):
        save_image(tmp_path / "flat" / name)
    jobs = [("d4", "1ABA003"), ("a1", "1ABA001"), ("b2", "1ABA002"), ("c3", "1aba002")]
    save_jobs(tmp_path / "jobs", *(forge_job(pk, text) for pk, text in jobs))
    for name in ("flat", "jobs"):
        matched, problems = match(references, find_predictions(tmp_path / name))
        assert ids(matched) == ["1ABA001", "1ABA003"]
        assert [problem.case for problem in problems] == ["1ABA002", "1ABA004"]


def test_a_problem_is_one_line() -> None:
    assert Problem("1ABA001", "two\nlines and \t a tab").message == "two lines and a tab"
