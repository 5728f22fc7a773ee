"""A training run of a second: a tiny network, batches drawn from their index alone, and a program that runs it.

    python small_run.py RUN_DIR [--kind plain|gan] [--devices N] [--batch N] [--precision P] [--resume] ...

Run as a program it writes the final weights to RUN_DIR/weights.pt, from the first process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim import Optimizer

from synthct.errors import SynthCTError
from synthct.losses.pixel import masked_l1
from synthct.training.launch import make_fabric
from synthct.training.loop import FitResult, fit
from synthct.training.objective import Batch, CaseScore, Networks
from synthct.training.settings import LoopSettings

SHAPE = (4, 8, 8)
SCALE, SHIFT = 2.0, 0.5
"""What the network is to learn: reference = SCALE * image + SHIFT."""


def element(index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patch number `index` of the stream; half of its voxels count."""
    draw = np.random.default_rng([7, index])
    image = torch.from_numpy(draw.normal(size=(1, *SHAPE)).astype(np.float32))
    weight = torch.from_numpy((draw.random(size=(1, *SHAPE)) < 0.5).astype(np.float32))
    return image, SCALE * image + SHIFT, weight


class IndexedStream:
    def __init__(self, first: int, batch: int, rank: int, world: int, pause: float) -> None:
        self.seconds_waited = 0.0
        self.next = first
        self.batch, self.rank, self.world, self.pause = batch, rank, world, pause

    def __next__(self) -> Batch:
        time.sleep(self.pause)
        self.seconds_waited += self.pause
        start = self.next * self.batch * self.world + self.rank * self.batch
        self.next += 1
        parts = [element(start + place) for place in range(self.batch)]
        return Batch(*(torch.stack([part[kind] for part in parts]) for kind in range(3)))


class IndexedSource:
    def __init__(self, batch: int = 2, pause: float = 0.0) -> None:
        self.batch, self.pause = batch, pause

    @contextmanager
    def stream(self, first: int, *, rank: int, world: int) -> Iterator[IndexedStream]:
        yield IndexedStream(first, self.batch, rank, world, self.pause)


def small_network(dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.LeakyReLU(0.1), nn.Dropout(dropout), nn.Conv3d(4, 1, 3, padding=1)
    )


class PlainObjective:
    """One network, one turn."""

    def __init__(self, dropout: float = 0.0, learning_rate: float = 0.01) -> None:
        self.dropout, self.learning_rate = dropout, learning_rate

    def networks(self) -> dict[str, nn.Module]:
        return {"net": small_network(self.dropout)}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], Optimizer]]:
        return {"net": (("net",), torch.optim.Adam(nets["net"].parameters(), lr=self.learning_rate))}

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        loss = masked_l1(nets["net"](batch.image), batch.reference, batch.weight)
        yield "net", loss, {"l1": loss.detach()}


class GanObjective:
    """Discriminator's turn, then the generator's, whose forward pass lies in the first turn."""

    def __init__(self, dropout: float = 0.0, ballast: int = 1) -> None:
        self.dropout, self.ballast = dropout, ballast

    def networks(self) -> dict[str, nn.Module]:
        judge = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 3, padding=1))
        idle = nn.Linear(self.ballast, 1000, bias=False)  # makes a checkpoint as large as a real one
        return {"generator": small_network(self.dropout), "discriminator": judge, "idle": idle}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], Optimizer]]:
        return {
            "generator": (("generator",), torch.optim.SGD(nets["generator"].parameters(), lr=0.05, momentum=0.9)),
            "discriminator": (("discriminator",), torch.optim.SGD(nets["discriminator"].parameters(), lr=0.05)),
        }

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        fake = nets["generator"](batch.image)
        real = nets["discriminator"](torch.cat([batch.image, batch.reference], dim=1))
        judged = nets["discriminator"](torch.cat([batch.image, fake.detach()], dim=1))
        yield "discriminator", 0.5 * ((real - 1).square().mean() + judged.square().mean()), {}
        with nets.frozen("discriminator") as judge:
            fooled = (judge(torch.cat([batch.image, fake], dim=1)) - 1).square().mean()
        l1 = masked_l1(fake, batch.reference, batch.weight)
        yield "generator", fooled + 10 * l1, {"l1": l1.detach(), "fooled": fooled.detach()}


class HeldOut:
    """Mean absolute error on patches that training never draws."""

    def __init__(self, network: str = "net", cases: int = 3) -> None:
        self.network = network
        self._cases = [f"case{number}" for number in range(cases)]
        self.scored: list[tuple[int, float]] = []

    @property
    def cases(self) -> Sequence[str]:
        return self._cases

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        image, reference, _ = element(1_000_000 + index)
        error = (nets[self.network](image[None]) - reference[None]).abs()
        self.scored.append((index, float(error.mean())))
        picture = error[0, 0, 0].clamp(0, 1).numpy()
        return CaseScore({"mae": float(error.mean()), "noise": float(torch.rand(()))}, {f"error {index}": picture})


def settings(**changes: Any) -> LoopSettings:
    """Ten iterations that validate and write a checkpoint after every second."""
    base = {"iterations_per_epoch": 2, "epochs": 5, "log_interval": 3, "schedule": "poly", "precision": "fp32"}
    return LoopSettings.model_validate({**base, **changes})


def run(run_dir: Path, objective: Any = None, validation: Any = None, **options: Any) -> FitResult:
    """Fit on this process's CPU; `options` are those of fit, but `changes` of the settings and `batch`."""
    loop = settings(**options.pop("changes", {}))
    source = options.pop("source", None) or IndexedSource(options.pop("batch", 2))
    fabric = options.pop("fabric", None) or make_fabric("cpu", 1, loop.precision)
    with Progress(disable=True) as progress:
        return fit(
            objective or PlainObjective(), source, validation, loop, run_dir, fabric, progress=progress, **options
        )


def start(run_dir: Path, loop: LoopSettings, *options: object, launcher: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start this file as a program, warnings being errors; `options` as on its command line."""
    words = [*launcher, __file__, run_dir, "--settings", loop.model_dump_json(), *options]
    return subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str], *, exit_code: int = 0) -> str:
    """Wait for a program; returns what it wrote to stderr. Nothing but results belongs on stdout."""
    told, complained = process.communicate(timeout=120)
    assert (process.returncode, told) == (exit_code, ""), complained
    return complained


def weights(run_dir: Path) -> dict[str, Tensor]:
    """Final weights of a finished program, by network and name."""
    saved = torch.load(run_dir / "weights.pt", weights_only=True)["weights"]
    return {f"{network}.{name}": tensor for network, found in saved.items() for name, tensor in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--kind", default="plain")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--settings", default="{}")
    for name, default in (("--devices", 1), ("--batch", 1), ("--ballast", 1)):
        parser.add_argument(name, type=int, default=default)
    for name in ("--pause", "--dropout"):
        parser.add_argument(name, type=float, default=0.0)
    for name in ("--resume", "--validate"):
        parser.add_argument(name, action="store_true")
    told = parser.parse_args()
    torch.set_num_threads(1)
    fabric = make_fabric("cpu", told.devices, told.precision)
    objective: Any = PlainObjective(told.dropout) if told.kind == "plain" else GanObjective(told.dropout, told.ballast)
    source = IndexedSource(told.batch, told.pause)
    judge = HeldOut("net" if told.kind == "plain" else "generator") if told.validate else None
    loop = LoopSettings.model_validate_json(told.settings)
    try:
        with Progress(disable=True) as progress:
            result = fit(objective, source, judge, loop, told.run_dir, fabric, progress=progress, resume=told.resume)
    except SynthCTError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    if fabric.is_global_zero:
        torch.save({"weights": result.best, "score": result.best_score}, told.run_dir / "weights.pt")


if __name__ == "__main__":
    main()
