"""TASK_TYPE, INPUT_FOLDER and OUTPUT_FOLDER: arguments, environment, `.env`, in this order (CONTRACT 1.6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import save_image

from synthct.anatomy import Task
from synthct.errors import UsageError
from synthct.grand_challenge.job import read_job


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory beside two inputs, each with an image for both tasks."""
    for name in ("first", "second"):
        for folder in ("mri", "cbct", "body"):
            save_image(tmp_path / name / "images" / folder / f"{name}.mha")
        (tmp_path / name / "region.json").write_text('"Pelvis"')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_environment(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_TYPE", "cbct")
    monkeypatch.setenv("INPUT_FOLDER", str(work / "first"))
    monkeypatch.setenv("OUTPUT_FOLDER", str(work / "out"))
    job = read_job()
    assert job.files.image == work / "first" / "images" / "cbct" / "first.mha"
    assert job.output_folder == work / "out"


@pytest.mark.parametrize(
    "line",
    [
        "TASK_TYPE=cbct",
        'TASK_TYPE="cbct"',
        "TASK_TYPE='cbct'",
        " TASK_TYPE = cbct ",
        "export TASK_TYPE=cbct",
        "TASK_TYPE=cbct # mri or cbct",
        'TASK_TYPE="cbct"  # mri or cbct',
        "TASK_TYPE=mri\nTASK_TYPE=cbct",
        "TASK_TYPE=cbct\r",
    ],
)
def test_dotenv_file(work: Path, line: str) -> None:
    text = f"# TASK_TYPE=mri\n\nOTHER=x\n{line}\nINPUT_FOLDER={work / 'second'}\n"
    (work / ".env").write_bytes(text.encode())
    job = read_job()
    assert (job.files.task, job.files.id) == (Task.CBCT, "second")


def test_environment_comes_before_dotenv(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / ".env").write_text(f"TASK_TYPE=mri\nINPUT_FOLDER={work / 'second'}\nOUTPUT_FOLDER=from-file\n")
    monkeypatch.setenv("TASK_TYPE", "cbct")
    monkeypatch.setenv("INPUT_FOLDER", str(work / "first"))
    monkeypatch.setenv("OUTPUT_FOLDER", "")  # unset and empty are the same
    job = read_job()
    assert (job.files.task, job.files.id) == (Task.CBCT, "first")
    assert job.output_folder == work / "from-file"


def test_arguments_come_first(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_TYPE", "cbct")
    monkeypatch.setenv("INPUT_FOLDER", str(work / "first"))
    job = read_job(work / "second", work / "out", task=Task.MRI)
    assert (job.files.task, job.files.id) == (Task.MRI, "second")


def test_relative_folders_become_absolute(work: Path) -> None:
    job = read_job(Path("first"), Path("out"), task=Task.MRI)
    assert job.output_folder == work / "out"
    assert job.files.image == work / "first" / "images" / "mri" / "first.mha"


def test_unknown_task_type(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_TYPE", "pet")
    with pytest.raises(UsageError, match="'pet' is no task"):
        read_job(work / "first")
