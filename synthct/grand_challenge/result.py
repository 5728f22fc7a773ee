"""What a run leaves in /output: the sCT, the legacy results.json and a manifest; all of it or nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.errors import ContractError, DiskFullError, OutputError
from synthct.files import PARTIAL_FOLDER, prepare_output_folder, staged_file, staged_folder, write_error, write_text
from synthct.grand_challenge.job import IMAGES, Job, images_below, stem_of
from synthct.volume import Volume, write_volume

__all__ = ["Result", "prepare_output", "write_result"]

OUTPUT_FOLDER = "images/synthetic-ct"
RESULTS_NAME = "results.json"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class Result:
    """The files of one run, and what each was when it was written.

    Attributes:
        sct: the image.
        files: per file its device, inode, size and time of change.
    """

    sct: Path
    files: Mapping[Path, tuple[int, ...]]

    def remove(self) -> list[Path]:
        """Remove what still lies there of this run, and return it; a file that was changed or replaced stays."""
        removed = []
        for path, before in self.files.items():
            with suppress(FileNotFoundError):
                if _identity(path) == before:
                    path.unlink()
                    removed.append(path)
        return removed


def prepare_output(job: Job) -> None:
    """Clear what a killed run left and what an earlier run made of the same input, which must not pass for this one's.

    An image of another input is refused, not removed (CONTRACT 1.3: exactly one).

    Raises:
        ContractError: another image lies below /output/images.
        OutputError: the folder cannot be written to.
        DiskFullError: the disk is full.
    """
    prepare_output_folder(job.output_folder)
    folder = job.output_folder / OUTPUT_FOLDER
    shutil.rmtree(folder / PARTIAL_FOLDER, ignore_errors=True)
    images = job.output_folder / IMAGES
    others = [other for other in images_below(images) if other != _sct_path(job)]
    if others:
        raise ContractError(f"{others[0]}: another image is in the output; expected an empty {images}")
    for path in (_sct_path(job), job.output_folder / RESULTS_NAME, job.output_folder / MANIFEST_NAME):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from error


def write_result(job: Job, sct: Volume, manifest: Mapping[str, Any]) -> Result:
    """Write the sCT, the legacy results.json and manifest.json.

    The sCT is `<stem of the input>.mha`, the only image below /output/images: the platform refuses two (CONTRACT 1.3).
    All are written below /output/.partial; the image moves to its place last. So nothing lies below /output/images
    unless the run succeeded, whenever it is killed.

    Raises:
        ContractError: another image lies below /output/images already.
        OutputError: the folder cannot be written to.
        DiskFullError: the disk is full.
    """
    prepare_output(job)
    path = _sct_path(job)
    texts = {RESULTS_NAME: json.dumps([_legacy_result(job, path)], indent=4)}
    texts[MANIFEST_NAME] = json.dumps(manifest, indent=2) + "\n"
    try:
        with staged_folder(job.output_folder) as stage:
            _stage(stage, job.output_folder, path, sct, texts)
            _move_into_place(stage, job.output_folder, path, list(texts))
    except OSError as error:
        raise write_error(path, error) from error
    written = [path, *(job.output_folder / name for name in texts)]
    return Result(path, {file: _identity(file) for file in written})


def _stage(stage: Path, output: Path, path: Path, sct: Volume, texts: Mapping[str, str]) -> None:
    """Write all files whole below `.partial/`; what goes wrong names the place they are meant for."""
    try:
        _flush(write_volume(sct, stage / path.name))
        for name, text in texts.items():
            _flush(write_text(stage / name, text))
    except (OutputError, DiskFullError) as error:
        named = str(error).replace(str(stage / path.name), str(path)).replace(str(stage), str(output))
        raise type(error)(named) from error


def _move_into_place(stage: Path, output: Path, path: Path, texts: list[str]) -> None:
    """Move the texts, then the image; where that fails, none of them and no new folder stays."""
    missing = [folder for folder in (path.parent, path.parent.parent) if not folder.exists()]
    try:
        for name in texts:
            (stage / name).replace(output / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        _move(stage / path.name, path)
    except BaseException:
        for name in texts:
            (output / name).unlink(missing_ok=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _move(staged: Path, path: Path) -> None:
    try:
        staged.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with staged_file(path) as copy:  # a mount of its own: only a copy on it can be renamed
            shutil.copyfile(staged, copy)
            _flush(copy)


def _flush(path: Path) -> None:
    """Bring a file to the disk: some file systems say only now that they are full."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _identity(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _sct_path(job: Job) -> Path:
    return job.output_folder / OUTPUT_FOLDER / f"{stem_of(job.files.image)}.mha"


def _legacy_result(job: Job, path: Path) -> dict[str, Any]:
    """The template's entry of results.json (CONTRACT 1.4)."""
    inputs = [{"type": "metaio_image", "filename": str(job.files.image)}]
    if job.files.mask is not None:
        inputs.append({"type": "metaio_image", "filename": str(job.files.mask)})
    inputs.append({"type": "String", "filename": str(job.region_file)})
    return {
        "outputs": [{"type": "metaio_image", "filename": str(path)}],
        "inputs": inputs,
        "error_messages": [],
    }
