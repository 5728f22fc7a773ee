"""MAE, PSNR and MS-SSIM of one case: ours beside a plain implementation of the same text (CONTRACT 3.2).

    python benchmarks/image_metrics.py [--quick] [--repeats N] [--dtype int16|float32]

Each implementation runs in a process of its own; the memory is what its peak adds to the process that already holds
the case. The time is the shortest of the repeats.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from evaluation.metrics import image_similarity

Array = npt.NDArray[Any]
LOW, HIGH = -1024.0, 3071.0
FULL, QUICK = (150, 512, 512), (40, 160, 160)


@dataclass(frozen=True)
class Measurement:
    """Shortest time in seconds, memory added at the peak in bytes, and (mae, psnr, ms_ssim)."""

    seconds: float
    memory: int
    values: tuple[float, float, float]


def make_case(shape: tuple[int, int, int], dtype: str) -> tuple[Array, Array, Array]:
    """A smooth body with noise in an elliptic cylinder that fills 42 % of the volume; made plane by plane."""
    rng = np.random.default_rng(0)
    reference, prediction = np.empty(shape, dtype), np.empty(shape, dtype)
    mask = np.zeros(shape, np.uint8)
    y, x = np.ogrid[: shape[1], : shape[2]]
    body = ((y / shape[1] - 0.5) / 0.32) ** 2 + ((x / shape[2] - 0.5) / 0.418) ** 2 < 1
    for z in range(shape[0]):
        smooth = 500 * np.sin(x / 17) * np.cos(y / 23) + 200 * np.sin(z / 9)
        reference[z] = np.rint(smooth + rng.integers(-80, 80, body.shape))
        prediction[z] = reference[z] + rng.integers(-60, 60, body.shape)
        mask[z] = body
    return reference, prediction, mask


def plain_image_similarity(g: Array, p: Array, mask: Array) -> tuple[float, float, float]:
    """CONTRACT 3.2 step by step, in float64 on whole volumes."""
    inside = mask > 0
    width = HIGH - LOW
    g, p = (np.where(inside, image.astype(np.float64), LOW) for image in (g, p))
    mae = float(np.abs(g - p)[inside].mean())
    g, p = np.clip(g, LOW, HIGH), np.clip(p, LOW, HIGH)
    psnr = float(10 * np.log10(width**2 / ((g - p) ** 2)[inside].mean()))
    return mae, psnr, plain_ms_ssim(g - LOW, p - LOW, inside, (0.01 * width) ** 2, (0.03 * width) ** 2)


def plain_ms_ssim(g: Array, p: Array, inside: Array, c1: float, c2: float) -> float:
    """Steps 2 to 6 of the masked MS-SSIM."""
    pads = [((97 - d) // 2, 97 - d - (97 - d) // 2) if d < 97 else (0, 0) for d in g.shape]
    g, p, inside = (np.pad(array, pads, mode="edge") for array in (g, p, inside))
    inner = (slice(3, -3),) * 3
    box = np.full((2, 2, 2), 1 / 8)
    result = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        mean_g, mean_p = uniform_filter(g, 7), uniform_filter(p, 7)
        var_g = 343 / 342 * (uniform_filter(g * g, 7) - mean_g * mean_g)
        var_p = 343 / 342 * (uniform_filter(p * p, 7) - mean_p * mean_p)
        covariance = 343 / 342 * (uniform_filter(g * p, 7) - mean_g * mean_p)
        product = np.sqrt(np.maximum(var_g, 0)) * np.sqrt(np.maximum(var_p, 0))
        luminance = np.maximum((2 * mean_g * mean_p + c1) / (mean_g**2 + mean_p**2 + c1), 0)
        contrast = np.maximum((2 * product + c2) / (var_g + var_p + c2), 0)
        structure = np.maximum((covariance + c2 / 2) / (product + c2 / 2), 0)
        similarity = (luminance * contrast * structure) ** weight
        result *= float(np.clip(similarity[inner][inside[inner]].mean(), 0, 1))
        g, p = (fftconvolve(image, box, mode="same")[::2, ::2, ::2] for image in (g, p))
        inside = inside[::2, ::2, ::2]
    return result


def our_image_similarity(g: Array, p: Array, mask: Array) -> tuple[float, float, float]:
    """The metrics of the evaluation."""
    mae, psnr, ms_ssim = astuple(image_similarity(g, p, mask, (LOW, HIGH)))
    return mae, psnr, ms_ssim


def measure(name: str, shape: tuple[int, int, int], dtype: str, repeats: int) -> Measurement:
    """Run one implementation in this process."""
    case = make_case(shape, dtype)
    run = {"plain": plain_image_similarity, "ours": our_image_similarity}[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        values = run(*case)
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measurement(seconds=min(seconds), memory=(after - before) * 1024, values=values)


def main(
    quick: Annotated[bool, typer.Option(help="A small volume, to see that the script works.")] = False,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    dtype: Annotated[str, typer.Option(help="Voxel type of both images.")] = "int16",
) -> None:
    """Time both implementations and compare their values."""
    shape = QUICK if quick else FULL
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, Measurement] = {}
    for name in ("plain", "ours"):
        with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as child:
            found[name] = child.submit(measure, name, shape, dtype, repeats).result()
    table = Table(title=f"image metrics, {' x '.join(map(str, shape))} {dtype}, mask 42 %, best of {repeats}")
    for heading in ("implementation", "seconds", "ratio", "added memory, MB", "mae", "psnr", "ms_ssim"):
        table.add_column(heading, justify="left" if heading == "implementation" else "right")
    plain = found["plain"]
    for name, one in found.items():
        cells = [f"{one.seconds:.2f}", f"{plain.seconds / one.seconds:.1f}", f"{one.memory / 1e6:.0f}"]
        table.add_row(name, *cells, *(f"{value:.10f}" for value in one.values))
    differences = (abs(a - b) for a, b in zip(plain.values, found["ours"].values, strict=True))
    table.add_row("difference", "", "", "", *(f"{value:.1e}" for value in differences))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
