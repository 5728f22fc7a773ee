"""The cases that an algorithm's container is run on: phantoms as the platform would hand them over, and odder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthct.anatomy import Region, Task
from synthct.dataset import Case, CaseFiles
from synthct.files import write_text
from synthct.grand_challenge.layout import job_of, write_case_input
from synthct.phantom import PhantomCase, PhantomKind, make_phantom
from synthct.volume import Geometry, Volume, write_volume

__all__ = ["CASE_NAMES", "LARGEST", "PLAIN", "CaseGrid", "case_id", "phantom_of", "write_case", "write_corrupt_case"]

PLAIN = "plain"
LARGEST = "largest"
LARGEST_SIZE = (512, 512, 200)
LARGEST_MARGIN = 1.24
"""So that the mask of an abdomen fills some 40 % of the volume."""
REPEATS = 4
"""The largest case is a phantom of a quarter of the size, each voxel repeated."""
SEED = 3
UNKNOWN_REGION = "Left Foot"
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
"""Turned by some 16 degrees about z: 0.28^2 + 0.96^2 = 1 exactly."""

_BODIES: dict[Region, tuple[PhantomKind, tuple[float, float, float]]] = {
    Region.ABDOMEN: ("abdomen", (380.0, 260.0, 170.0)),
    Region.HEAD_NECK: ("head", (195.0, 230.0, 190.0)),
    Region.THORAX: ("thorax", (380.0, 260.0, 190.0)),
    Region.BRAIN: ("head", (195.0, 230.0, 190.0)),
    Region.PELVIS: ("pelvis", (410.0, 280.0, 170.0)),
    Region.EXTREMITY: ("limb", (130.0, 130.0, 120.0)),
}
"""Which phantom shows a region, and the field of view that holds it, x, y, z in mm."""
_SIZE = (96, 80, 24)


@dataclass(frozen=True)
class CaseGrid:
    """What an sCT of a case is judged by: the grid of its input, and the body mask as 0/1 (z, y, x)."""

    geometry: Geometry
    mask: Volume


def case_id(task: Task, region: Region) -> str:
    """Return the id of a made-up case: 1ABA001, 2PA001."""
    return f"{task.number}{region.value}A001"


def phantom_of(
    region: Region,
    task: Task,
    *,
    size: tuple[int, int, int] = _SIZE,
    spacing: tuple[float, float, float] | None = None,
    margin: float = 1.0,
) -> PhantomCase:
    """Make a region's phantom; by default the field of view holds the whole body, in-plane `margin` times that."""
    kind, view = _BODIES[region]
    if spacing is None:
        wider = (view[0] * margin, view[1] * margin, view[2])
        x, y, z = (round(extent / count, 4) for extent, count in zip(wider, size, strict=True))
        spacing = (x, y, z)
    return make_phantom(kind, task=task.value, seed=SEED, size=size, spacing=spacing)


def write_case(name: str, task: Task, region: Region, folder: Path) -> CaseGrid:
    """Write a case as /input; equal arguments give equal files.

    Args:
        name: one of CASE_NAMES, PLAIN or LARGEST.
        task: decides on images/mri or images/cbct.
        region: which phantom, and what region.json says.
        folder: is made.
    """
    make = _VOLUMES.get(name, _plain)
    image, mask = make(region, task)
    identity = case_id(task, region)
    files = CaseFiles(identity, task, region, folder)
    write_case_input(Case(identity, task, region, image, mask), job_of(files), folder)
    if name in _EDITS:
        _EDITS[name](folder, task, identity, (image, mask))
    inside = (mask.voxels > 0).astype(np.uint8)
    return CaseGrid(image.geometry, mask.with_voxels(inside))


def write_corrupt_case(task: Task, region: Region, folder: Path) -> None:
    """Write the plain case, the image cut off in the middle of its voxels."""
    write_case(PLAIN, task, region, folder)
    (image,) = (folder / "images" / task.value).iterdir()
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])


_Pair = tuple[Volume, Volume]


def _pair(phantom: PhantomCase) -> _Pair:
    return phantom.image, phantom.mask


def _plain(region: Region, task: Task) -> _Pair:
    return _pair(phantom_of(region, task))


def _odd_shape(region: Region, task: Task) -> _Pair:
    return _pair(phantom_of(region, task, size=(67, 53, 9)))


def _thick_slices(region: Region, task: Task) -> _Pair:
    return _pair(phantom_of(region, task, size=(96, 80, 16), spacing=(1.0, 1.0, 5.0)))


def _oblique(region: Region, task: Task) -> _Pair:
    image, mask = _plain(region, task)
    grid = replace(image.geometry, direction=OBLIQUE, origin=(-123.25, -87.5, -1042.75))
    return Volume(image.voxels, grid), Volume(mask.voxels, grid)


def _corner_mask(region: Region, task: Task) -> _Pair:
    image, mask = _plain(region, task)
    voxels = mask.voxels.copy()
    z, y, x = (length // 2 for length in voxels.shape)
    voxels[:z, :y, :x] = 1
    return image, mask.with_voxels(voxels)


def _mask_255(region: Region, task: Task) -> _Pair:
    image, mask = _plain(region, task)
    return image, mask.with_voxels(mask.voxels * np.uint8(255))


def _float_mask(region: Region, task: Task) -> _Pair:
    image, mask = _plain(region, task)
    return image, mask.with_voxels(mask.voxels.astype(np.float32))


def _largest(region: Region, task: Task) -> _Pair:
    columns, rows, slices = LARGEST_SIZE
    size = (columns // REPEATS, rows // REPEATS, slices // REPEATS)
    image, mask = _pair(phantom_of(region, task, size=size, margin=LARGEST_MARGIN))
    x, y, z = (step / REPEATS for step in image.geometry.spacing)
    grid = replace(image.geometry, size=LARGEST_SIZE, spacing=(x, y, z))
    return Volume(_repeat(image), grid), Volume(_repeat(mask), grid)


def _repeat(volume: Volume) -> npt.NDArray[Any]:
    voxels = volume.voxels
    for axis in range(3):
        voxels = np.repeat(voxels, REPEATS, axis=axis)
    return voxels


def _without_sockets(folder: Path, *_: object) -> None:
    (folder / "inputs.json").unlink()


def _with_one_key(key: str, folder: Path, *_: object) -> None:
    path = folder / "inputs.json"
    other = "socket" if key == "interface" else "interface"
    entries = json.loads(path.read_text(encoding="utf-8"))
    kept = [{name: value for name, value in entry.items() if name != other} for entry in entries]
    write_text(path, json.dumps(kept, indent=2))


def _as_nifti(folder: Path, task: Task, identity: str, volumes: _Pair) -> None:
    """The template's local layout: files named by case id, no inputs.json."""
    _without_sockets(folder)
    for name, volume in zip((task.value, "body"), volumes, strict=True):
        place = folder / "images" / name
        shutil.rmtree(place)
        place.mkdir()
        write_volume(volume, place / f"{identity}.nii.gz")


def _with_region(text: str | None, folder: Path, *_: object) -> None:
    """Let region.json and its entry of inputs.json hold another text, or nothing."""
    path = folder / "inputs.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    for entry in entries:
        if entry["socket"]["relative_path"] == "region.json":
            entry["value"] = text
    write_text(path, json.dumps(entries, indent=2))
    write_text(folder / "region.json", json.dumps(text) if text is not None else "")


def _without_region(folder: Path, *_: object) -> None:
    path = folder / "inputs.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    kept = [entry for entry in entries if entry["socket"]["relative_path"] != "region.json"]
    write_text(path, json.dumps(kept, indent=2))
    (folder / "region.json").unlink()


_VOLUMES: dict[str, Callable[[Region, Task], _Pair]] = {
    "odd-shape": _odd_shape,
    "thick-slices": _thick_slices,
    "oblique": _oblique,
    "corner-mask": _corner_mask,
    "mask-255": _mask_255,
    "float-mask": _float_mask,
    LARGEST: _largest,
}
_EDITS: dict[str, Callable[..., None]] = {
    "no-inputs-json": _without_sockets,
    "interface-only": partial(_with_one_key, "interface"),
    "socket-only": partial(_with_one_key, "socket"),
    "nii-gz": _as_nifti,
    "unknown-region": partial(_with_region, UNKNOWN_REGION),
    "no-region-file": _without_region,
    "empty-region-file": partial(_with_region, None),
}

CASE_NAMES = (*_EDITS, *(name for name in _VOLUMES if name != LARGEST))
"""The cases beside the plain and the largest one, each a rule `case.<name>`."""
