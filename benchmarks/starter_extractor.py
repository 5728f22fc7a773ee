"""Train the starter extractor, and tell its Dice on what was held out. DATA has labelled-ct/ and sts/.

    python -m benchmarks.starter_extractor train DATA WORK
    python -m benchmarks.starter_extractor dice WORK [--extractor DIR]

WORK/cases gets the labelled CTs, WORK/run the extractor folder; about an hour on one core. labelled-ct's CT (3 mm) is
cut axially: the middle third is held out, 24 mm on either side of it are left out, the rest is trained on. Its labels
are TotalSegmentator's, made by a machine. The CTs of sts' train and validation limbs get the tissue judge's classes:
all soft tissue is muscle, all bone is bones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from evaluation.segmenters.tissue import tissue_labels
from synthct.cli.console import make_progress, start_log
from synthct.dataset import find_cases, load_case
from synthct.features.compact.labels import TISSUE_GROUPS, TOTAL_GROUPS
from synthct.features.compact.recipe import LabelledCase, cache_cases, find_labelled_cases, train_compact
from synthct.features.compact.settings import read_settings
from synthct.features.compact.validation import CompactValidation
from synthct.features.folder import open_extractor
from synthct.inference.engine import Engine
from synthct.intensity import ZScore
from synthct.outline import body_outline
from synthct.training.launch import make_fabric
from synthct.volume import Geometry, Volume, read_volume, write_volume

TEST = ("1EXA010", "1EXA035", "1EXA051")
GAP_MM = 24.0
REPEATS = 16
"""How often each piece of the one labelled CT stands in the list of cases, beside 16 limbs."""
PRESET = Path(__file__).parents[1] / "synthct/features/compact/configs/starter.yaml"


def cut(volume: Volume, first: int, end: int) -> Volume:
    """Slices first ... end - 1 of a volume, where they lie."""
    geometry = volume.geometry
    direction = np.array(geometry.direction).reshape(3, 3)
    x, y, z = np.array(geometry.origin) + direction[:, 2] * geometry.spacing[2] * first
    size = (geometry.size[0], geometry.size[1], end - first)
    return Volume(volume.voxels[first:end], Geometry(size, geometry.spacing, (x, y, z), geometry.direction))


def write_case(folder: Path, ct: Volume, mask: Volume, labels: Volume) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in (("ct", ct), ("mask", mask), ("segmentation", labels)):
        write_volume(volume, folder / f"{name}.mha")


def write_labelled_ct(data: Path, root: Path) -> None:
    """1ABA001 and 1ABA002 below and above the middle third, which is 1ABA003."""
    ct, labels = (read_volume(data / "labelled-ct" / f"{name}.mha") for name in ("ct", "segmentation"))
    mask = body_outline(ct)
    slices = ct.voxels.shape[0]
    gap = round(GAP_MM / ct.spacing_zyx[0])
    first, end = slices // 3, slices - slices // 3
    for name, part in (("001", (0, first - gap)), ("002", (end + gap, slices)), ("003", (first, end))):
        write_case(root / f"1ABA{name}", *(cut(volume, *part) for volume in (ct, mask, labels)))


def write_limbs(data: Path, root: Path) -> None:
    """CTs of the train and validation limbs with the tissue judge's classes."""
    for files in find_cases(data / "sts" / "Task1"):
        if files.id not in TEST:
            case = load_case(files)
            if case.reference is None:
                raise ValueError(f"{files.id} has no CT")
            labels = tissue_labels(case.reference.voxels, case.mask.voxels)
            write_case(root / files.id, case.reference, case.mask, case.mask.with_voxels(labels))


app = typer.Typer(help="The starter extractor.", no_args_is_help=True)


@app.command()
def dice(
    work: Annotated[Path, typer.Argument(help="Folder of `train`.")],
    extractor: Annotated[Path | None, typer.Option(help="Extractor folder; else WORK/run.")] = None,
) -> None:
    """Dice of each class on each held-out case, swept in windows of the training patch."""
    settings = read_settings(PRESET)
    opened = open_extractor(extractor or work / "run")
    if not isinstance(opened.normalisation, ZScore):
        raise ValueError("the extractor does not normalise by a z-score")
    abdomen = find_labelled_cases(work / "cases" / "AB", TOTAL_GROUPS)
    limbs = find_labelled_cases(work / "cases" / "EX", TISSUE_GROUPS)
    held_out = [case for case in (*abdomen, *limbs) if case.files.id in settings.validation_cases]
    with make_progress() as progress:
        cached = cache_cases(held_out, settings, opened.normalisation, work / "cache", progress)
    engine = Engine(torch.device("cpu"), precision="fp32")
    judge = CompactValidation(cached, patch=settings.patch, engine=engine, fill=float(opened.air or 0.0))
    for number, name in enumerate(judge.cases):
        values = judge.score({"network": opened.backbone.stored}, number).values
        told = ", ".join(
            f"{key.removeprefix('dice_')} {value:.3f}" for key, value in values.items() if key != "dice_error"
        )
        sys.stdout.write(f"{name}: {told}\n")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with labelled-ct/ and sts/.")],
    work: Annotated[Path, typer.Argument(help="Folder to work in.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    max_steps: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    root = work / "cases"
    if not root.exists():
        write_labelled_ct(data, root / "AB")
        write_limbs(data, root / "EX")
    abdomen = find_labelled_cases(root / "AB", TOTAL_GROUPS)
    limbs = find_labelled_cases(root / "EX", TISSUE_GROUPS)
    settings = read_settings(PRESET)
    held_out = [case for case in abdomen if case.files.id in settings.validation_cases]
    cases: list[LabelledCase] = [case for case in abdomen if case not in held_out] * REPEATS + [*held_out, *limbs]
    start_log()
    with make_progress() as progress:
        card = train_compact(
            cases,
            settings,
            work / "run",
            make_fabric("cpu", 1, settings.loop.precision),
            progress=progress,
            max_steps=max_steps,
            resume=resume,
            starter=True,
            source="SynthCT's starter extractor (benchmarks/starter_extractor.py)",
            trained_on="part of one abdominal CT (3 mm, TotalSegmentator's labels) and 16 limb CTs (tissue by HU)",
        )
    sys.stdout.write(f"{work / 'run'} (sha256 {card.sha256[:12]})\n")


if __name__ == "__main__":
    app()
