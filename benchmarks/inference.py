"""Patch inference beside MONAI's SlidingWindowInferer and nnU-Net's predictor: seconds and HU.

    python -m benchmarks.inference speed --repeats 2
    python -m benchmarks.inference starter ../shared/data/sts/Task1 --case 1EXA017

speed: the 57 M parameter residual U-Net of paper 002 with RANDOM weights on windows from the middle of the reference
case; its output is scaled to a standard deviation of 400 HU, as a CT's z-score would be. The same windows, threads and
Gaussian weights for all; rows run in turn, each in a process of its own, so that the ratios are of one machine in one
state. On a machine that others use, CPU seconds of `--threads 1` are the steadier figure. Then the shipped mode with
and without skipping: three and a half windows in a row, a slim body in the middle that fills 42 % of them, so that the
outermost two of six windows lie wholly outside. Another body has another share; what counts is the time beside it.
starter: what precision does to HU with trained weights, those of pix2pix-pelvis' starter.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
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

Triple = tuple[int, int, int]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Run = Callable[[], Floats]
Timed = tuple[tuple[float, float], Floats]
"""Seconds and CPU seconds, and the output."""

Measured = tuple[dict[str, tuple[float, float]], dict[str, Floats]]

CT_MEAN, CT_STD = -50.0, 400.0
AIR = -1000.0
BODY_SHARE = 0.42
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


def monai_run(network: nn.Module, image: Floats, patch: Triple, *, bf16: bool = False) -> Run:
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(patch, sw_batch_size=1, overlap=0.5, mode="gaussian", sigma_scale=0.125)

    def run() -> Floats:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            output: Any = inferer(torch.from_numpy(image)[None, None], network)
        return np.asarray(output[0, 0].float().numpy())

    return run


def nnunet_run(network: nn.Module, image: Floats, patch: Triple) -> Run:
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
    patch: Triple,
    precision: Precision = "auto",
    wanted: Bools | None = None,
    batch: int | None = None,
) -> Run:
    engine, settings = Engine(CPU, precision=precision, batch=batch), SweepSettings(patch=patch)
    return lambda: engine.sweep(network, image, settings, wanted=wanted).values


def timed(run: Run) -> Timed:
    began, busy = time.perf_counter(), time.process_time()
    output = run()
    return (time.perf_counter() - began, time.process_time() - busy), output


SHIPPED = "SynthCT, fp32 (shipped)"
ROWS: dict[str, Callable[[nn.Module, Floats, Triple], Run]] = {
    "MONAI, fp32": monai_run,
    "nnU-Net, fp32": nnunet_run,
    "MONAI, fp32, channels-last": lambda *window: monai_run(channels_last(window[0]), *window[1:]),
    SHIPPED: engine_run,
    "SynthCT, fp32, batch 2": partial(engine_run, batch=2),
    "MONAI, bf16, channels-last": lambda *window: monai_run(channels_last(window[0]), *window[1:], bf16=True),
    "SynthCT, bf16": partial(engine_run, precision="bf16"),
}
SKIPPING = "SynthCT, fp32, + skipping"


def run_apart(folder: Path, name: str, patch: Triple, threads: int) -> Timed:
    """Run a row in a process of its own: what one leaves in memory must not help another."""
    arguments = ["row", str(folder), name, *map(str, patch), str(threads)]
    subprocess.run([sys.executable, "-m", "benchmarks.inference", *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, busy = np.load(folder / "seconds.npy")
    return (float(wall), float(busy)), np.load(folder / "output.npy")


@app.command(hidden=True)
def row(folder: Path, name: str, patch: Triple, threads: int) -> None:
    """One of the processes that `speed` measures."""
    torch.set_num_threads(threads)
    window = (residual_unet(), np.load(folder / "image.npy"), patch)
    wanted = np.load(folder / "mask.npy") if name == SKIPPING else None
    seconds, output = timed(ROWS[name](*window) if wanted is None else engine_run(*window, wanted=wanted))
    np.save(folder / "seconds.npy", seconds)
    np.save(folder / "output.npy", output)


def measure(runs: Mapping[str, Callable[[], Timed]], repeats: int) -> Measured:
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


def measure_apart(
    hu: npt.NDArray[Any], mask: Bools, rows: tuple[str, ...], patch: Triple, repeats: int, threads: int
) -> Measured:
    """Measure rows on one volume in HU, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "image.npy", np.ascontiguousarray((hu - CT_MEAN) / CT_STD, np.float32))
        np.save(folder / "mask.npy", mask)
        return measure({row: partial(run_apart, folder, row, patch, threads) for row in rows}, repeats)


def middle(volume: npt.NDArray[Any], edges: tuple[int, ...]) -> npt.NDArray[Any]:
    """The middle of a volume, so many voxels long along each axis."""
    pairs = zip(volume.shape, edges, strict=True)
    return volume[tuple(slice((size - edge) // 2, (size + edge) // 2) for size, edge in pairs)]


def slim_body(shape: tuple[int, ...]) -> Bools:
    """A body that lies along y in the middle of x, as a limb does, and fills its share of a volume (z, y, x)."""
    mask = np.zeros(shape, np.bool_)
    middle(mask, (*shape[:2], round(BODY_SHARE * shape[2])))[...] = True
    return mask


def show(title: str, measured: Measured, mask: Bools, hu_per_unit: float, base: str) -> None:
    seconds, outputs = measured
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
    patch: Annotated[Triple, typer.Option(help="z y x")] = (32, 128, 128),
    across: Annotated[int, typer.Option(min=1, help="Windows, side by side along x.")] = 3,
    repeats: Annotated[int, typer.Option(min=1)] = 2,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Seconds and HU on the reference case."""
    torch.set_num_threads(threads)
    case = make_reference_case()
    edges = (patch[0], patch[1], patch[2] * (across + 1) // 2)
    mask = middle(case.mask, edges) > 0
    measured = measure_apart(middle(case.reference, edges), mask, tuple(ROWS), patch, repeats, threads)
    base = "MONAI, fp32"
    title = f"{across} windows of {patch}, {mask.mean():.0%} mask, {threads} threads, best of {repeats}"
    show(title, measured, mask, CT_STD / float(measured[1][base][mask].std()), base)
    speed_of_skipping(case.reference, patch, repeats, threads)
    table = Table("patch", "step", "windows", "skipped", title="skipping: windows of the whole reference case")
    for size in (patch, (32, 64, 64), (64, 64, 64), (32, 224, 224)):
        plan = Planner(case.reference.shape, SweepSettings(patch=size), case.mask > 0).plan()
        table.add_row(str(size), "0.5", str(len(plan.starts) + plan.skipped), str(plan.skipped))
    Console(width=130).print(table)


def speed_of_skipping(hu: npt.NDArray[Any], patch: Triple, repeats: int, threads: int) -> None:
    """The shipped mode with every window, and with those alone that touch a slim body."""
    edges = (patch[0], patch[1], min(patch[2] * 7 // 2, hu.shape[2]))
    mask = slim_body(edges)
    body = np.where(mask, middle(hu, edges), AIR)
    measured = measure_apart(body, mask, (SHIPPED, SKIPPING), patch, repeats, threads)
    plan = Planner(edges, SweepSettings(patch=patch), mask).plan()
    windows = len(plan.starts) + plan.skipped
    title = f"{plan.skipped} of {windows} windows ({plan.skipped / windows:.0%}) of {patch} lie outside the mask of "
    title += f"{mask.mean():.0%} of {edges}"
    show(title, measured, mask, CT_STD / float(measured[1][SHIPPED][mask].std()), SHIPPED)


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
        SHIPPED: engine_run(network(), image, patch),
        "SynthCT, bf16": engine_run(network(), image, patch, "bf16"),
        "SynthCT, fp32, skipping": engine_run(network(), image, patch, wanted=mask),
    }
    measured = measure({row: partial(timed, run) for row, run in runs.items()}, repeats)
    plan = Planner(mask.shape, SweepSettings(patch=patch), mask).plan()
    title = f"{case}, {mask.shape} voxels, {mask.mean():.0%} mask; {plan.skipped} windows of "
    title += f"{plan.skipped + len(plan.starts)} skipped"
    show(title, measured, mask, config.ct.scale, SHIPPED)


if __name__ == "__main__":
    app()
