"""What scoring one case costs: the official program's way beside ours, on the same arrays in one process.

    python benchmarks/evaluation.py [--cases small|reference] [--repeats 3] [--labels N] [--skip-structures]

The two ways take turns; each time is the median of the repeats. System seconds are the kernel's share, most of it first
touches of fresh memory, which differ much between machines. Peak memory is of processes of their own. The official
structures of the reference case take about four minutes per repeat.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # else this file hides the package of its name

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import official_way
from benchmarks.reference_case import LABELS, SPACING_ZYX, ReferenceCase, make_reference_case
from evaluation.metrics import image_similarity
from evaluation.metrics.agreement import score_structures

SCALES = {"small": 0.25, "reference": 1.0}
ANCHORS = {"image": 12.2, "hd95": 101.5, "voxel": 34.0}  # seconds of ANCHORS 3.1, middle of the range where it has one
ANATOMY = (2, 3, 5, 6, *range(10, 15), *range(26, 52), 79, *range(92, 117))  # the official list of an abdomen
CASE_ID = "1ABA001"
WRITE = "write:"  # the hidden part that writes the case into a folder

Work = Callable[[], Any]


@dataclass
class Timing:
    """Seconds of each run of one piece of work, and what it returned last."""

    wall: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)
    result: Any = None

    def run(self, work: Work) -> None:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_stime, time.perf_counter()
        self.result = work()
        self.wall.append(time.perf_counter() - start)
        self.system.append(resource.getrusage(resource.RUSAGE_SELF).ru_stime - before)

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    @property
    def system_seconds(self) -> float:
        return statistics.median(self.system)


def works(case: ReferenceCase, labels: tuple[int, ...], structures: bool) -> dict[str, Work]:
    """Each piece of work by name; `ours` comes before the official way that it is compared with."""
    images = case.reference, case.prediction, case.mask
    maps = case.reference_labels, case.prediction_labels, labels, SPACING_ZYX
    found: dict[str, Work] = {
        "ours image": lambda: image_similarity(*images),
        "image": lambda: official_way.image_metrics(*images),
    }
    if structures:
        found["ours structures"] = lambda: score_structures(*maps)
        found["hd95"] = lambda: official_way.dice_and_hd95(*maps)
        found["voxel"] = lambda: official_way.nsd_voxel(*maps)
        found["surfel"] = lambda: official_way.nsd_surfel(*maps)
    return found


def differences(timings: dict[str, Timing]) -> dict[str, float]:
    """Largest absolute difference between the two ways, by piece of official work."""
    ours, official = timings["ours image"].result, timings["image"].result
    found = {"image": max(abs(getattr(ours, name) - getattr(official, name)) for name in ("mae", "psnr", "ms_ssim"))}
    if "hd95" in timings:
        scores = timings["ours structures"].result
        pairs = [(scores[label].dice, dice) for label, (dice, _) in timings["hd95"].result.items()]
        pairs += [(scores[label].hd95, hd95) for label, (_, hd95) in timings["hd95"].result.items()]
        found["hd95"] = largest_difference(pairs)
        for name in ("voxel", "surfel"):
            pairs = [(getattr(scores[label], f"nsd_{name}"), nsd) for label, nsd in timings[name].result.items()]
            found[name] = largest_difference(pairs)
    return found


def largest_difference(pairs: list[tuple[float | None, float]]) -> float:
    """None is what the official way calls NaN."""
    return max(
        (0.0 if math.isnan(official) else math.inf) if ours is None else abs(ours - official)
        for ours, official in pairs
    )


def speed_table(timings: dict[str, Timing], comparable: bool, title: str) -> Table:
    """One row per group of metrics; the official seconds of a group are the sum of its parts."""
    rows = {"image metrics": ("ours image", ["image"])}
    if "hd95" in timings:
        rows["Dice + HD95"] = ("ours structures", ["hd95"])
        rows["Dice + HD95 + nsd_voxel"] = ("ours structures", ["hd95", "voxel"])
        rows["Dice + HD95 + nsd_voxel + nsd_surfel"] = ("ours structures", ["hd95", "voxel", "surfel"])
    largest = differences(timings)
    processors = len(os.sched_getaffinity(0))
    caption = (
        f"anchor: official seconds of an earlier run on a quiet machine of 2 processors. Gaps come from first touches "
        f"of memory (system seconds) and from other work: load {os.getloadavg()[0]:.1f} on {processors} processors."
    )
    table = Table(title=title, caption=caption)
    table.add_column("metrics")
    for heading in ("official s", "(system)", "ours s", "(system)", "ratio", "largest diff.", "anchor s", "gap %"):
        table.add_column(heading, justify="right")
    for name, (ours, parts) in rows.items():
        seconds = sum(timings[part].seconds for part in parts)
        anchored = comparable and all(part in ANCHORS for part in parts)
        anchor = sum(ANCHORS[part] for part in parts) if anchored else math.nan
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{sum(timings[part].system_seconds for part in parts):.2f}",
            f"{timings[ours].seconds:.3f}",
            f"{timings[ours].system_seconds:.3f}",
            f"{seconds / timings[ours].seconds:.1f}",
            f"{max(largest[part] for part in parts):.1e}",
            f"{anchor:.1f}" if anchored else "-",
            f"{100 * (seconds / anchor - 1):+.0f}" if anchored else "-",
        )
    return table


def run_part(name: str, cases: str, labels: int) -> None:
    """One piece of work alone in this process: what its peak adds, and the seconds of a first call."""
    case = make_reference_case(SCALES[cases])
    work = works(case, LABELS[:labels], structures=True)[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timing = Timing()
    timing.run(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "seconds": timing.seconds,
        "before": before * 1024,
        "peak": peak * 1024,
        "compiled": "numba" in sys.modules,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def in_fresh_process(part: str, cases: str, labels: int, **environment: str) -> str:
    """Run this file for one part; return what it wrote. Its peak counts what this process holds: run it early."""
    command = [sys.executable, __file__, "--part", part, "--cases", cases, "--labels", str(labels)]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{part} ended with {result.returncode}: {result.stderr.strip()[-500:]}")
    return result.stdout


def alone_table(cases: str, labels: int, names: list[str]) -> Table:
    """Peak memory and first call of each piece of work."""
    table = Table(title="each alone in a fresh process, with an empty compile cache")
    for heading in ("work", "peak RSS, MB", "of it added to the case, MB", "first call s", "compiled kernels"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            found = json.loads(in_fresh_process(name, cases, labels, NUMBA_CACHE_DIR=cache))
            kernels = "used" if found["compiled"] and any(Path(cache).iterdir()) else "none: nothing is compiled"
        added = (found["peak"] - found["before"]) / 1e6
        table.add_row(name, f"{found['peak'] / 1e6:.0f}", f"{added:.0f}", f"{found['seconds']:.2f}", kernels)
    return table


def write_case(case: ReferenceCase, folder: Path) -> None:
    """Write the case as compressed .mha, as ground truth and predictions with their segmentations."""
    import SimpleITK as sitk

    lookup: official_way.Array = np.array([0, *ANATOMY[: len(LABELS)]], np.uint8)
    volumes: dict[str, official_way.Array] = {
        f"truth/ct/{CASE_ID}.mha": case.reference,
        f"truth/mask/{CASE_ID}.mha": case.mask,
        f"truth/segmentation/{CASE_ID}.mha": lookup[case.reference_labels],
        f"predictions/{CASE_ID}.mha": case.prediction,
        f"labels/{CASE_ID}.mha": lookup[case.prediction_labels],
    }
    for name, voxels in volumes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(SPACING_ZYX[::-1])
        sitk.WriteImage(image, str(folder / name), useCompression=True)


def command_note(cases: str, repeats: int) -> str:
    """Seconds and peak of `synthct evaluate` from its start to its end, with segmentations given."""
    runs = []
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as log:
        in_fresh_process(f"{WRITE}{name}", cases, len(LABELS))
        command = [str(Path(sys.executable).with_name("synthct")), "evaluate", f"{name}/predictions", f"{name}/truth"]
        for repeat in range(repeats):
            arguments = [*command, f"{name}/out{repeat}", "--segmenter", f"precomputed:{name}/labels"]
            start = time.perf_counter()
            child = subprocess.Popen(arguments, stdout=log, stderr=log)
            _, status, usage = os.wait4(child.pid, 0)  # of it and every process that it waited for, the largest
            runs.append((time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6))
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                log.seek(0)
                last = (log.read().strip().splitlines() or ["no message"])[-1]
                return f"synthct evaluate is left out, it ended with {child.returncode}: {last}"
        row = json.loads(Path(name, "out0", "metrics.json").read_text())["results"][0]
    seconds, peak = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
    shown = ", ".join(f"{key} {row[key]:.4f}" for key in ("mae", "psnr", "ms_ssim", "DICE", "HD95") if row.get(key))
    return (
        f"scoring without segmentation, whole command (compressed .mha, segmentations given): {seconds:.2f} s, "
        f"largest process {peak:.0f} MB; {shown}"
    )


def main(
    cases: Annotated[Literal["small", "reference"], typer.Option(help="Size of the case.")] = "reference",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    labels: Annotated[int, typer.Option(min=1, max=len(LABELS), help="Only the N largest structures.")] = len(LABELS),
    skip_structures: Annotated[bool, typer.Option("--skip-structures", help="Image metrics only.")] = False,
    part: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if part.startswith(WRITE):
        write_case(make_reference_case(SCALES[cases]), Path(part.removeprefix(WRITE)))
    elif part:
        run_part(part, cases, labels)
    else:
        report(cases, repeats, labels, skip_structures)


def report(cases: str, repeats: int, labels: int, skip_structures: bool) -> None:
    """All measurements; those of fresh processes first, as long as this one is small."""
    console = Console(width=160)
    names = ["image", "ours image"] + ([] if skip_structures else ["ours structures"])
    console.print(alone_table(cases, labels, names))
    console.print(command_note(cases, repeats), soft_wrap=True)
    case = make_reference_case(SCALES[cases])
    work = works(case, LABELS[:labels], not skip_structures)
    timings = {name: Timing() for name in work}
    for _ in range(repeats):
        for name, timing in timings.items():
            timing.run(work[name])
    shape = " x ".join(map(str, case.mask.shape[::-1]))
    title = f"{shape} voxels, {labels} structures, median of {repeats}"
    console.print(speed_table(timings, cases == "reference" and labels == len(LABELS), title))


if __name__ == "__main__":
    typer.run(main)
