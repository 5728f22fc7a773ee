"""The figures of docs/alignment.md that no `synthct align-check` prints: known motions, and settings side by side.

    python benchmarks/alignment.py recovery ../shared/data/sts/Task1 --cases 1EXA035,1EXA051
    python benchmarks/alignment.py recovery DATA --cases 1EXA024,1EXA032 --window -300 1200
    python benchmarks/alignment.py ct-window DATA --cases ...
    python benchmarks/alignment.py spline-grid DATA --cases ...
    python benchmarks/alignment.py shift DATA --cases ... --mm 3
    python benchmarks/alignment.py memory --size 512 512 150

One process, one thread; nothing is random, so the figures come out the same again.
"""

from __future__ import annotations

import itertools
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import SimpleITK as sitk
import typer
from rich.console import Console
from rich.table import Table

from synthct.anatomy import Task
from synthct.dataset import Case, find_cases, load_case
from synthct.phantom import make_phantom
from synthct.training import deformation, registration
from synthct.training.alignment_cases import CheckTask, RepairTask, check_case, repair_case
from synthct.training.alignment_check import body_dice, pair_information
from synthct.training.alignment_repair import Verdict, judge_pair
from synthct.training.alignment_tree import start_tree
from synthct.training.bone_edges import bone_edge_mm
from synthct.training.registration import RigidMotion, find_motion, mask_points, move_reference
from synthct.training.thresholds import Thresholds
from synthct.volume import Volume, write_volume

AXES = "xyz"
MOTIONS = [(amount, unit, axis) for unit, sizes in (("mm", (2, 5, 10)), ("degrees", (2, 5))) for amount in sizes
           for axis in range(3)]  # fmt: skip
NARROW, WIDE = (-250.0, 250.0), (-300.0, 1200.0)
SPLINES = ((50.0, 10), (40.0, 10), (35.0, 10), (35.0, 25))  # mm between control points, steps of L-BFGS-B
CLEAR = 0.9

Data = Annotated[Path, typer.Argument(help="Data set root.")]
Cases = Annotated[str, typer.Option(help="Ids with commas between; all cases if left out.")]

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(width=140)


def pairs(data: Path, cases: str) -> Iterator[tuple[Case, Volume]]:
    """The wanted cases with their CTs, read one at a time."""
    wanted = {name for name in cases.split(",") if name}
    found = {files.id: files for files in find_cases(data)}
    if missing := wanted - set(found):
        raise typer.BadParameter(f"{data} holds no case {', '.join(sorted(missing))}")
    for name, files in found.items():
        if not wanted or name in wanted:
            case = load_case(files)
            if case.reference is not None:
                yield case, case.reference


def motion_about_middle(volume: Volume, amount: float, unit: str, axis: int) -> RigidMotion:
    """A shift along an axis in mm, or a turn about it in degrees, about the volume's middle."""
    middle = registration.to_itk(volume, np.float32).TransformContinuousIndexToPhysicalPoint(
        [(n - 1) / 2 for n in volume.geometry.size]
    )
    steps = [amount if k == axis else 0.0 for k in range(3)]
    if unit == "mm":
        return RigidMotion.of(sitk.Euler3DTransform(middle, 0.0, 0.0, 0.0, steps))
    return RigidMotion.of(sitk.Euler3DTransform(middle, *(math.radians(step) for step in steps)))


def plainly_moved(ct: Volume, motion: RigidMotion) -> Volume:
    """A CT as anyone would move it: linear interpolation, -1000 where nothing is known."""
    image = registration.to_itk(ct, np.float32)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, image, motion.transform(), sitk.sitkLinear, -1000.0))
    return ct.with_voxels(np.rint(moved).astype(np.int16))


def missed(known: RigidMotion, found: RigidMotion, as_it_is: RigidMotion, mask: Volume) -> tuple[float, float]:
    """How far (mean over the body in mm, degrees) a motion found misses a known one, less what is found without it."""
    points = mask_points(mask)
    way = np.linalg.norm(known.apply(found.apply(points)) - as_it_is.apply(points), axis=1).mean()
    turn = known.matrix @ found.matrix @ as_it_is.matrix.T
    return float(way), math.degrees(math.acos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))


@app.command()
def recovery(
    data: Data,
    cases: Cases = "1EXA035,1EXA051",
    window: Annotated[tuple[float, float], typer.Option(help="HU that the registration looks at.")] = NARROW,
) -> None:
    """Known motions put on each CT (15 kinds, both signs), and how far the motion found misses them."""
    registration.CT_WINDOW = window
    table = Table(title="what is missed of a known motion", caption="within 1 mm and 1 degree is the aim")
    table.add_column("motion")
    rows: dict[str, list[str]] = {}
    beyond = total = 0
    for case, reference in pairs(data, cases):
        as_it_is = find_motion(case.image, reference, case.mask)
        for sign in (1, -1):
            table.add_column(f"{case.id}, {'+' if sign > 0 else '-'}")
            for amount, unit, axis in MOTIONS:
                known = motion_about_middle(case.image, sign * amount, unit, axis)
                found = find_motion(case.image, plainly_moved(reference, known), case.mask)
                total += 1
                name = f"{amount} {unit} {'along' if unit == 'mm' else 'about'} {AXES[axis]}"
                if found is None or as_it_is is None:
                    rows.setdefault(name, []).append("none found")
                    beyond += 1
                    continue
                mm, degrees = missed(known, found, as_it_is, case.mask)
                beyond += mm > 1 or degrees > 1
                rows.setdefault(name, []).append(f"{mm:.2f} mm, {degrees:.2f}°")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"{total - beyond} of {total} within 1 mm and 1 degree")


@app.command()
def ct_window(data: Data, cases: Cases = "") -> None:
    """The CT window of the registration: bone distance under the motion found with each, over the same voxels."""
    names = [f"{low:g} to {high:g} HU" for low, high in (NARROW, WIDE)]
    table = Table(title="bone edge distance, mm")
    for column in ("case", "as it is", *names):
        table.add_column(column, justify="left" if column == "case" else "right")
    better = dict.fromkeys(names, 0)
    for case, reference in pairs(data, cases):
        moved = []
        for window in (NARROW, WIDE):
            registration.CT_WINDOW = window
            motion = find_motion(case.image, reference, case.mask)
            moved.append(move_reference(reference, motion.transform()) if motion else (reference, case.mask.voxels > 0))
        registration.CT_WINDOW = NARROW
        common = case.mask.with_voxels(((case.mask.voxels > 0) & moved[0][1] & moved[1][1]).astype(np.uint8))
        dark = case.task is Task.MRI
        figures = [bone_edge_mm(case.image, ct, common, dark_bone=dark) for ct in (reference, *(ct for ct, _ in moved))]
        table.add_row(case.id, *("-" if figure is None else f"{figure:.2f}" for figure in figures))
        narrow, wide = figures[1:]
        if narrow is not None and wide is not None and round(narrow, 2) != round(wide, 2):
            better[names[narrow > wide]] += 1
    console.print(table)
    console.print("; ".join(f"{name} is nearer in {count}" for name, count in better.items()))


@app.command()
def spline_grid(data: Data, cases: Cases = "") -> None:
    """Control points and steps of the B-spline: both judges before and after it, from the pair as it is."""
    table = Table(title="Dice; bone edge distance, mm: before and after the B-spline alone")
    names = [f"{grid:g} mm, {steps} steps" for grid, steps in SPLINES]
    for column in ("case", *names):
        table.add_column(column)
    gained, apart, seen = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0
    for case, reference in pairs(data, cases):
        seen += 1
        cells = []
        for name, (grid, steps) in zip(names, SPLINES, strict=True):
            deformation.GRID_MM, deformation.STEPS = grid, steps
            found = deformation.find_deformation(case.image, reference, case.mask, sitk.Transform(3, sitk.sitkIdentity))
            if found is None:
                cells.append("refused")
                continue
            moved, valid = move_reference(reference, found)
            mask = case.mask.with_voxels(((case.mask.voxels > 0) & valid).astype(np.uint8))
            before, after = judge_pair(case, reference, mask), judge_pair(case, moved, mask)
            gained[name] += after.share_left(before) < CLEAR
            apart[name] += (after.bone_edge_mm or 0) > (before.bone_edge_mm or 0)
            cells.append(shown(before, after))
        table.add_row(case.id, *cells)
    console.print(table)
    for name in names:
        console.print(f"{name}: {gained[name]} of {seen} gain by both judges, bones lie further apart in {apart[name]}")


def shown(before: Verdict, after: Verdict) -> str:
    bones = ["-" if edge is None else f"{edge:.2f}" for edge in (before.bone_edge_mm, after.bone_edge_mm)]
    return f"{before.body_dice:.3f}→{after.body_dice:.3f}; {bones[0]}→{bones[1]}"


@app.command()
def shift(data: Data, cases: Cases = "", mm: float = 3.0) -> None:
    """What shifting a CT along each axis by some mm does to the figures that limits are set for."""
    table = Table(title=f"figures after a shift of {mm:g} mm")
    for column in ("case", "axis", "body Dice", "after", "information", "after", "share left"):
        table.add_column(column, justify="left" if column == "case" else "right")
    shares = []
    for (case, reference), axis in itertools.product(pairs(data, cases), range(3)):
        moved = plainly_moved(reference, motion_about_middle(case.image, mm, "mm", axis))
        dices = [body_dice(case.image, ct) for ct in (reference, moved)]
        told = pair_information(case.image, [reference, moved], case.mask)
        shares.append(told[1] / told[0])
        figures = [f"{dices[0]:.3f}", f"{dices[1]:.3f}", f"{told[0]:.3f}", f"{told[1]:.3f}", f"{shares[-1]:.2f}"]
        table.add_row(case.id, AXES[axis], *figures)
    console.print(table)
    console.print(f"share of the information left: median {np.median(shares):.2f}, lowest {min(shares):.2f}")


@app.command()
def memory(
    size: Annotated[tuple[int, int, int], typer.Option(help="Voxels along x, y, z.")] = (512, 512, 150),
    spacing: Annotated[tuple[float, float, float], typer.Option(help="mm along x, y, z.")] = (0.9, 0.9, 3.0),
) -> None:
    """Peak memory and seconds of one worker on a phantom abdomen whose CT lies 9 mm off (fields of view that end)."""
    table = Table(title="one worker, " + " x ".join(map(str, size)) + " voxels")
    for column in ("work", "peak memory, GB", "seconds"):
        table.add_column(column, justify="left" if column == "work" else "right")
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(save_shifted_phantom, Path(folder) / "1ABA001", size, spacing)
        (files,) = find_cases(Path(folder) / "1ABA001")
        score, peak, seconds = in_own_process(check_case, CheckTask(files, Path(folder) / "check.png", 1))
        table.add_row("check", f"{peak:.1f}", f"{seconds:.0f}")
        tree = start_tree(Path(folder) / "new", files)
        task = RepairTask(files, score, Thresholds(0, 0, 1e3), "bspline", tree, Path(folder) / "repair.png", 1)
        done, peak, seconds = in_own_process(repair_case, task)
        table.add_row(f"repair by bspline ({done.action})", f"{peak:.1f}", f"{seconds:.0f}")
    console.print(table)


def save_shifted_phantom(folder: Path, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    made = make_phantom("abdomen", seed=1, size=size, spacing=spacing)
    folder.mkdir()
    shifted = plainly_moved(made.reference, motion_about_middle(made.image, 9.0, "mm", 2))
    for name, volume in (("mr", made.image), ("ct", shifted), ("mask", made.mask)):
        write_volume(volume, folder / f"{name}.mha")


def in_own_process(work: Callable[..., Any], *arguments: object) -> tuple[Any, float, float]:
    """Result, peak memory in GB and seconds of a piece of work in a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, work, *arguments).result()


def measured(work: Callable[..., Any], *arguments: object) -> tuple[Any, float, float]:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    began = time.perf_counter()
    result = work(*arguments)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, time.perf_counter() - began


if __name__ == "__main__":
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    app()
