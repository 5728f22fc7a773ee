"""predictions.json in all its shapes: whose case a job is, where its sCT lies, and what is written is read again."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from submission_files import SCT_FOLDER, entry, forge_job, save_jobs, serializer_job

from synthct.errors import OutputError
from synthct.grand_challenge import FinishedJob, Problem, read_predictions_json, write_predictions_json
from synthct.grand_challenge.sockets import image_name, is_image, socket_of, socket_value

Jobs = dict[str, str]


def read(path: Path) -> tuple[Jobs, tuple[Problem, ...]]:
    """The folder of each job's sCT by case, and the problems."""
    jobs, problems = read_predictions_json(path)
    root = path.parent.resolve()
    return {str(job.case): str(job.prediction.parent.relative_to(root)) for job in jobs}, problems


def only_problem(path: Path) -> Problem:
    jobs, problems = read_predictions_json(path)
    assert jobs == ()
    (problem,) = problems
    assert "\n" not in problem.message
    return problem


@pytest.mark.parametrize("keys", [("interface",), ("socket",), ("socket", "interface")])
def test_minimal_jobs_with_either_key(tmp_path: Path, keys: tuple[str, ...]) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001", keys=keys), forge_job("b2", "2PC045", keys=keys))
    assert read(path) == ({"1ABA001": f"a1/{SCT_FOLDER}", "2PC045": f"b2/{SCT_FOLDER}"}, ())


def test_full_and_minimal_jobs_may_be_mixed(tmp_path: Path) -> None:
    path = save_jobs(tmp_path, serializer_job("a1", "1ABA001"), forge_job("b2", "1HNA002"))
    jobs, problems = read_predictions_json(path)
    assert problems == ()
    assert [(job.pk, str(job.case)) for job in jobs] == [("a1", "1ABA001"), ("b2", "1HNA002")]
    assert jobs[0].prediction == tmp_path / "a1" / SCT_FOLDER / "5f4dcc3b-5aa7-45d6-8d83-27deb882cf99.mha"


def test_order_of_jobs_inputs_and_outputs_does_not_matter(tmp_path: Path) -> None:
    job = forge_job("a1", "1ABA001")
    job["outputs"].append(entry("results-json-file", "results.json", value=[]))
    expected = {"1ABA001": f"a1/{SCT_FOLDER}", "1THB003": f"b2/{SCT_FOLDER}"}
    for inputs in itertools.permutations(job["inputs"]):
        for outputs in itertools.permutations(job["outputs"]):
            shuffled = {**job, "inputs": list(inputs), "outputs": list(outputs)}
            path = save_jobs(tmp_path, forge_job("b2", "1THB003"), shuffled)
            assert read(path) == (expected, ())


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("mask_1ABA001.mha", "1ABA001"),
        ("sct_1HNA001.mha", "1HNA001"),
        ("MASK_1aba001.nii.gz", "1ABA001"),
        ("2PC045.mha", "2PC045"),
        ("a_b_1THC012.x.y.mha", "1THC012"),
        ("1THC012_mask.mha", "1THC012"),
        ("from_1HNA001_to_1ABA002.mha", "1ABA002"),
    ],
)
def test_case_of_an_upload_name(tmp_path: Path, name: str, case: str) -> None:
    """The official rule (before the first dot, behind the last underscore), and more names than it can read."""
    path = save_jobs(tmp_path, forge_job("a1", "x", inputs=[entry("body", "images/body", name=name)]))
    assert read(path) == ({case: f"a1/{SCT_FOLDER}"}, ())


def test_one_input_with_an_id_is_enough(tmp_path: Path) -> None:
    inputs = [entry("mri-image", "images/mri", name="scan.mha"), entry("body", "images/body", name="mask_1ABA001.mha")]
    assert read(save_jobs(tmp_path, forge_job("a1", "x", inputs=inputs)))[0] == {"1ABA001": f"a1/{SCT_FOLDER}"}


def test_inputs_of_two_cases_are_a_problem(tmp_path: Path) -> None:
    inputs = [
        entry("mri-image", "images/mri", name="mr_1ABA002.mha"),
        entry("body", "images/body", name="m_1ABA001.mha"),
    ]
    problem = only_problem(save_jobs(tmp_path, forge_job("a1", "x", inputs=inputs)))
    assert problem.case is None
    assert "several cases (1ABA001, 1ABA002)" in problem.message


def test_a_case_is_never_taken_from_an_output_or_a_value(tmp_path: Path) -> None:
    inputs = [entry("mri-image", "images/mri", name="scan.mha"), entry("note", "note.json", value="1ABA001")]
    outputs = [entry("synthetic-ct-image", "images/synthetic-ct", name="sct_1ABA001.mha")]
    problem = only_problem(save_jobs(tmp_path, forge_job("a1", "x", inputs=inputs, outputs=outputs)))
    assert problem == Problem(
        None,
        'predictions.json: job 1 of 1: no name of its input images holds a case id ("scan.mha"); '
        "expected one like mask_1ABA001.mha",
    )


@pytest.mark.parametrize(
    ("outputs", "folder"),
    [
        ([entry("another-slug", "images/synthetic-ct", name="a.mha")], "images/synthetic-ct"),
        ([entry("synthetic-ct-image", "images/sct", name="a.mha")], "images/sct"),
        ([entry("another-slug", "images/sct", name="a.mha")], "images/sct"),
        ([entry("another-slug", "images/sct/")], "images/sct"),
        (
            [entry("spread", "images/spread", name="a.mha"), entry("x", "images/synthetic-ct", name="b.mha")],
            "images/synthetic-ct",
        ),
        ([entry("spread", "images/spread", name="a.mha"), entry("synthetic-ct-image", "images/sct")], "images/sct"),
    ],
)
def test_output_is_known_by_path_or_slug_or_by_being_alone(tmp_path: Path, outputs: list[Any], folder: str) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001", outputs=outputs), images=False)
    for name in ("images/synthetic-ct", "images/sct", "images/spread"):
        (tmp_path / "a1" / "output" / name).mkdir(parents=True)
        (tmp_path / "a1" / "output" / name / "0.mha").touch()
    assert read(path) == ({"1ABA001": f"a1/output/{folder}"}, ())


@pytest.mark.parametrize("name", ["0.mha", "0.tif", "0.tiff", "0.nii.gz", "0.MHA"])
def test_formats_of_the_official_evaluator(tmp_path: Path, name: str) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001"), images=False)
    folder = tmp_path / "a1" / SCT_FOLDER
    folder.mkdir(parents=True)
    for other in (name, "log.txt", "._0.mha", "0.png"):
        (folder / other).touch()
    assert [job.prediction for job in read_predictions_json(path)[0]] == [folder / name]


def test_two_images_are_named_and_neither_is_taken(tmp_path: Path) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001"), forge_job("b2", "1ABA002"), images=False)
    for name in (f"a1/{SCT_FOLDER}/0.mha", f"a1/{SCT_FOLDER}/1.nii.gz", f"b2/{SCT_FOLDER}/0.mha"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, problems = read(path)
    assert found == {"1ABA002": f"b2/{SCT_FOLDER}"}
    assert [problem.case for problem in problems] == ["1ABA001"]
    assert 'a1/output/images/synthetic-ct holds 2 images ("0.mha", "1.nii.gz")' in problems[0].message


def test_a_job_without_its_image_or_folder(tmp_path: Path) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001"), images=False)
    assert "a1/output/images/synthetic-ct is no folder" in only_problem(path).message
    (tmp_path / "a1" / SCT_FOLDER / "deep.mha").mkdir(parents=True)
    assert '"deep.mha" is no file' in only_problem(path).message
    (tmp_path / "a1" / SCT_FOLDER / "deep.mha").rmdir()
    assert "holds 0 images (none)" in only_problem(path).message


@pytest.mark.parametrize(("status", "shown"), [("Failed", '"Failed"'), (None, "null"), (1, "of type int")])
def test_a_job_that_did_not_succeed(tmp_path: Path, status: Any, shown: str) -> None:
    path = save_jobs(tmp_path, forge_job("a1", "1ABA001", status=status), forge_job("b2", "1ABA002"))
    found, problems = read(path)
    assert list(found) == ["1ABA002"]
    expected = f"predictions.json: job 1 of 2 (case 1ABA001): its status is {shown}; expected Succeeded"
    assert problems == (Problem("1ABA001", expected),)


def test_a_case_in_two_jobs_is_not_scored(tmp_path: Path) -> None:
    jobs = [forge_job("a1", "1ABA001"), forge_job("b2", "1ABA002"), forge_job("c3", "1aba001")]
    found, problems = read(save_jobs(tmp_path, *jobs))
    assert list(found) == ["1ABA002"]
    assert [(problem.case, "in jobs a1, c3" in problem.message) for problem in problems] == [("1ABA001", True)]


def test_an_empty_array_holds_no_job(tmp_path: Path) -> None:
    assert read_predictions_json(save_jobs(tmp_path)) == ((), ())


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    inputs = (
        socket_value("body", "Image", "images/body", 1, image={"pk": "u1", "name": "mask_1ABA001.mha"}),
        socket_value("region", "Value", "region.json", 2, value="Abdomen"),
    )
    job = FinishedJob("a1", inputs, "u2")
    path = write_predictions_json(tmp_path / "predictions.json", [job])
    (record,) = json.loads(path.read_text())
    assert set(record) == set(serializer_job("a1", "1ABA001"))
    assert (record["pk"], record["status"], record["exec_duration"]) == ("a1", "Succeeded", None)
    for value in record["inputs"] + record["outputs"]:
        assert value["socket"] == value["interface"]
    assert [value["pk"] for value in record["inputs"] + record["outputs"]] == [101, 102, 103]
    assert record["outputs"][0]["image"] == {"pk": "u2", "name": "u2.mha"}
    assert record["outputs"][0]["socket"]["relative_path"] == "images/synthetic-ct"
    assert read(path)[0] == {}
    (tmp_path / job.prediction).parent.mkdir(parents=True)
    (tmp_path / job.prediction).touch()
    assert [read_job.prediction for read_job in read_predictions_json(path)[0]] == [tmp_path / job.prediction]


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        write_predictions_json(tmp_path / "file" / "predictions.json", [])


def test_parts_of_a_socket_value() -> None:
    assert socket_of({"socket": None, "interface": {"slug": "a"}}) == {"slug": "a"}
    assert socket_of({"socket": {"slug": "b"}, "interface": {"slug": "a"}}) == {"slug": "b"}
    assert socket_of({"socket": ["a"]}) == {}
    assert [image_name({"image": image}) for image in ({"name": "a"}, {"name": 1}, "a", None)] == [
        "a",
        None,
        None,
        None,
    ]
    assert is_image({"socket": {"super_kind": "Image"}})
    assert not is_image({"socket": {"super_kind": "Value", "relative_path": "region.json"}, "image": None})
