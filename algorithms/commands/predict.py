"""`synthct predict`: a data set or a platform folder in, one sCT per case out."""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.anatomy import Region, Task, parse_region
from synthct.cli.console import make_progress, tell
from synthct.dataset import Case, CaseFiles, find_cases, load_case, mask_file, read_image
from synthct.errors import UsageError
from synthct.files import prepare_output_folder, write_text
from synthct.grand_challenge.job import is_platform_folder, read_job
from synthct.header import DEFAULT_VOXEL_LIMIT, read_header, require_size
from synthct.outline import body_outline
from synthct.volume import write_volume
from synthct.weights import file_sha256

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["predict"]

MANIFEST = "manifest.json"
SPREAD = "spread"


def predict(
    algorithm: Annotated[str, typer.Argument(help="Name of the algorithm (synthct info lists them).")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Data set root at any level, or a platform folder.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for <id>.mha and manifest.json.")],
    model: Annotated[Path | None, typer.Option(help="Model folder.")] = None,
    starter: Annotated[bool, typer.Option("--starter", help="Run the starter weights.")] = False,
    task: Annotated[Task | None, typer.Option(help="Only this task.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of all cases, whatever their ids say.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to run.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Of networks; auto is what the device is good at.")
    ] = "auto",
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds a case; where it would take longer, windows move apart or steps are fewer."),
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Write OUTPUT/spread: how far windows, folds or samples disagree.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of algorithms that draw random numbers.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the model, for this run.")
    ] = None,
    mask: Annotated[Literal["file", "auto"], typer.Option(help="Body outline: from the file, or drawn.")] = "file",
    force: Annotated[bool, typer.Option("--force", help="Run cases that the model was not trained for.")] = False,
    voxel_limit: Annotated[int, typer.Option(min=1, help="Largest accepted volume in bytes.")] = DEFAULT_VOXEL_LIMIT,
) -> None:
    """Translate MR or CBCT into synthetic CT, one <id>.mha per case."""
    from algorithms.commands.overrides import Overrides
    from algorithms.interface import find_algorithm

    about = find_algorithm(algorithm)
    overrides = Overrides.parse(about, settings or ())
    if model is not None and starter:
        raise UsageError("--model and --starter exclude each other")
    cases = _cases(source, output, task, region, auto_mask=mask == "auto")
    _check_headers(cases, voxel_limit, auto_mask=mask == "auto")

    import torch

    from algorithms.runtime import Runtime
    from synthct.inference.engine import Engine, choose_device

    torch.manual_seed(seed)
    engine = Engine(choose_device(device), precision=precision, budget=budget, spread=spread, seed=seed)
    runtime = Runtime((about,), model, starter, force, engine, overrides.apply)
    runtime.check(cases)
    with make_progress() as progress:
        if len(cases) > 1:  # a bad case is found before the first is predicted, not half-way
            for files in progress.track(cases, description="checking cases"):
                _load(files, voxel_limit, auto_mask=mask == "auto")
        overall = progress.add_task(f"{about.name}: cases", total=len(cases))
        for files in cases:
            bar = progress.add_task(files.id, total=None)
            case = _load(files, voxel_limit, auto_mask=mask == "auto")
            if files is cases[0]:
                prepare_output_folder(output)
                _prepare_spread(output / SPREAD, cases, wanted=spread)
                (output / MANIFEST).unlink(missing_ok=True)  # an earlier run's would not describe what follows

            def advance(done: int, total: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total)

            prediction = runtime.predict(case, files, advance=advance)
            if files is cases[0] and not engine.sweeps:
                _warn_of_idle_options(about.name, budget=budget, precision=precision, spread=spread)
            if (output / SPREAD).is_dir():  # an earlier run's would not belong to the sCT that follows
                (output / SPREAD / f"{files.id}.mha").unlink(missing_ok=True)
            written = write_volume(prediction.volume, output / f"{files.id}.mha")
            runtime.note(files, sct_sha256=file_sha256(written))
            if prediction.spread is not None:
                write_volume(prediction.spread, output / SPREAD / f"{files.id}.mha")
            manifest = runtime.manifest(mask=mask, seed=seed, **overrides.notes)
            write_text(output / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            progress.remove_task(bar)
            progress.update(overall, advance=1)
    with suppress(OSError):  # is not there, or holds something: only an empty folder goes
        (output / SPREAD).rmdir()
    tell(f"{len(cases)} synthetic CT{'s' if len(cases) > 1 else ''} in {output} (report: {output / MANIFEST})")


def _cases(source: Path, output: Path, task: Task | None, region: str | None, *, auto_mask: bool) -> list[CaseFiles]:
    wanted = parse_region(region) if region is not None else None
    if region is not None and wanted is None:
        raise UsageError(f"region '{region}' is unknown; expected one of {', '.join(Region)}")
    if is_platform_folder(source):
        if auto_mask:
            raise UsageError("--mask auto is not for platform folders; expected images/body to hold the mask")
        return [read_job(source, output, task=task, region=wanted).files]
    cases = find_cases(source, task=task)
    return [replace(files, region=wanted) for files in cases] if wanted is not None else cases


def _prepare_spread(folder: Path, cases: list[CaseFiles], *, wanted: bool) -> None:
    """Make OUTPUT/spread, or prove that what an earlier run left there of these cases can be removed.

    Raises:
        OutputError: it is a file, or cannot be written to.
    """
    if wanted or any((folder / f"{files.id}.mha").exists() for files in cases):
        prepare_output_folder(folder)


def _warn_of_idle_options(name: str, *, budget: float | None, precision: str, spread: bool) -> None:
    """Say once which of the options that were given mean nothing to an algorithm that sweeps no windows."""
    given = {"--budget": budget is not None, "--precision": precision != "auto", "--spread": spread}
    idle = [option for option, is_given in given.items() if is_given]
    if idle:
        warnings.warn(f"{name} sweeps no windows, so {' and '.join(idle)} changed nothing", stacklevel=2)


def _check_headers(cases: list[CaseFiles], voxel_limit: int, *, auto_mask: bool) -> None:
    """Refuse what the headers already tell, for all cases, before anything is loaded or written."""
    for files in cases:
        header = read_header(files.image, voxel_limit=voxel_limit)
        if auto_mask:
            continue
        require_size(read_header(mask_file(files), voxel_limit=voxel_limit), header.size, of=files.image)


def _load(files: CaseFiles, voxel_limit: int, *, auto_mask: bool) -> Case:
    """Read a case without its CT: a predictor must not see it."""
    if not auto_mask:
        return load_case(files, voxel_limit=voxel_limit, with_reference=False)
    image = read_image(files.image, voxel_limit=voxel_limit)
    outline = body_outline(image)
    warnings.warn(
        f"{files.id}: body outline drawn from the image ({outline.voxels.mean():.0%} of it is inside); check it",
        stacklevel=2,
    )
    return load_case(files, mask=outline, voxel_limit=voxel_limit, with_reference=False)
