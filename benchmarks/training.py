"""Iterations per second of the training loop beside a plain PyTorch loop on the same network, patches and arithmetic.

    python benchmarks/training.py ../shared/data/sts/Task1 --iterations 20 --repeats 3

The two run in turn, each in all of `--repeats` rounds, and must end with the same weights, bit for bit: that is how we
know that they did the same work. Time until the first `--warm-up` iterations are done is not counted. The last row
draws patches in a thread beside the network.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

from synthct.dataset import Case, find_cases
from synthct.intensity import LinearScale
from synthct.losses.pixel import masked_l1
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache
from synthct.training.launch import make_fabric
from synthct.training.logbook import read_history
from synthct.training.loop import fit
from synthct.training.objective import Batch, Networks
from synthct.training.patches import Fill, PairedSampler, SamplingSettings
from synthct.training.schedules import rate_factor
from synthct.training.settings import LoopSettings
from synthct.training.source import PatchSource

LEARNING_RATE = 1e-3
MR = LinearScale(low=0.0, high=4000.0, scale=1000.0)
CT = LinearScale(low=-1024.0, high=3071.0, scale=1000.0)


class UNet(nn.Module):
    """A plain U-Net: two convolutions a level, three levels down, instance norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(self._level(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.rise = nn.ModuleList(nn.ConvTranspose3d(2 * a, a, 2, 2) for a in reversed(widths[:-1]))
        self.up = nn.ModuleList(self._level(2 * a, a) for a in reversed(widths[:-1]))
        self.head = nn.Conv3d(width, 1, 1)

    @staticmethod
    def _level(inside: int, outside: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (inside, outside):
            layers += [nn.Conv3d(channels, outside, 3, padding=1), nn.InstanceNorm3d(outside, affine=True)]
            layers += [nn.LeakyReLU(0.01, inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, 2))
            kept.append(x)
        for rise, block, skip in zip(self.rise, self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([skip, rise(x)], dim=1))
        result: Tensor = self.head(x)
        return result


class Regression:
    def __init__(self, width: int) -> None:
        self.width = width

    def networks(self) -> dict[str, nn.Module]:
        return {"net": UNet(self.width)}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        return {"net": (("net",), torch.optim.Adam(nets["net"].parameters(), lr=LEARNING_RATE))}

    def losses(self, nets: Networks, batch: Batch):  # noqa: ANN201
        loss = masked_l1(nets["net"](batch.image), batch.reference, batch.weight)
        yield "net", loss, {"l1": loss.detach()}


class Round(NamedTuple):
    seconds: float
    waited: float
    weights: dict[str, Tensor]


def prepare(case: Case) -> PreparedCase:
    if case.reference is None:
        raise typer.BadParameter(f"case {case.id} has no CT")
    return PreparedCase(MR.apply(case.image.voxels), CT.apply(case.reference.voxels), case.mask.voxels)


def plain_loop(source: PatchSource, settings: LoopSettings, width: int, warm_up: int) -> Round:
    """What one would write without this project: no averages, no log, no checkpoint, no validation."""
    torch.manual_seed(settings.seed)
    network = UNet(width)
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with source.stream(0) as stream:
        for done in range(settings.iterations):
            if done == warm_up:
                began, waited = time.perf_counter(), stream.seconds_waited
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * rate_factor(settings, done)
            batch = next(stream)
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16-mixed"):
                predicted = network(batch.image)
            masked_l1(predicted.float(), batch.reference, batch.weight).backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm or 1e9)
            optimiser.step()
        return Round(time.perf_counter() - began, stream.seconds_waited - waited, network.state_dict())


def our_loop(source: PatchSource, settings: LoopSettings, width: int, warm_up: int) -> Round:
    """`fit`, its log lines, history and TensorBoard; the time is that of its steps."""
    fabric = make_fabric("cpu", 1, settings.precision)
    with tempfile.TemporaryDirectory() as folder, Progress(disable=True) as progress:
        result = fit(Regression(width), source, None, settings, Path(folder), fabric, progress=progress)
        rows = [row for row in read_history(Path(folder) / "history.csv") if int(row["iteration"]) > warm_up]
    seconds = [warm_up / float(row["iterations_per_second"]) for row in rows]
    waited = sum(took * float(row["waiting_share"]) for took, row in zip(seconds, rows, strict=True))
    return Round(sum(seconds), waited, result.best["net"])


def main(
    data: Path,
    patch: tuple[int, int, int] = (16, 96, 96),
    batch: Annotated[int, typer.Option(min=1)] = 2,
    width: Annotated[int, typer.Option(min=1, help="Channels of the first level; 20 makes 2.2 M parameters.")] = 20,
    iterations: Annotated[int, typer.Option(min=1, help="Counted iterations a round; a multiple of --warm-up.")] = 20,
    warm_up: Annotated[int, typer.Option(min=1)] = 5,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    precision: Literal["fp32", "bf16-mixed"] = "fp32",
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    torch.set_num_threads(threads)
    if iterations % warm_up:
        raise typer.BadParameter("--iterations must be a multiple of --warm-up")
    settings = LoopSettings(
        iterations_per_epoch=iterations + warm_up, epochs=1, precision=precision, log_interval=warm_up
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = VolumeCache(Path(folder), f"{MR!r} {CT!r}")
        cases: list[CachedCase] = [cache.case(files, prepare) for files in find_cases(data)]
        sampler = PairedSampler(cases, SamplingSettings(patch=patch), Fill(image=0.0, reference=-1.0), seed=0)
        loops = {
            "plain PyTorch": (plain_loop, PatchSource(sampler, batch=batch)),
            "synthct fit": (our_loop, PatchSource(sampler, batch=batch)),
            "synthct fit, 1 worker": (our_loop, PatchSource(sampler, batch=batch, workers=1)),
        }
        rounds: dict[str, list[Round]] = {name: [] for name in loops}
        for _ in range(repeats):
            for name, (loop, source) in loops.items():
                rounds[name].append(loop(source, settings, width, warm_up))
    parameters = sum(parameter.numel() for parameter in UNet(width).parameters())
    size = " x ".join(str(edge) for edge in patch)
    table = Table(
        title=f"{parameters / 1e6:.1f} M parameters, patch {size}, batch {batch}, {precision}, {threads} threads, "
        f"{len(cases)} cases, median of {repeats}"
    )
    for column in ("loop", "it/s", "ratio", "waiting for data", "same weights"):
        table.add_column(column, justify="right")
    base = rounds["plain PyTorch"]
    for name, found in rounds.items():
        # Each round beside the plain loop's of the same minute: the machine's own ups and downs cancel.
        ratio = statistics.median(plain.seconds / ours.seconds for plain, ours in zip(base, found, strict=True))
        speed = statistics.median(iterations / one.seconds for one in found)
        share = statistics.median(one.waited / one.seconds for one in found)
        same = all(torch.equal(one.weights[key], tensor) for one in found for key, tensor in base[0].weights.items())
        table.add_row(name, f"{speed:.2f}", f"{ratio:.3f}", f"{100 * share:.1f} %", "yes" if same else "NO")
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
