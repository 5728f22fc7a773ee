"""A data set laid out as the platform does: one /input per case, and together the /input of an evaluation."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

from synthct.anatomy import Task
from synthct.dataset import Case, CaseFiles
from synthct.errors import InputError
from synthct.files import staged_file, write_text
from synthct.grand_challenge.sockets import socket_value
from synthct.grand_challenge.submission import FinishedJob
from synthct.volume import read_volume, write_volume

__all__ = ["job_of", "place_prediction", "require_room", "write_case_input"]

NAMESPACE = uuid.UUID("8d0a1a52-52a5-4a39-9f0c-6b1a3f6b7f11")
"""Namespace of the made-up uuids, so that the same case gets the same names each time."""


def job_of(files: CaseFiles) -> FinishedJob:
    """Make up the platform's job for a case: its uuids follow from the case's id alone."""
    image_socket = "mri-image" if files.task is Task.MRI else "cbct-image"
    title = files.region.title if files.region is not None else ""
    inputs = (
        _image_value(image_socket, f"images/{files.task.value}", 1, f"{files.task.stem}_{files.id}.mha"),
        _image_value("body", "images/body", 2, f"mask_{files.id}.mha"),
        socket_value("region", "Value", "region.json", 3, value=title),
    )
    return FinishedJob(_uuid(f"job_{files.id}"), inputs, _uuid(f"sct_{files.id}.mha"))


def write_case_input(case: Case, job: FinishedJob, folder: Path) -> None:
    """Write one /input folder: uuid names, region.json, inputs.json with the upload names (CONTRACT 1.3, 2.3).

    Raises:
        OutputError: the folder cannot be written to.
    """
    for volume, entry in zip((case.image, case.mask), job.inputs, strict=False):
        place = folder / entry["socket"]["relative_path"]
        place.mkdir(parents=True, exist_ok=True)
        write_volume(volume, place / f"{entry['image']['pk']}.mha")
    write_text(folder / "region.json", json.dumps(job.inputs[2]["value"]))
    write_text(folder / "inputs.json", json.dumps(job.inputs, indent=2))


def require_room(job: FinishedJob, root: Path) -> None:
    """Refuse to put a sCT beside another: a job with two images cannot be scored.

    Raises:
        InputError: the job's output folder holds another file.
    """
    path = root / job.prediction
    others = [other for other in path.parent.iterdir() if other != path] if path.parent.is_dir() else []
    others = [other for other in others if not other.name.startswith(".")]
    if others:
        raise InputError(f"{others[0]}: another run's output lies here; expected an empty {path.parent}")


def place_prediction(prediction: Path, job: FinishedJob, root: Path) -> Path:
    """Put a sCT where the evaluation looks for the job's output, as <uuid>.mha.

    A .mha is copied byte for byte, sound or not; another format is read and written anew.

    Raises:
        InputError: the sCT cannot be read.
        OutputError: the folder cannot be written to.
    """
    path = root / job.prediction
    path.parent.mkdir(parents=True, exist_ok=True)
    if not prediction.name.casefold().endswith(".mha"):
        return write_volume(read_volume(prediction), path)
    with staged_file(path) as staged:
        shutil.copyfile(prediction, staged)
    return path


def _image_value(slug: str, relative_path: str, number: int, upload: str) -> dict[str, object]:
    return socket_value(slug, "Image", relative_path, number, image={"pk": _uuid(upload), "name": upload})


def _uuid(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))
