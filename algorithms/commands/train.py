"""`synthct train`: a SynthRAD data set with CTs in, a model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.anatomy import Task
from synthct.cli.console import make_progress, start_log, tell
from synthct.dataset import find_cases, find_note, read_note
from synthct.errors import UsageError
from synthct.files import prepare_output_folder

__all__ = ["train"]


def train(
    algorithm: Annotated[str, typer.Argument(help="Name of the algorithm (synthct info lists them).")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set root, cases with their CT.")],
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Model folder to be.")],
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML) instead of a preset.")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset; the paper's is the default.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many iterations.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Case id to leave out; may be repeated.")] = None,
    task: Annotated[Task | None, typer.Option(help="Only this task.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from RUN_DIR's checkpoint.")] = False,
    starter: Annotated[bool, typer.Option("--mark-starter", help="Mark the result as starter weights.")] = False,
    trained_on: Annotated[str, typer.Option(help="What the model card says of the data.")] = "",
) -> None:
    """Train an algorithm on a data set; RUN_DIR becomes a model folder for --model."""
    from algorithms.interface import find_algorithm
    from algorithms.presets import read_preset

    about = find_algorithm(algorithm)
    if config is not None and preset is not None:
        raise UsageError("--config and --preset exclude each other")
    settings = read_preset(about, preset, config)
    if max_steps is not None:
        settings["iterations"] = max_steps
    found = find_cases(data, task=task)
    left_out = {case_id.upper() for case_id in exclude or []}
    unknown = sorted(left_out - {files.id for files in found})
    if unknown:
        raise UsageError(f"--exclude {unknown[0]} is no case of {data}; expected one like {found[0].id}")
    cases = tuple(files for files in found if files.id not in left_out)
    checkpoint = run_dir / "checkpoint.pt"
    if resume and not checkpoint.exists():
        raise UsageError(f"{checkpoint}: no such file; expected a checkpoint to --resume from")
    if checkpoint.exists() and not resume:
        raise UsageError(f"{checkpoint}: a run lies there already; expected --resume or another RUN_DIR")
    prepare_output_folder(run_dir)
    start_log()

    from algorithms.training import TrainingRun, load_recipe
    from synthct.inference.engine import choose_device

    with make_progress() as progress:
        simulated = any(_is_simulated(files.image) for files in cases)
        run = TrainingRun(cases, run_dir, settings, choose_device(device), progress, starter, trained_on, simulated)
        folder = load_recipe(about)(run)
    tell(f"model folder {folder.path} (sha256 {folder.card.sha256[:12]})")


def _is_simulated(image: Path) -> bool:
    """Tell whether a data set's note says that its cases are simulated."""
    return bool(read_note(find_note(image)).get("simulated"))
