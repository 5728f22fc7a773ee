"""nnresunet-afp at full size on this machine: one training step, one prediction of 512 x 512 x 100 voxels.

    python -m benchmarks.full_size step       batch 1, patch of the 3 x 1 x 1 mm plan, bf16 on the CPU, L1
    python -m benchmarks.full_size predict    random weights, step 0.5, a simulated body (minutes to an hour on a CPU)

Each runs in a process of its own, whose peak memory is told. Random weights say nothing of quality.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
import typer

from algorithms.nnresunet_afp.predictor import AfpPredictor, ModelConfig
from synthct.anatomy import Task
from synthct.dataset import Case
from synthct.inference.channels_last import lay_channels_last
from synthct.inference.engine import Engine, choose_device
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.losses.pixel import masked_l1
from synthct.networks.unet import UNetPlan, build_unet
from synthct.volume import Geometry, Volume

app = typer.Typer(help="The full-size network's time and memory.", no_args_is_help=True)
PATCH = (56, 160, 224)
"""ALGORITHMS 1.4, abdomen."""
SHAPE = (100, 512, 512)
CT = ZScore(mean=0.0, std=400.0, low=-1024, high=3071)
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=1)]


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
    return {"first_s": seconds[0], "second_s": seconds[1], "loss": float(loss.detach())}


def make_case() -> Case:
    """An elliptic body of noise that fills 42 % of the field of view, as ANCHORS' reference case does."""
    geometry = Geometry(SHAPE[::-1], (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[1]), np.linspace(-1, 1, SHAPE[2]), indexing="ij")
    inside = (x / 0.85) ** 2 + (y / 0.63) ** 2 <= 1
    mask = np.broadcast_to(inside, SHAPE).astype(np.uint8)
    values = np.random.default_rng(0).integers(0, 1000, SHAPE, dtype=np.int16) * mask.astype(np.int16)
    return Case("1ABA001", Task.MRI, None, Volume(values, geometry), Volume(mask, geometry))


def predict_case(device: str, limit: int | None) -> dict[str, Any]:
    config = ModelConfig(
        network=UNetPlan(),
        sweep=SweepSettings(patch=PATCH, step=0.5, merging="mean"),
        spacing=(3.0, 1.0, 1.0),
        image=CaseZScore(),
        ct=CT,
    )
    torch.manual_seed(0)
    case = make_case()
    if limit is not None:
        case = replace(case, image=_first(case.image, limit), mask=_first(case.mask, limit))
    predictor = AfpPredictor([build_unet(config.network)], config, Engine(choose_device(device)))
    began = time.perf_counter()
    result = predictor.predict(case)
    return {"seconds": time.perf_counter() - began, "voxels": int(case.image.voxels.size), **result.notes["sweep"]}


def _first(volume: Volume, slices: int) -> Volume:
    size = (*volume.geometry.size[:2], slices)
    geometry = Geometry(size, volume.geometry.spacing, volume.geometry.origin, volume.geometry.direction)
    return Volume(volume.voxels[:slices], geometry)


@app.command(hidden=True)
def inner(what: str, device: str, threads: int, slices: int = 0) -> None:
    """One measurement, in this process."""
    torch.set_num_threads(threads)
    row = train_step(device) if what == "step" else predict_case(device, slices or None)
    row["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    sys.stdout.write(json.dumps(row, default=str) + "\n")


@app.command()
def step(device: Device = "cpu", threads: Threads = 2) -> None:
    """One training step."""
    _report("step", device, threads, 0)


@app.command()
def predict(
    device: Device = "cpu",
    threads: Threads = 2,
    slices: Annotated[int, typer.Option(min=0, help="Only so many of the 100 slices.")] = 0,
) -> None:
    """One prediction."""
    _report("predict", device, threads, slices)


def _report(what: str, device: str, threads: int, slices: int) -> None:
    call = [sys.executable, "-m", "benchmarks.full_size", "inner", what, device, str(threads), "--slices", str(slices)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        raise typer.Exit(1)
    row = json.loads(done.stdout.splitlines()[-1])
    told = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
    sys.stdout.write(f"{what}: {', '.join(told)}\n")


if __name__ == "__main__":
    app()
