"""Small simulated limbs on disk: a case folder of a data set, and the platform's /input."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from synthct.phantom import PhantomCase, PhantomTask, make_phantom
from synthct.volume import write_volume

__all__ = ["limb", "save_limb", "save_platform_input"]


@cache
def limb(task: PhantomTask = "mri", seed: int = 1) -> PhantomCase:
    """Return a limb of 40 x 40 x 12 voxels, made once per process; nobody writes into it."""
    return make_phantom("limb", task=task, seed=seed, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))


def save_limb(folder: Path, *, seed: int = 1, suffix: str = ".mha", reference: bool = True) -> Path:
    """Write a case folder; the first character of its name is the task, as in SynthRAD."""
    task: PhantomTask = "mri" if folder.name.startswith("1") else "cbct"
    case = limb(task, seed)
    folder.mkdir(parents=True)
    write_volume(case.image, folder / f"{'mr' if task == 'mri' else 'cbct'}{suffix}")
    write_volume(case.mask, folder / f"mask{suffix}")
    if reference:
        write_volume(case.reference, folder / f"ct{suffix}")
        write_volume(case.segmentation, folder / f"segmentation{suffix}")
    return folder


def save_platform_input(
    folder: Path, *, task: PhantomTask = "mri", suffix: str = ".mha", region: str | None = '"Extremity"'
) -> Path:
    """Write an /input of one case whose file names tell nothing; no region.json where `region` is None."""
    case = limb(task)
    shutil.rmtree(folder, ignore_errors=True)
    for name, volume in ((task, case.image), ("body", case.mask)):
        (folder / "images" / name).mkdir(parents=True)
        write_volume(volume, folder / "images" / name / f"scan-of-{name}{suffix}")
    if region is not None:
        (folder / "region.json").write_text(region)
    return folder
