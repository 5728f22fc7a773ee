"""Cases and a model whose sCT follows by hand: each MR value leads to a step of a ramp through all of the HU range."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from builders import Array

from algorithms.lookup_table.table import TableConfig
from synthct.anatomy import Region, Task
from synthct.weights import save_model

__all__ = ["expected_sct", "ramp_image", "ramp_mask", "read_sct", "save_input", "save_ramp"]

SHAPE = (7, 33, 29)
"""z, y, x: no two alike, none even."""
SPACING, ORIGIN = (0.9, 1.1, 3.0), (-123.25, 87.5, -1042.75)
DIRECTION = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
"""Turned about z: 0.28^2 + 0.96^2 = 1 exactly."""
RAMP_START, RAMP_STEP, BIN_WIDTH = -1400, 20, 8


def save_ramp(
    folder: Path, *, tasks: tuple[Task, ...] = (Task.MRI,), regions: tuple[Region, ...] = tuple(Region), **bins: float
) -> Path:
    """Save a lookup-table model: 250 bins, 8 MR values wide, of 20 n - 1400 HU each; `bins` replaces some (bin_7=nan).

    So it runs from -1400 to 3580 HU, beyond what an sCT may hold at both ends.
    """
    table = RAMP_START + RAMP_STEP * torch.arange(250.0)
    for name, value in bins.items():
        table[int(name.removeprefix("bin_"))] = value
    config = TableConfig(low=0.0, high=250.0 * BIN_WIDTH, bins=250)
    card = {"algorithm": "lookup-table", "tasks": tasks, "regions": regions, "config": config.model_dump()}
    save_model(folder, {"table": table}, half=False, **card)
    return folder


def ramp_image(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Array:
    """An MR of the values 0 to 1999, (z, y, x) int16."""
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.int16)


def ramp_mask(shape: tuple[int, int, int] = SHAPE) -> Array:
    """All but a frame of four voxels in each slice, uint8 0/1."""
    mask = np.zeros(shape, np.uint8)
    mask[:, 4:-4, 4:-4] = 1
    return mask


def expected_sct(image: Array, mask: Array) -> Array:
    """What the ramp makes of an image: clipped to [-1024, 3071], air outside the mask."""
    hu = RAMP_START + RAMP_STEP * (image.astype(np.int64) // BIN_WIDTH)
    return np.where(mask > 0, np.clip(hu, -1024, 3071), -1000)


def save_input(
    folder: Path,
    image: Array | None = None,
    mask: Array | None = None,
    *,
    task: str = "mri",
    region: str | None = '"Abdomen"',
    suffix: str = ".mha",
    stem: str | None = None,
    upload: str | None = None,
) -> Path:
    """Write an /input by SimpleITK itself: two uuid names, or one stem for both.

    Args:
        folder: is made.
        image: voxels (z, y, x); the ramp's where None.
        mask: likewise.
        task: name of the image's folder.
        region: content of region.json; None for no such file.
        suffix: of both images.
        stem: name of both files; None for two uuids.
        upload: the image's upload name in inputs.json; None for no such file.
    """
    voxels = {task: ramp_image() if image is None else image, "body": ramp_mask() if mask is None else mask}
    for name, array in voxels.items():
        (folder / "images" / name).mkdir(parents=True)
        made = sitk.GetImageFromArray(array)
        made.SetSpacing(SPACING)
        made.SetOrigin(ORIGIN)
        made.SetDirection(DIRECTION)
        sitk.WriteImage(made, str(folder / "images" / name / f"{stem or uuid.uuid4()}{suffix}"), suffix != ".mha")
    if region is not None:
        (folder / "region.json").write_text(region)
    if upload is not None:
        socket = {"slug": "unknown", "super_kind": "Image", "relative_path": f"images/{task}"}
        entry = {"socket": socket, "image": {"pk": str(uuid.uuid4()), "name": upload}, "value": None}
        (folder / "inputs.json").write_text(json.dumps([entry]))
    return folder


def read_sct(output: Path) -> sitk.Image:
    """Read the one image below /output/images."""
    found = [path for path in (output / "images").rglob("*") if path.is_file()]
    assert [path.suffix for path in found] == [".mha"], found
    assert found[0].parent == output / "images" / "synthetic-ct"
    return sitk.ReadImage(str(found[0]))
