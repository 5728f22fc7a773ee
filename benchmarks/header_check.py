"""What the check before decoding costs beside the decoding itself, on a 512 x 512 x 150 CT, compressed.

    python benchmarks/header_check.py --repeats 5

Rows: reading the header alone, header and payload checked, SimpleITK's decoder. Ratios are of one run on one machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import SimpleITK as sitk
import typer
from rich.console import Console
from rich.table import Table

from synthct.header import check_file, read_header


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Return the shortest of several runs in seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main(repeats: Annotated[int, typer.Option(min=1)] = 5) -> None:
    smooth = np.linspace(-1000, 1000, 512 * 512 * 150).reshape(150, 512, 512)
    noise = np.random.default_rng(0).normal(0, 20, smooth.shape)
    with tempfile.TemporaryDirectory() as folder:
        table = Table(title=f"512 x 512 x 150 int16, best of {repeats}")
        for column in ("file", "read_header (ms)", "check_file (ms)", "decoder (ms)", "check / decoder"):
            table.add_column(column, justify="right")
        for suffix in (".mha", ".nii.gz", ".nrrd"):
            path = str(Path(folder) / f"ct{suffix}")
            sitk.WriteImage(sitk.GetImageFromArray((smooth + noise).astype(np.int16)), path, useCompression=True)
            header = best_of(repeats, lambda path=path: read_header(Path(path)))  # type: ignore[misc]
            check = best_of(repeats, lambda path=path: check_file(Path(path)))  # type: ignore[misc]
            decode = best_of(repeats, lambda path=path: sitk.ReadImage(path))  # type: ignore[misc]
            table.add_row(
                suffix, f"{header * 1e3:.2f}", f"{check * 1e3:.0f}", f"{decode * 1e3:.0f}", f"{check / decode:.2f}"
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
