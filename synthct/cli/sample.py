"""`synthct sample`: phantom cases laid out as a SynthRAD data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.anatomy import Region, Task
from synthct.cli.console import make_progress, tell
from synthct.dataset import NOTE_NAME, read_note
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder, write_text

__all__ = ["sample"]

Kind = Literal["limb", "head", "pelvis", "abdomen", "thorax"]
Layout = Literal["2023", "2025"]

REGIONS: dict[tuple[str, str], tuple[Region, str]] = {
    ("limb", "2025"): (Region.EXTREMITY, "EX"),
    ("head", "2025"): (Region.HEAD_NECK, "HN"),
    ("abdomen", "2025"): (Region.ABDOMEN, "AB"),
    ("thorax", "2025"): (Region.THORAX, "TH"),
    ("head", "2023"): (Region.BRAIN, "brain"),
    ("pelvis", "2023"): (Region.PELVIS, "pelvis"),
    ("pelvis", "2025"): (Region.PELVIS, "P"),
}
"""Region and folder name of a kind in a layout. A pelvis in the 2025 tree keeps its id of 2023: 2025 has no pelvis."""


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the data set is made.")],
    kind: Annotated[Kind, typer.Option(help="Which body.")] = "limb",
    task: Annotated[Task, typer.Option(help="MR or CBCT beside the CT.")] = Task.MRI,
    cases: Annotated[int, typer.Option(min=1, max=999, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same cases.")] = 0,
    layout: Annotated[Layout, typer.Option(help="Folder tree and file format of that year's challenge.")] = "2025",
) -> None:
    """Make phantom cases (simulated, from a seed) as a SynthRAD data set."""
    from synthct.phantom import make_phantom
    from synthct.volume import write_volume

    if (kind, layout) not in REGIONS:
        raise UsageError(f"--kind {kind} is not part of layout {layout}; expected head or pelvis in 2023, else 2025")
    region, region_folder = REGIONS[kind, layout]
    suffix = ".mha" if layout == "2025" else ".nii.gz"
    note_path = folder / NOTE_NAME
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not read_note(note_path if note_path.is_file() else None).get("simulated")
    ):
        raise InputError(f"{folder}: is not empty and no folder of simulated cases; expected a new folder")
    prepare_output_folder(folder)
    note = {"simulated": True, "made_by": "synthct sample", "kind": kind, "task": task.value, "seed": seed}
    write_text(note_path, json.dumps(note, indent=2) + "\n")  # first, so that no case is ever without it
    with make_progress() as progress:
        bar = progress.add_task(f"making {kind} phantoms", total=cases)
        for index in range(cases):
            phantom = make_phantom(kind, task=task.value, seed=seed + index)
            case = f"{task.number}{region.value}A{index + 1:03d}"
            target = folder / f"Task{task.number}" / region_folder / case
            target.mkdir(parents=True, exist_ok=True)
            for stem, volume in (
                (task.stem, phantom.image),
                ("ct", phantom.reference),
                ("mask", phantom.mask),
                ("segmentation", phantom.segmentation),
            ):
                write_volume(volume, target / f"{stem}{suffix}")
            progress.update(bar, advance=1)
    tell(f"{cases} simulated {kind} case{'s' if cases > 1 else ''} in {folder / f'Task{task.number}' / region_folder}")
