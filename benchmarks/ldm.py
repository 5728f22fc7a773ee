"""ldm-brain on pairs: what the autoencoder alone loses, how good samples are, and what steps cost.

    python -m benchmarks.ldm reconstruction MODEL DATA --case 1BA011
    python -m benchmarks.ldm samples MODEL DATA --case 1BA011 --most 8
    python -m benchmarks.ldm steps MODEL DATA --case 1BA011 --step 1 --step 4 --step 10 --step 50

MODEL is a model folder of ldm-brain (for `reconstruction` RUN/autoencoder will do), DATA a data set whose cases have
their CT. `reconstruction`: a CT encoded and decoded on the grid of a prediction, and that grid's own loss. `samples`:
the mean of n predictions, whose seeds are SEED, SEED + 1 and so on, for n = 1, 2, 4 up to --most; and one prediction
from another subject's MR. `steps`: one prediction for each number of steps, timed after a first one that is not. A
model of rectified flow is sampled by it, another by DDIM: `process` in the JSON says which. Figures are inside the
mask, on the image's own grid: MAE in HU, of the outer 20 mm and of the centre; Dice and NSD at 2 mm of bone, from 150
and from 300 HU on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from algorithms.interface import Advance
from algorithms.ldm_brain.about import ABOUT
from algorithms.ldm_brain.layout import Layout
from benchmarks.ldm_figures import (
    Figures,
    figures,
    forget_peak,
    layout_of,
    mean_figures,
    mean_hu,
    peak_megabytes,
    reconstructed,
    sampled,
    settings_of,
    with_layout,
    with_mr_of,
    with_sampling,
)
from synthct.cli.console import make_progress
from synthct.dataset import CaseFiles, find_cases, load_case
from synthct.errors import InputError, SynthCTError, UsageError
from synthct.files import write_text
from synthct.inference.engine import Engine, Precision, choose_device
from synthct.weights import ModelFolder, open_model

app = typer.Typer(help=(__doc__ or "").partition("\n")[0], no_args_is_help=True)

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder of ldm-brain.")]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Data set root, cases with their CT.")]
Cases = Annotated[list[str] | None, typer.Option("--case", help="Case id; may be repeated. All by default.")]
InLayout = Annotated[Layout | None, typer.Option(help="tiles or fit; the model's own by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the first sample.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
OfPrecision = Annotated[Precision, typer.Option(help="Of the networks.")]
Output = Annotated[Path | None, typer.Option(help="JSON file for every figure.")]

Rows = dict[str, dict[str, Figures]]
"""Figures by row and case."""


@dataclass(frozen=True)
class Bench:
    """A model and the cases that it is measured on."""

    model: ModelFolder
    files: tuple[CaseFiles, ...]
    device: str
    precision: Precision

    @classmethod
    def open(
        cls,
        model: Path,
        data: Path,
        cases: list[str] | None,
        layout: Layout | None,
        device: str,
        precision: Precision,
    ) -> Bench:
        """Open a model folder and find its cases.

        Raises:
            WeightsError: the folder holds no model of ldm-brain, or one stage of it alone.
            UsageError: a wanted case is not there.
            InputError: a case has no CT.
        """
        opened = open_model(model, algorithm=ABOUT.name)
        found = {files.id: files for files in find_cases(data)}
        absent = sorted(set(cases or ()) - set(found))
        if absent:
            raise UsageError(f"{data}: holds no case {', '.join(absent)}; expected some of {', '.join(found)}")
        files = tuple(found[name] for name in cases or found)
        for each in files:
            if each.reference is None:
                raise InputError(f"{each.image.parent}: case {each.id} has no CT; expected one to compare with")
        return cls(opened if layout is None else with_layout(opened, layout), files, device, precision)

    def engine(self, seed: int = 0) -> Engine:
        return Engine(choose_device(self.device), precision=self.precision, seed=seed)

    def notes(self) -> dict[str, Any]:
        """What was measured, for the JSON."""
        config = settings_of(self.model)
        engine = self.engine()
        return {
            "model": str(self.model.path),
            "sha256": self.model.card.sha256,
            "process": config.noise.kind,
            "sampling": self.model.card.config.get("sampling", {}),
            "layout": layout_of(config),
            "device": str(engine.device),
            "precision": engine.precision,
            "cases": [files.id for files in self.files],
        }


@app.command()
def reconstruction(
    model: Model,
    data: Data,
    case: Cases = None,
    layout: InLayout = None,
    device: Device = "auto",
    precision: OfPrecision = "auto",
    output: Output = None,
) -> None:
    """Encode and decode CTs: no sample can be better than this but by chance."""
    with _errors(), make_progress() as progress:
        bench = Bench.open(model, data, case, layout, device, precision)
        bar = progress.add_task("reconstructing", total=len(bench.files))
        rows: Rows = {"autoencoder": {}, "grid": {}}
        for files in bench.files:
            loaded = load_case(files)
            for name, hu in reconstructed(bench.model, loaded, bench.engine()).items():
                rows[name][files.id] = figures(loaded, hu)
            progress.update(bar, advance=1)
        _tell("reconstruction", bench, rows, output)


@app.command()
def samples(
    model: Model,
    data: Data,
    case: Cases = None,
    most: Annotated[int, typer.Option(min=1, max=64, help="Largest n of which the mean is taken.")] = 8,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each sample; the model's own by default.")] = None,
    other: Annotated[str | None, typer.Option(help="Whose MR is put in; the next case's by default.")] = None,
    seed: Seed = 0,
    layout: InLayout = None,
    device: Device = "auto",
    precision: OfPrecision = "auto",
    output: Output = None,
) -> None:
    """Draw samples, their mean, and one of another subject's MR."""
    with _errors(), make_progress() as progress:
        bench = Bench.open(model, data, case, layout, device, precision)
        wanted = {"samples": 1} | ({} if steps is None else {"steps": steps})
        one = with_sampling(bench.model, **wanted)
        counts = [2**power for power in range(most.bit_length())]
        donors = _donors(data, bench.files, other)
        draws = progress.add_task("samples", total=len(bench.files) * (counts[-1] + 1))
        rows: Rows = {name: {} for name in (*(f"mean of {count}" for count in counts), "other MR")}
        for files in bench.files:
            loaded, drawn = load_case(files), []
            for number in range(counts[-1]):
                drawn.append(sampled(one, loaded, bench.engine(seed + number), advance=_steps_bar(progress))[0])
                progress.update(draws, advance=1)
                if len(drawn) in counts:
                    rows[f"mean of {len(drawn)}"][files.id] = figures(loaded, mean_hu(drawn, loaded.mask.voxels))
            swapped = with_mr_of(loaded, load_case(donors[files.id]))
            hu, _ = sampled(one, swapped, bench.engine(seed), advance=_steps_bar(progress))
            rows["other MR"][files.id] = figures(loaded, hu)
            progress.update(draws, advance=1)
        told = {"seed": seed, "donors": {name: donor.id for name, donor in donors.items()}, "settings": wanted}
        _tell("samples", bench, rows, output, **told)


@app.command()
def steps(
    model: Model,
    data: Data,
    case: Cases = None,
    step: Annotated[list[int] | None, typer.Option("--step", help="May be repeated; 1, 4, 10, 50 by default.")] = None,
    seed: Seed = 0,
    layout: InLayout = None,
    device: Device = "auto",
    precision: OfPrecision = "auto",
    output: Output = None,
) -> None:
    """Predict in few and in many steps: MAE, seconds, peak memory."""
    with _errors(), make_progress() as progress:
        bench = Bench.open(model, data, case, layout, device, precision)
        wanted = step or [1, 4, 10, 50]
        if min(wanted) < 1:
            raise UsageError(f"--step {min(wanted)} cannot be had; expected 1 or more")
        bar = progress.add_task("predictions", total=len(bench.files) * len(wanted) + 1)
        warm_up = load_case(bench.files[0])
        sampled(with_sampling(bench.model, samples=1, steps=1), warm_up, bench.engine(seed))
        progress.update(bar, advance=1)
        rows: Rows = {f"{count} steps": {} for count in wanted}
        for files in bench.files:
            loaded = load_case(files)
            for count in wanted:
                engine = bench.engine(seed)
                forget_peak(engine.device)
                changed = with_sampling(bench.model, samples=1, steps=count)
                hu, seconds = sampled(changed, loaded, engine, advance=_steps_bar(progress))
                peak = peak_megabytes(engine.device)
                cost: Figures = {"seconds": seconds, "peak_mb": peak}
                rows[f"{count} steps"][files.id] = cost | figures(loaded, hu)
                progress.update(bar, advance=1)
        _tell("steps", bench, rows, output, seed=seed)


def _donors(data: Path, cases: tuple[CaseFiles, ...], other: str | None) -> dict[str, CaseFiles]:
    """Whose MR each case gets: the named one's, or that of the data set's next case."""
    found = find_cases(data)
    places = {files.id: place for place, files in enumerate(found)}
    if other is not None and other not in places:
        raise UsageError(f"--other {other}: {data} holds no such case; expected some of {', '.join(places)}")
    if len(found) < 2 or other in {files.id for files in cases}:
        raise UsageError(f"{data}: no other subject's MR for {other or cases[0].id}; expected another case (--other)")
    return {
        files.id: found[places[other] if other is not None else (places[files.id] + 1) % len(found)] for files in cases
    }


def _steps_bar(progress: Progress) -> Advance:
    """A bar for the steps of one prediction, gone when it is done."""
    bar = progress.add_task("steps", total=None)

    def advance(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)
        if done >= total:
            progress.update(bar, visible=False)

    return advance


def _tell(command: str, bench: Bench, rows: Rows, output: Path | None, **more: object) -> None:
    """Print the means over cases, and write every figure."""
    means = {name: mean_figures(list(of_cases.values())) for name, of_cases in rows.items()}
    table = Table("", title=f"{command}: {bench.model.path.name}, mean of {len(bench.files)} case(s)")
    columns = list(next(iter(means.values())))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in means.items():
        table.add_row(name, *("-" if (value := row[column]) is None else _rounded(column, value) for column in columns))
    Console(width=130).print(table)
    if output is not None:
        content = {"command": command} | bench.notes() | more | {"means": means, "rows": rows}
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, json.dumps(content, indent=2) + "\n")


def _rounded(column: str, value: float) -> str:
    return f"{value:.3f}" if column.startswith(("dice", "nsd")) else f"{value:.1f}"


@contextmanager
def _errors() -> Iterator[None]:
    """Tell an error of ours in one line, and leave with its exit code."""
    try:
        yield
    except SynthCTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    app()
