"""`synthct prepare`: from a SynthRAD data set to the platform's input folders or to ground truth."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.anatomy import Task
from synthct.cli.console import make_progress, tell
from synthct.dataset import NOTE_NAME, Case, CaseFiles, find_cases, find_note, load_case, read_note
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder, write_text
from synthct.volume import read_volume, write_volume

__all__ = ["prepare"]

Target = Literal["platform", "ground-truth"]
NAMESPACE = uuid.UUID("8d0a1a52-52a5-4a39-9f0c-6b1a3f6b7f11")
"""Namespace of the made-up uuids, so that the same case gets the same names each time."""


def prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Data set root, at any level of the tree.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Where to write.")],
    to: Annotated[Target, typer.Option(help="One /input folder per case, or ct/ mask/ segmentation/.")],
    reference: Annotated[Literal["ct", "ct_def"], typer.Option(help="Which CT is the reference.")] = "ct",
) -> None:
    """Lay a SynthRAD data set out as the platform does: inputs per case, or the evaluation's ground truth."""
    inner, outer = target.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UsageError(f"{target}: lies in {source} or holds it; expected a folder apart from the data set")
    cases = find_cases(source, reference=reference)
    if to == "ground-truth":
        for files in cases:
            if files.reference is None:
                raise InputError(f"{files.image.parent}: case {files.id} has no {reference}.mha to score against")
    prepare_output_folder(target)
    with make_progress() as progress:
        bar = progress.add_task(f"preparing {to}", total=len(cases))
        for files in cases:
            case = load_case(files, with_reference=to == "ground-truth")
            if to == "platform":
                _write_platform_case(case, files, target / files.id)
            else:
                _write_ground_truth(case, files, target)
            progress.update(bar, advance=1)
    if to == "ground-truth":
        _carry_note(cases[0].image, target)
    tell(f"{len(cases)} case{'s' if len(cases) > 1 else ''} in {target}")


def _write_platform_case(case: Case, files: CaseFiles, folder: Path) -> None:
    """One /input folder: uuid names, region.json, inputs.json with the upload names (CONTRACT 1.3, 2.3)."""
    entries = []
    sockets = (
        (case.image, f"{case.task.stem}_{case.id}.mha", "mri-image" if case.task is Task.MRI else "cbct-image",
         f"images/{case.task.value}"),
        (case.mask, f"mask_{case.id}.mha", "body", "images/body"),
    )  # fmt: skip
    for number, (volume, upload, slug, relative_path) in enumerate(sockets, start=1):
        name = str(uuid.uuid5(NAMESPACE, upload))
        (folder / relative_path).mkdir(parents=True, exist_ok=True)
        write_volume(volume, folder / relative_path / f"{name}.mha")
        entries.append(_socket_value(slug, "Image", relative_path, number, image={"pk": name, "name": upload}))
    title = files.region.title if files.region is not None else ""
    write_text(folder / "region.json", json.dumps(title))
    entries.append(_socket_value("region", "Value", "region.json", 3, value=title))
    write_text(folder / "inputs.json", json.dumps(entries, indent=2))


def _socket_value(
    slug: str,
    super_kind: str,
    relative_path: str,
    number: int,
    *,
    image: dict[str, str] | None = None,
    value: str | None = None,
) -> dict[str, object]:
    socket = {"slug": slug, "super_kind": super_kind, "relative_path": relative_path}
    return {"socket": socket, "interface": socket, "image": image, "file": None, "value": value, "pk": 100 + number}


def _carry_note(image: Path, target: Path) -> None:
    """Copy the data set's dataset.json, where it has one: simulated cases stay marked as such in the scores."""
    note = find_note(image)
    if note is not None:
        write_text(target / NOTE_NAME, json.dumps(read_note(note), indent=2) + "\n")


def _write_ground_truth(case: Case, files: CaseFiles, folder: Path) -> None:
    """ct/, mask/ and, where the data set has one, segmentation/, each <id>.mha (CONTRACT 3.1)."""
    volumes = {"ct": case.reference, "mask": case.mask}
    if files.segmentation is not None:
        volumes["segmentation"] = read_volume(files.segmentation)
    for name, volume in volumes.items():
        if volume is not None:
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_volume(volume, folder / name / f"{case.id}.mha")
