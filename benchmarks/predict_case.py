"""Seconds and peak memory of `synthct predict` on the largest case of a data set, the yardstick beside the network.

    python benchmarks/predict_case.py ../shared/data/sts/Task1 --repeats 3

Whole processes are measured: start, imports, reading, the network, writing. Both algorithms run in turn, so that the
ratio is of one run on one machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from synthct.dataset import CaseFiles, find_cases
from synthct.header import read_header

ALGORITHMS = ("pix2pix-pelvis", "lookup-table")
PROGRAM = "from synthct.cli import main; main()"


def voxels(files: CaseFiles) -> int:
    x, y, z = read_header(files.image).size
    return x * y * z


def measure(algorithm: str, folder: Path) -> tuple[float, float]:
    """Run one prediction; return (seconds, peak memory in MB) of its process."""
    with tempfile.TemporaryDirectory() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "predict", algorithm, str(folder), output, "--starter"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    if status:
        raise typer.Exit(1)
    return seconds, usage.ru_maxrss / 1024


def main(data: Path, repeats: Annotated[int, typer.Option(min=1)] = 3) -> None:
    largest = max(find_cases(data), key=voxels)
    size = " x ".join(str(edge) for edge in read_header(largest.image).size)
    table = Table(title=f"{largest.id}, {size} voxels, {torch.get_num_threads()} threads, best of {repeats}")
    for column in ("algorithm", "seconds", "ratio", "peak memory (MB)"):
        table.add_column(column, justify="right")
    runs = {name: [measure(name, largest.image.parent) for _ in range(repeats)] for name in ALGORITHMS}
    base = min(seconds for seconds, _ in runs["lookup-table"])
    for name, results in runs.items():
        seconds, memory = min(result[0] for result in results), max(result[1] for result in results)
        table.add_row(name, f"{seconds:.1f}", f"{seconds / base:.1f}", f"{memory:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
