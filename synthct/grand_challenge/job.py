"""One run on the platform: /input as the platform fills it, /output as it wants it (CONTRACT 1.1 to 1.6, 2.3)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from synthct.anatomy import CaseId, Region, Task, find_case_id, parse_region, parse_task, read_region_file
from synthct.dataset import CaseFiles
from synthct.errors import ContractError, InputError
from synthct.grand_challenge.folders import INPUT, INPUT_VARIABLE, OUTPUT, OUTPUT_VARIABLE

__all__ = ["IMAGES", "Job", "images_below", "is_platform_folder", "read_job", "stem_of"]

IMAGES = "images"
MASK_FOLDER = "body"
IMAGE_SUFFIXES = (".mha", ".mhd", ".nii.gz", ".nii", ".nrrd", ".tiff", ".tif")
JSON_LIMIT = 4 << 20
DOTENV_KEYS = ("TASK_TYPE", INPUT_VARIABLE, OUTPUT_VARIABLE)
DOTENV_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<key>\w+)\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>.*?))\s*(?:(?<=\s)\#.*)?"""
)
"""A line of `.env` as the template's reader takes it: `export` in front, quotes, and a comment behind a blank."""


@dataclass(frozen=True)
class Job:
    """What one platform run is given.

    Attributes:
        files: image and mask; the id is the upload's case id where inputs.json or a file name tells it, else the stem.
        output_folder: /output.
        region_file: where region.json lies, or should.
    """

    files: CaseFiles
    output_folder: Path
    region_file: Path


def is_platform_folder(folder: Path) -> bool:
    """Tell whether a folder is laid out as the platform's /input: images/mri or images/cbct below it.

    Raises:
        InputError: the folder cannot be entered.
    """
    with _entering(folder):
        return any((folder / IMAGES / task.value).is_dir() for task in Task)


def read_job(
    input_folder: Path | None = None,
    output_folder: Path | None = None,
    *,
    task: Task | None = None,
    region: Region | None = None,
    require_mask: bool = True,
) -> Job:
    """Read what the platform hands over: file names, task and region; no voxel is read.

    Folders and task come from the arguments, then from the environment (INPUT_FOLDER, OUTPUT_FOLDER, TASK_TYPE), then
    from a `.env` file in the working directory as the SynthRAD template does, then from what is there.

    Raises:
        ContractError: there is no input image, or not exactly one.
        InputError: the input folder or the mask is missing, or a folder cannot be entered.
        UsageError: TASK_TYPE names no task.
    """
    settings = _settings()
    source = (input_folder or Path(settings.get(INPUT_VARIABLE) or INPUT)).absolute()  # not resolved: a link
    target = (output_folder or Path(settings.get(OUTPUT_VARIABLE) or OUTPUT)).absolute()
    if task is None and settings.get("TASK_TYPE"):
        task = parse_task(settings["TASK_TYPE"])
    with _entering(source):
        if not source.is_dir():
            raise InputError(f"{source}: no such folder; expected the platform's input folder")
        if task is None:
            task = _detect_task(source)
        image = _single_image(source / IMAGES / task.value)
        mask_folder = source / IMAGES / MASK_FOLDER
        mask = _single_image(mask_folder) if require_mask or mask_folder.is_dir() else None
    sockets = _read_sockets(source / "inputs.json")
    case_id = _case_id(sockets, task, image, mask)
    region_file = source / "region.json"
    if region is None:
        region = _region_of_sockets(sockets) or read_region_file(region_file)
    if region is None and case_id is not None:
        region = case_id.region
    name = case_id.text if case_id is not None else stem_of(image)
    return Job(CaseFiles(name, task, region, image, mask), target, region_file)


def _settings() -> dict[str, str]:
    """TASK_TYPE, INPUT_FOLDER and OUTPUT_FOLDER: the environment first, then `.env` (CONTRACT 1.6)."""
    settings: dict[str, str] = {}
    dotenv = Path(".env")
    if dotenv.is_file():
        for line in dotenv.read_text(encoding="utf-8", errors="replace").splitlines():
            match = DOTENV_LINE.fullmatch(line)
            if match is not None and match["key"] in DOTENV_KEYS:
                settings[match["key"]] = match["double"] or match["single"] or match["bare"] or ""
    settings.update({key: os.environ[key] for key in DOTENV_KEYS if os.environ.get(key)})
    return settings


@contextmanager
def _entering(source: Path) -> Iterator[None]:
    """Make an InputError of a folder that this user is kept out of, as a container's user is by mode 700."""
    try:
        yield
    except PermissionError as error:
        # The error may name what lies behind the closed folder.
        folders = (source, *(source / IMAGES / name for name in ("", *Task, MASK_FOLDER)))
        found = (path for path in folders if os.access(path, os.F_OK) and not os.access(path, os.X_OK))
        closed = next(found, error.filename)
        raise InputError(
            f"{closed}: cannot be read ({error.strerror}); expected a folder that user id {os.geteuid()} may enter"
        ) from error


def _detect_task(source: Path) -> Task:
    present = [task for task in Task if (source / IMAGES / task.value).is_dir()]
    if len(present) == 2:
        present = [task for task in present if images_below(source / IMAGES / task.value)] or present
    if not present:
        names = sorted(path.name for path in source.iterdir())
        found = ", ".join(names[:3] + ["..."] * (len(names) > 3)) or "nothing"
        raise ContractError(
            f"{source}: holds {found}, no images/mri and no images/cbct; expected one of them (synthct prepare ... "
            "--to platform makes such folders)"
        )
    if len(present) > 1:
        raise ContractError(f"{source}: holds images/mri and images/cbct; expected one of them (or TASK_TYPE)")
    return present[0]


def _single_image(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected it to hold one image")
    os.scandir(folder).close()  # rglob passes over a folder that is closed to this user
    images = images_below(folder)
    if len(images) != 1:
        names = ", ".join(image.name for image in images[:3]) or "none"
        raise ContractError(f"{folder}: holds {len(images)} images ({names}); expected exactly one")
    return images[0]


def images_below(folder: Path) -> list[Path]:
    """List the images anywhere below a folder, as the platform counts them; none where it does not exist."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.casefold().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )


def _read_sockets(path: Path) -> list[dict[str, Any]]:
    """Read inputs.json: `socket`, `interface` or both; absent in the SynthRAD template, so never required."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as stream:
            entries = json.loads(stream.read(JSON_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise ContractError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(entries, list):
        raise ContractError(f"{path}: holds a {type(entries).__name__}; expected an array of socket values")
    return [entry for entry in entries if isinstance(entry, dict)]


def _relative_path(entry: dict[str, Any]) -> str:
    """An entry's relative_path; inputs are told by it, since SynthRAD's slugs are only partly known (CONTRACT 2.3)."""
    socket = entry.get("socket") or entry.get("interface")
    path = socket.get("relative_path") if isinstance(socket, dict) else None
    return PurePosixPath(path).as_posix() if isinstance(path, str) else ""


def _case_id(sockets: list[dict[str, Any]], task: Task, image: Path, mask: Path | None) -> CaseId | None:
    """The case's id from the upload names in inputs.json, then from the file names; on the platform those are uuids.

    The name of the MR or CBCT counts more than those of other images, in whatever order they stand.
    """
    ranked = sorted(sockets, key=lambda entry: _relative_path(entry) != f"{IMAGES}/{task}")
    uploads = [entry["image"].get("name") for entry in ranked if isinstance(entry.get("image"), dict)]
    names = [name for name in uploads if isinstance(name, str)] + [image.name] + ([mask.name] if mask else [])
    for name in names:
        found = find_case_id(name)
        if found is not None:
            return found
    return None


def _region_of_sockets(sockets: list[dict[str, Any]]) -> Region | None:
    for entry in sockets:
        if _relative_path(entry) == "region.json" and isinstance(entry.get("value"), str):
            return parse_region(entry["value"])
    return None


def stem_of(path: Path) -> str:
    """Return a file's name without its image suffix, also a double one such as .nii.gz."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.casefold().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
