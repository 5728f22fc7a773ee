"""Seconds and peak memory per stage of an evaluation with structures, with random weights of the real 3 mm network.

    python -m benchmarks.segmented_run --data ../shared/data/sts/Task1 --cases 10
    python -m benchmarks.segmented_run --cases 10                              # phantoms of the thorax

The sCT is the CT with smooth noise. Its scores and labels mean nothing; time and memory do not depend on them. The peak
is that of the whole process while a stage runs (Linux), the network that stays loaded included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks.random_network import write_random_checkpoint
from evaluation.metrics import image_similarity, structure_agreement
from evaluation.segmenters import open_segmenter
from evaluation.structures import STRUCTURE_NAMES
from synthct.dataset import find_cases, load_case
from synthct.phantom import make_phantom
from synthct.volume import Volume

STAGES = ("read", "segment", "image metrics", "structure metrics")


class Stages:
    """Seconds and peak memory in MB of each stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.peak = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began
        status = Path("/proc/self/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self.peak[name] = max(self.peak[name], int(peak.split()[1]) / 1024)


def read_pairs(data: Path | None, count: int, stages: Stages) -> Iterator[tuple[str, Volume, Volume]]:
    """Case id, CT, mask."""
    if data is None:
        for number in range(count):
            with stages.measured("read"):
                phantom = make_phantom("thorax", seed=number)
            yield f"1THA{number:03d}", phantom.reference, phantom.mask
        return
    for files in find_cases(data)[:count]:
        with stages.measured("read"):
            case = load_case(files)
        if case.reference is not None:
            yield case.id, case.reference, case.mask


def made_sct(ct: Volume, number: int) -> Volume:
    noise = gaussian_filter(np.random.default_rng(number).normal(0, 400, ct.voxels.shape), 1.5)
    return ct.with_voxels(np.clip(ct.voxels + noise, -1024, 3071).astype(np.int16))


def main(
    data: Annotated[Path | None, typer.Option(help="Data set root; phantoms where it is left out.")] = None,
    cases: Annotated[int, typer.Option(min=1)] = 10,
    device: str = "auto",
) -> None:
    stages = Stages()
    done, voxels = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder))
        segmenter = open_segmenter(f"totalsegmentator:{folder}", device=device)
        for name, ct, mask in read_pairs(data, cases, stages):
            sct = made_sct(ct, done)
            with stages.measured("segment"):
                reference = segmenter.segment_reference(ct, mask.voxels, None, case=name)
                labels = segmenter.segment(sct, mask.voxels, case=name)
            with stages.measured("image metrics"):
                image_similarity(ct.voxels, sct.voxels, mask.voxels)
            with stages.measured("structure metrics"):
                structure_agreement(reference, labels, STRUCTURE_NAMES, ct.spacing_zyx)
            done, voxels = done + 1, voxels + ct.voxels.size
    table = Table(
        title=f"{done} cases, {voxels / 1e6 / done:.1f} M voxels on average, {torch.get_num_threads()} threads"
    )
    for column in ("stage", "seconds per case", "share", "peak memory (MB)"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    total = sum(stages.seconds.values())
    for name in STAGES:
        seconds = stages.seconds[name]
        table.add_row(name, f"{seconds / done:.2f}", f"{seconds / total:.1%}", f"{stages.peak[name]:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
