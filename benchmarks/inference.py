"""Patch inference beside MONAI's SlidingWindowInferer and nnU-Net's predictor: seconds and HU.

    python -m benchmarks.inference speed --repeats 2
    python -m benchmarks.inference starter --data ../shared/data/sts/Task1 --case 1EXA017

speed: the 57 M parameter residual U-Net of paper 002 with RANDOM weights on windows from the middle of the reference
case; its output is scaled to a standard deviation of 400 HU, as a CT's z-score would be. The same windows, threads and
Gaussian weights for all; rows run in turn, each in a process of its own, so that the ratios are of one machine in one
state. On a machine that others use, CPU seconds of `--threads 1` are the steadier figure.
starter: what precision does to HU with trained weights, those of pix2pix-pelvis' starter.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.reference_case import make_reference_case
from synthct.inference.engine import Engine, Precision
from synthct.inference.plan import Planner
from synthct.inference.settings import SweepSettings

Floats = npt.NDArray[np.float32]
Run = Callable[[], Floats]
Timed = tuple[tuple[float, float], Floats]
"""Seconds and CPU seconds, and the output."""

CT_MEAN, CT_STD = -50.0, 400.0
CPU = torch.device("cpu")
app = typer.Typer(help=(__doc__ or "").partition("\n")[0])


def residual_unet(seed: int = 0) -> nn.Module:
    """57.15 M parameters (ALGORITHMS 1.1), random weights."""
    from dynamic_network_architectures.architectures.unet import ResidualUNet

    torch.manual_seed(seed)
    network = ResidualUNet(
        1,
        6,
        [32, 64, 128, 256, 320, 320],
        nn.Conv3d,
        [[1, 3, 3], *[[3, 3, 3]] * 5],
        [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
        2,
        1,
        2,
        True,
        nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True},
        None,
        None,
        nn.LeakyReLU,
        {"inplace": True},
    )
    return network.eval()


def channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last_3d)


def monai_run(network: nn.Module, image: Floats, patch: tuple[int, int, int], *, bf16: bool = False) -> Run:
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(patch, sw_batch_size=1, overlap=0.5, mode="gaussian", sigma_scale=0.125)

    def run() -> Floats:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            output: Any = inferer(torch.from_numpy(image)[None, None], network)
        return np.asarray(output[0, 0].float().numpy())

    return run


def nnunet_run(network: nn.Module, image: Floats, patch: tuple[int, int, int]) -> Run:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(0.5, True, False, perform_everything_on_device=False, device=CPU, allow_tqdm=False)
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=patch)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=1)

    def run() -> Floats:
        output: Any = predictor.predict_sliding_window_return_logits(torch.from_numpy(image)[None])
        return np.asarray(output[0].float().numpy())

    return run


def engine_run(
    network: nn.Module,
    image: Floats,
    patch: tuple[int, int, int],
    precision: Precision = "auto",
    wanted: npt.NDArray[np.bool_] | None = None,
    batch: int | None = None,
) -> Run:
    engine, settings = Engine(CPU, precision=precision, batch=batch), SweepSettings(patch=patch)
    return lambda: engine.sweep(network, image, settings, wanted=wanted).values


def timed(run: Run) -> Timed:
    began, busy = time.perf_counter(), time.process_time()
    output = run()
    return (time.perf_counter() - began, time.process_time() - busy), output


ROWS: dict[str, Callable[[nn.Module, Floats, tuple[int, int, int]], Run]] = {
    "MONAI, fp32": monai_run,
    "nnU-Net, fp32": nnunet_run,
    "MONAI, fp32, channels-last": lambda *window: monai_run(channels_last(window[0]), *window[1:]),
    "SynthCT, fp32 (shipped)": engine_run,
    "SynthCT, fp32, batch 2": partial(engine_run, batch=2),
    "MONAI, bf16, channels-last": lambda *window: monai_run(channels_last(window[0]), *window[1:], bf16=True),
    "SynthCT, bf16": partial(engine_run, precision="bf16"),
}


def run_apart(folder: Path, name: str, patch: tuple[int, int, int], threads: int) -> Timed:
    """Run a row in a process of its own: what one leaves in memory must not help another."""
    arguments = ["row", str(folder), name, *map(str, patch), str(threads)]
    subprocess.run([sys.executable, "-m", "benchmarks.inference", *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, busy = np.load(folder / "seconds.npy")
    return (float(wall), float(busy)), np.load(folder / "output.npy")


@app.command(hidden=True)
def row(folder: Path, name: str, patch: tuple[int, int, int], threads: int) -> None:
    """One of the processes that `speed` measures."""
    torch.set_num_threads(threads)
    seconds, output = timed(ROWS[name](residual_unet(), np.load(folder / "image.npy"), patch))
    np.save(folder / "seconds.npy", seconds)
    np.save(folder / "output.npy", output)


def measure(
    runs: dict[str, Callable[[], Timed]], repeats: int
) -> tuple[dict[str, tuple[float, float]], dict[str, Floats]]:
    """Best seconds, best CPU seconds, and output of each row; the rows run in turn."""
    seconds: dict[str, tuple[float, float]] = {}
    outputs: dict[str, Floats] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            taken, outputs[name] = run()
            before = seconds.get(name, taken)
            seconds[name] = (min(before[0], taken[0]), min(before[1], taken[1]))
            typer.echo(f"{name}: {taken[0]:.1f} s, {taken[1]:.1f} CPU s", err=True)
    return seconds, outputs


def show(
    title: str,
    seconds: dict[str, tuple[float, float]],
    outputs: dict[str, Floats],
    mask: npt.NDArray[np.bool_],
    hu_per_unit: float,
    base: str,
) -> None:
    table = Table(title=title)
    for column in ("row", "seconds", "CPU seconds", "faster (CPU)", "mean |HU|", "99.9th pc. |HU|", "largest |HU|"):
        table.add_column(column, justify="left" if column == "row" else "right")
    for name, output in outputs.items():
        difference = np.abs(output - outputs[base])[mask] * hu_per_unit
        figures = (difference.mean(), np.percentile(difference, 99.9), difference.max())
        wall, busy = seconds[name]
        faster = (f"{old / new:.2f}" for old, new in zip(seconds[base], seconds[name], strict=True))
        speed = "{} ({})".format(*faster)
        table.add_row(name, f"{wall:.1f}", f"{busy:.1f}", speed, *(f"{figure:.3f}" for figure in figures))
    Console(width=130).print(table)


@app.command()
def speed(
    patch: Annotated[tuple[int, int, int], typer.Option(help="z y x")] = (32, 128, 128),
    across: Annotated[int, typer.Option(min=1, help="Windows, side by side along x.")] = 3,
    repeats: Annotated[int, typer.Option(min=1)] = 2,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Seconds and HU on the reference case."""
    torch.set_num_threads(threads)
    case = make_reference_case()
    shape = (150, 512, 512)
    edges = (patch[0], patch[1], patch[2] * (across + 1) // 2)
    box = tuple(slice((size - edge) // 2, (size + edge) // 2) for size, edge in zip(shape, edges, strict=True))
    image = np.ascontiguousarray((case.reference[box] - CT_MEAN) / CT_STD, np.float32)
    mask = case.mask[box] > 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "image.npy", image)
        runs = {row: partial(run_apart, folder, row, patch, threads) for row in ROWS}
        seconds, outputs = measure(runs, repeats)
    base = "MONAI, fp32"
    show(
        f"{across} windows of {patch}, {mask.mean():.0%} mask, {threads} threads, best of {repeats}",
        seconds,
        outputs,
        mask,
        CT_STD / float(outputs[base][mask].std()),
        base,
    )
    table = Table("patch", "step", "windows", "skipped", title="skipping: windows of the whole reference case")
    for size in (patch, (32, 64, 64), (64, 64, 64), (32, 224, 224)):
        plan = Planner(shape, SweepSettings(patch=size), case.mask > 0).plan()
        table.add_row(str(size), "0.5", str(len(plan.starts) + plan.skipped), str(plan.skipped))
    Console(width=130).print(table)


@app.command()
def starter(data: Path, case: str = "1EXA017", repeats: int = 1, threads: int = 2) -> None:
    """Seconds and HU with the trained weights of pix2pix-pelvis' starter."""
    import algorithms.pix2pix_pelvis as package
    from algorithms.pix2pix_pelvis.network import UNetGenerator
    from algorithms.pix2pix_pelvis.predictor import ModelConfig
    from synthct.dataset import find_cases, load_case
    from synthct.weights import load_tensors, open_model

    torch.set_num_threads(threads)
    model = open_model(Path(str(package.__file__)).parent / "starter")
    config = ModelConfig.model_validate(model.card.config)
    patch = config.sweep.patch
    loaded = load_case(next(files for files in find_cases(data) if files.id == case))
    image = config.image.apply(loaded.image.voxels)
    mask = loaded.mask.voxels > 0

    def network() -> nn.Module:
        generator = UNetGenerator(config.network)
        generator.load_state_dict(load_tensors(model))
        return generator.float().eval()

    runs = {
        "MONAI, fp32": monai_run(network(), image, patch),
        "nnU-Net, fp32": nnunet_run(network(), image, patch),
        "SynthCT, fp32 (shipped)": engine_run(network(), image, patch),
        "SynthCT, bf16": engine_run(network(), image, patch, "bf16"),
        "SynthCT, fp32, skipping": engine_run(network(), image, patch, wanted=mask),
    }
    seconds, outputs = measure({row: partial(timed, run) for row, run in runs.items()}, repeats)
    plan = Planner(mask.shape, SweepSettings(patch=patch), mask).plan()
    title = f"{case}, {mask.shape} voxels, {mask.mean():.0%} mask; {plan.skipped} windows of "
    title += f"{plan.skipped + len(plan.starts)} skipped"
    show(title, seconds, outputs, mask, config.ct.scale, "SynthCT, fp32 (shipped)")


if __name__ == "__main__":
    app()
