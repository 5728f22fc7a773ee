"""Full-size networks with RANDOM weights on this machine: one training step, one prediction of a whole case.

    python -m benchmarks.full_size step       nnresunet-afp: batch 1, patch of the 3 x 1 x 1 mm plan, bf16 on a CPU, L1
    python -m benchmarks.full_size predict    nnresunet-afp: 512 x 512 x 100, step 0.5, a simulated body (to an hour)
    python -m benchmarks.full_size predict --algorithm pix2pix-pelvis --preset full --threads 1 --share 0.08

A prediction goes through the algorithm's own predictor, from a model folder and files on disk, in a process of its own,
whose peak memory is told. `--share` leaves a part of the mask, so that fewer windows are swept; the volume stays whole.
The time of all windows is then projected. Random weights say nothing of quality.
"""

from __future__ import annotations

import importlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
import typer

from algorithms.interface import About, find_algorithm, load_predictor
from algorithms.nnresunet_afp.predictor import ModelConfig
from algorithms.presets import parse_settings, read_preset
from synthct.anatomy import Region
from synthct.dataset import Case
from synthct.inference.channels_last import lay_channels_last
from synthct.inference.engine import Engine, choose_device
from synthct.inference.plan import Planner
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.losses.pixel import masked_l1
from synthct.networks.state import own_tensors
from synthct.networks.unet import UNetPlan, build_unet
from synthct.phantom import make_phantom
from synthct.volume import Geometry, Volume, read_volume, write_volume
from synthct.weights import open_model, save_model

app = typer.Typer(help="Full-size networks' time and memory.", no_args_is_help=True)
PATCH = (56, 160, 224)
"""ALGORITHMS 1.4, abdomen."""
SHAPE = (100, 512, 512)
CT = ZScore(mean=0.0, std=400.0, low=-1024, high=3071)
NNRESUNET = "nnresunet-afp"
PELVIS_SIZE, PELVIS_SPACING = (400, 300, 150), (1.0, 1.0, 2.5)
"""SynthRAD2023's pelvis: voxels and mm, x, y, z."""
FIGURES = "figures.json"
Mask = npt.NDArray[np.uint8]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=1)]


class SweptModel(Protocol):
    """What model.json holds for an algorithm that sweeps windows."""

    @property
    def sweep(self) -> SweepSettings: ...

    def model_dump(self, *, mode: Literal["json"]) -> dict[str, Any]: ...


def train_step(device: str) -> dict[str, Any]:
    """Seconds of the second step: the first pays for what is set up once."""
    engine = Engine(choose_device(device))
    network = build_unet(UNetPlan()).to(engine.device)
    lay_channels_last(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    image, reference, weight = (torch.randn(1, 1, *PATCH, device=engine.device) for _ in range(3))
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast(engine.device.type, torch.bfloat16):
            predicted = network(image)
        loss = masked_l1(predicted.float(), reference, (weight > 0).float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return {"first_s": seconds[0], "second_s": seconds[1], "loss": float(loss.detach()), "peak_gb": peak}


def untrained_model(about: About, preset: str | None) -> tuple[SweptModel, torch.nn.Module]:
    """What model.json would hold of a preset, and its network, drawn from a seed.

    nnresunet-afp's presets leave the network to the data; here it is that of the plan for 3 x 1 x 1 mm.
    """
    torch.manual_seed(0)
    if about.name == NNRESUNET:
        if preset is not None:
            raise typer.BadParameter(f"{about.name} is measured with one plan; expected no --preset")
        sweep = SweepSettings(patch=PATCH, step=0.5, merging="mean")
        config = ModelConfig(network=UNetPlan(), sweep=sweep, spacing=(3.0, 1.0, 1.0), image=CaseZScore(), ct=CT)
        return config, build_unet(config.network)
    recipe, predictor = (importlib.import_module(f"{about.module}.{name}") for name in ("recipe", "predictor"))
    if not (hasattr(recipe, "model_config") and hasattr(predictor, "build")):
        raise typer.BadParameter(f"{about.name} offers no recipe.model_config and predictor.build to be built by")
    made: SweptModel = recipe.model_config(parse_settings(recipe.SETTINGS, read_preset(about, preset)))
    return made, predictor.build(made)


def ellipse() -> tuple[Volume, Volume]:
    """Image and mask of an elliptic body of noise that fills 42 % of the field of view, as ANCHORS' reference case."""
    geometry = Geometry(SHAPE[::-1], (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[1]), np.linspace(-1, 1, SHAPE[2]), indexing="ij")
    inside = (x / 0.85) ** 2 + (y / 0.63) ** 2 <= 1
    mask = np.broadcast_to(inside, SHAPE).astype(np.uint8)
    values = np.random.default_rng(0).integers(0, 1000, SHAPE, dtype=np.int16) * mask.astype(np.int16)
    return Volume(values, geometry), Volume(mask, geometry)


def body_of(about: About) -> tuple[Volume, Volume]:
    """Image and mask: a whole pelvis of the embedded phantoms, or the ellipse."""
    if Region.PELVIS not in about.regions:
        return ellipse()
    phantom = make_phantom("pelvis", size=PELVIS_SIZE, spacing=PELVIS_SPACING)
    return phantom.image, phantom.mask


def part_of(mask: Mask, share: float) -> Mask:
    """Return the first slices of a mask, a share of them, and the first columns of what lies there; 1 keeps all."""
    kept = mask.copy()
    for axis in (0, 2):
        along = np.moveaxis(kept, axis, 0)
        filled = np.flatnonzero(along.any(axis=(1, 2)))
        along[filled[0] + math.ceil(share * (filled[-1] - filled[0] + 1)) :] = 0
    return kept


def write_inputs(
    folder: Path, about: About, config: SweptModel, network: torch.nn.Module, body: tuple[Volume, Volume], share: float
) -> None:
    """Write model folder, image, mask and the number of windows that the whole mask asks for."""
    image, mask = body
    save_model(
        folder / "model",
        own_tensors(network),
        half=False,
        algorithm=about.name,
        tasks=about.tasks,
        regions=about.regions,
        trained_on="nothing: RANDOM weights",
        config=config.model_dump(mode="json"),
    )
    write_volume(image, folder / "mr.mha")
    write_volume(mask.with_voxels(part_of(mask.voxels, share)), folder / "mask.mha")
    plan = Planner(image.voxels.shape, config.sweep, mask.voxels > 0).plan()
    figures = {"windows": len(plan.starts), "placed": len(plan.starts) + plan.skipped, "share": share}
    (folder / FIGURES).write_text(json.dumps(figures), encoding="utf-8")


def predict_case(folder: Path, device: str) -> dict[str, Any]:
    """Predict what `write_inputs` wrote; memory is this process's resident set."""
    before = memory_gb("VmRSS")
    model = open_model(folder / "model")
    about = find_algorithm(model.card.algorithm)
    image, mask = (read_volume(folder / f"{name}.mha") for name in ("mr", "mask"))
    case = Case("whole", about.tasks[0], about.regions[0], image, mask)
    predictor = load_predictor(about, model, Engine(choose_device(device)))
    began = time.perf_counter()
    swept = predictor.predict(case).notes["sweep"]
    seconds, peak = time.perf_counter() - began, memory_gb("VmHWM")
    row = {"voxels": int(image.voxels.size), "seconds": seconds, **swept, "peak_gb": peak, "beyond_gb": peak - before}
    whole = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    if whole["share"] < 1 and whole["placed"] == swept["windows"] + swept["skipped"]:
        row["windows_of_the_whole_case"] = whole["windows"]
        row["PROJECTED_seconds_of_the_whole_case"] = seconds * whole["windows"] / swept["windows"]
    return row


def memory_gb(what: str) -> float:
    """Memory of this process as Linux tells it: VmRSS is now, VmHWM the most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in status if line.startswith(f"{what}:")).split()[1]) / (1 << 20)


@app.command(hidden=True)
def inner(device: str, threads: int, folder: Path | None = None) -> None:
    """One measurement, in this process."""
    torch.set_num_threads(threads)
    row = train_step(device) if folder is None else predict_case(folder, device)
    sys.stdout.write(json.dumps(row, default=str) + "\n")


@app.command()
def step(device: Device = "cpu", threads: Threads = 2) -> None:
    """One training step."""
    _report("step", device, threads)


@app.command()
def predict(
    algorithm: Annotated[
        str, typer.Option(help="An algorithm whose recipe and predictor build a network.")
    ] = NNRESUNET,
    preset: Annotated[str | None, typer.Option(help="Its first where none is named.")] = None,
    device: Device = "cpu",
    threads: Threads = 2,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Part of the mask's slices and columns.")] = 1.0,
) -> None:
    """One prediction."""
    about = find_algorithm(algorithm)
    config, network = untrained_model(about, preset)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), about, config, network, body_of(about), share)
        _report(f"{algorithm} {preset or ''} (RANDOM weights)".replace("  ", " "), device, threads, folder)


def _report(what: str, device: str, threads: int, *folder: str) -> None:
    options = [f"--folder={path}" for path in folder]
    call = [sys.executable, "-m", "benchmarks.full_size", "inner", device, str(threads), *options]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        raise typer.Exit(1)
    row = json.loads(done.stdout.splitlines()[-1])
    told = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
    sys.stdout.write(f"{what}: {', '.join(told)}\n")


if __name__ == "__main__":
    app()
