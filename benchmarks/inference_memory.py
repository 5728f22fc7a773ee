"""Peak memory of whole processes for the median of 384 x 384 x 200 voxels, beside a naive stack of all predictions.

    python -m benchmarks.inference_memory measure

The network is a 1 x 1 x 1 convolution; a process that sweeps a single window tells what it takes by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.inference.windows import sliding_windows

CPU = torch.device("cpu")
SHAPE, PATCH = (200, 384, 384), (32, 224, 224)
app = typer.Typer(help=(__doc__ or "").partition("\n")[0])


@app.command()
def measure() -> None:
    """Peak memory of the median, and of the naive stack."""
    table = Table(
        "process", "peak (MB)", "above the network's own (MB)", "seconds", title=f"{SHAPE}, {PATCH}, step 0.5"
    )
    peaks = {}
    for name in ("one-window", "median-upper", "median-average", "gaussian", "naive-stack"):
        began = time.perf_counter()
        program = [sys.executable, "-m", "benchmarks.inference_memory", "child", name]
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        peaks[name] = usage.ru_maxrss / 1024
        above = f"{peaks[name] - peaks['one-window']:.0f}" if not status else "died"
        table.add_row(name, f"{peaks[name]:.0f}", above, f"{seconds:.0f}")
    Console(width=130).print(table)


@app.command(hidden=True)
def child(name: str) -> None:
    """One of the processes that `measure` measures."""
    network = nn.Conv3d(1, 1, 1).eval()
    rng = np.random.default_rng(0)
    if name == "one-window":
        Engine(CPU).sweep(network, rng.standard_normal(PATCH, np.float32), SweepSettings(patch=PATCH))
        return
    image = rng.standard_normal(SHAPE, np.float32)
    if name != "naive-stack":
        Engine(CPU).sweep(network, image, SweepSettings.model_validate({"patch": PATCH, "merging": name}))
        return
    stack: list[npt.NDArray[np.float32]] = []
    counts = np.zeros(SHAPE, np.int64)
    for start in sliding_windows(SHAPE, PATCH, 0.5):
        window = tuple(slice(first, first + edge) for first, edge in zip(start, PATCH, strict=True))
        with torch.inference_mode():
            output = network(torch.from_numpy(image[window].copy())[None, None])[0, 0].numpy()
        while len(stack) <= counts[window].max():
            stack.append(np.full(SHAPE, np.nan, np.float32))
        for layer, volume in enumerate(stack):
            place = counts[window] == layer
            volume[window][place] = output[place]
        counts[window] += 1
    torch.from_numpy(np.stack(stack)).nanmedian(dim=0)


if __name__ == "__main__":
    app()
