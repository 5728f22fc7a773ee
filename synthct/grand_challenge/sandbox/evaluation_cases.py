"""What an evaluation's container is run on: a ground truth, and submissions laid out as both kinds of phase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthct.anatomy import Region, Task, find_case_id
from synthct.dataset import NOTE_NAME, CaseFiles, find_file
from synthct.errors import InputError
from synthct.files import write_text
from synthct.grand_challenge.layout import job_of, place_prediction
from synthct.grand_challenge.sandbox.cases import case_id, phantom_of
from synthct.grand_challenge.sockets import socket_value
from synthct.grand_challenge.submission import JOBS_NAME, write_predictions_json
from synthct.volume import Volume, read_volume, write_volume

__all__ = ["find_truth", "make_ground_truth", "make_predictions", "write_algorithm_phase", "write_flat_phase"]

REGIONS = (Region.ABDOMEN, Region.THORAX, Region.HEAD_NECK)
NOISE_HU = 40.0
SUFFIXES = (".mha", ".nii.gz")
SETTINGS = {"segmenters": ["tissue"]}
"""Needs no weights. Our own evaluation reads it; another's finds one file more."""


def make_ground_truth(folder: Path, predictions: Path, *, with_settings: bool) -> dict[str, Path]:
    """Make ct/, mask/ and segmentation/ of three phantoms, and an sCT of each: its CT with noise inside the mask.

    Args:
        folder: of the ground truth.
        predictions: of the sCTs.
        with_settings: write evaluation.json, which asks for the tissue segmenter.

    Returns:
        The sCT of each case.
    """
    random = np.random.default_rng(0)
    found = {}
    for region in REGIONS:
        identity = case_id(Task.MRI, region)
        phantom = phantom_of(region, Task.MRI)
        ct, mask = phantom.reference, phantom.mask
        for name, volume in (("ct", ct), ("mask", mask), ("segmentation", phantom.segmentation)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_volume(volume, folder / name / f"{identity}.mha")
        found[identity] = _write_prediction(ct, mask, random, predictions / f"{identity}.mha")
    write_text(folder / NOTE_NAME, json.dumps({"simulated": True, "reference": "ct", "registration": "none"}))
    if with_settings:
        write_text(folder / "evaluation.json", json.dumps(SETTINGS))
    return found


def find_truth(folder: Path) -> dict[str, Path]:
    """Find the CT of each case in a ground truth: ct/<id>.mha, or folders <id>/ct.mha.

    Raises:
        InputError: there is none.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(SUFFIXES) and path.parent.name == "ct":
            identity = find_case_id(path.name)
        elif path.is_dir() and find_file(path, "ct") is not None:
            identity, path = find_case_id(path.name), find_file(path, "ct") or path
        else:
            continue
        if identity is not None:
            found[identity.text] = path
    if not found:
        raise InputError(f"{folder}: holds no CT of a case; expected ct/1ABA001.mha or 1ABA001/ct.mha")
    return found


def make_predictions(truth: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Make an sCT of each case of a ground truth: its CT with noise, as int16 .mha on the same grid.

    The CT itself will not do: its PSNR is infinite, which no evaluation can write as a number.

    Args:
        truth: the CT of each case, as `find_truth` finds them.
        folder: is made.

    Returns:
        The sCT of each case.

    Raises:
        InputError: a CT or its mask cannot be read.
    """
    random = np.random.default_rng(0)
    found = {}
    for identity, path in truth.items():
        ct, place = read_volume(path), _mask_of(path)
        mask = read_volume(place) if place is not None else None
        found[identity] = _write_prediction(ct, mask, random, folder / f"{identity}.mha")
    return found


def write_algorithm_phase(predictions: Mapping[str, Path], folder: Path, *, order: Sequence[str] | None = None) -> None:
    """Lay sCTs out as the /input of an algorithm phase: predictions.json and <pk>/output (CONTRACT 2.5).

    Args:
        predictions: by case id.
        folder: is made.
        order: the jobs' order, and which of them there are; None for all, sorted.
    """
    jobs = []
    folder.mkdir(parents=True, exist_ok=True)
    for identity in sorted(predictions) if order is None else order:
        found = find_case_id(identity)
        if found is None:
            raise InputError(f"'{identity}' is no case id; expected one like 1ABA001")
        path = predictions[identity]
        job = job_of(CaseFiles(identity, found.task, found.region, path))
        place_prediction(path, job, folder)
        jobs.append(job)
    write_predictions_json(folder / JOBS_NAME, jobs)


def write_flat_phase(predictions: Mapping[str, Path], folder: Path) -> None:
    """Lay sCTs out as the /input of a prediction phase: the zip's files beside inputs.json (CONTRACT 2.5)."""
    folder.mkdir(parents=True, exist_ok=True)
    for identity, path in predictions.items():
        suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
        shutil.copyfile(path, folder / f"{identity}{suffix}")
    entry = socket_value("predictions-zip-file", "File", "predictions.zip", 1)
    write_text(folder / "inputs.json", json.dumps([entry]))


def _write_prediction(ct: Volume, mask: Volume | None, random: np.random.Generator, path: Path) -> Path:
    """Write a CT with noise inside the mask and -1000 outside; without a mask of its size, with noise all over."""
    noisy = np.nan_to_num(ct.voxels + random.normal(0.0, NOISE_HU, ct.voxels.shape), nan=-1000.0)
    hu = np.clip(np.rint(noisy), -1024, 3071)
    if mask is not None and mask.voxels.shape == hu.shape:
        hu = np.where(mask.voxels > 0, hu, -1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_volume(ct.with_voxels(hu.astype(np.int16)), path)


def _mask_of(ct: Path) -> Path | None:
    """The mask beside a CT in either layout: mask/<id>.mha beside ct/, or mask.mha in the case's folder."""
    if ct.parent.name != "ct":
        return find_file(ct.parent, "mask")
    stem = ct.name.partition(".")[0]
    places = (ct.parent.parent / "mask" / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((place for place in places if place.is_file()), None)
