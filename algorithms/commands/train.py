"""`synthct train`: a SynthRAD data set with CTs in, a model folder out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from algorithms.commands.run_folder import CONFIG, SPLITS, checkpoints, note_run, require_room, require_unseen
from algorithms.commands.stages import finished_stages, is_finished, require_fresh, require_stage
from synthct.anatomy import Task
from synthct.cli.console import make_progress, say, start_log, tell
from synthct.dataset import CaseFiles, find_cases, find_note, read_note
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder

if TYPE_CHECKING:
    from pydantic import BaseModel

    from algorithms.interface import About
    from algorithms.training import TrainingRun
    from synthct.training.folds import Splits
    from synthct.weights import ModelFolder

__all__ = ["train"]

FOLDS = 5


def train(
    algorithm: Annotated[str, typer.Argument(help="Name of the algorithm (synthct info lists them).")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set root, cases with their CT.")],
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Model folder to be.")],
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML) instead of a preset.")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset; the paper's is the default.")] = None,
    init: Annotated[Path | None, typer.Option(help="Model folder to start from.")] = None,
    fold: Annotated[str | None, typer.Option(help="Fold to hold out, 0 to 4, or all: cross-validation.")] = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="plan.yaml to train by (synthct plan).")] = None,
    extractor: Annotated[Path | None, typer.Option(help="Feature extractor folder, or starter.")] = None,
    random_extractor: Annotated[
        bool, typer.Option("--random-extractor", help="Random weights for the extractor: to try the software.")
    ] = False,
    splits: Annotated[Path | None, typer.Option(help="splits.json to use; else RUN_DIR's, made if need be.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many iterations.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Case id to leave out; may be repeated.")] = None,
    task: Annotated[Task | None, typer.Option(help="Only this task.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage, for algorithms with stages.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a device.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Threads that cut patches.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Folder of normalised volumes; else RUN_DIR/cache.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from RUN_DIR's checkpoint.")] = False,
    starter: Annotated[bool, typer.Option("--mark-starter", help="Mark the result as starter weights.")] = False,
    trained_on: Annotated[str, typer.Option(help="What the model card says of the data.")] = "",
) -> None:
    """Train an algorithm on a data set; RUN_DIR becomes a model folder for --model.

    With --fold K the model lies in RUN_DIR/fold_K; RUN_DIR itself is then the ensemble of the folds that are there.
    """
    from algorithms.interface import find_algorithm
    from algorithms.presets import preset_file, read_preset

    about = find_algorithm(algorithm)
    require_stage(about, stage)
    if config is not None and preset is not None:
        raise UsageError("--config and --preset exclude each other")
    if splits is not None and fold is None:
        raise UsageError("--splits is for --fold; expected --fold K or --fold all")
    if (resume or stage) and config is None and preset is None and (run_dir / CONFIG).exists():
        config = run_dir / CONFIG  # the run's own, not the paper's
    settings = read_preset(about, preset, config)
    cases = _cases(data, task, exclude or [])
    _require_task(about, cases)

    from algorithms.training import Launcher, TrainingRun, check_settings
    from synthct.training.processes import naming_lost_processes

    checked = check_settings(about, settings)
    _require_used(about, checked, plan=plan_file is not None, extractor=extractor is not None or random_extractor)
    folders, plan = _folders(run_dir, fold, splits, cases)
    require_room(run_dir, about, checked, plan)
    if init is not None and plan is not None:
        require_unseen(init, plan, [number for number in folders if number is not None], cases)
    todo = {name: folder for name, folder in folders.items() if not is_finished(folder, fold, stage, resume=resume)}
    for folder in todo.values():
        require_fresh(folder, about, stage, resume=resume, several=len(folders) > 1)
    if _is_first():
        for name in (name for name in folders if name not in todo):
            say(f"fold {name}: has its model and is left as it is (--fold {name} --resume goes on with it)")
        for left in (left for folder in todo.values() for left in finished_stages(folder, about, stage, resume=resume)):
            say(f"stage {left}: has its model and is left as it is (--stage {left} --resume goes on with it)")
        chosen = None if config is not None else preset or about.presets[0]
        note_run(run_dir, config or preset_file(about, chosen), chosen, plan, cases, about.name)
    start_log()
    with make_progress() as progress:
        run = TrainingRun(
            cases,
            run_dir,
            settings,
            progress,
            Launcher(device, devices),
            cache=cache or run_dir / "cache",
            workers=workers,
            max_steps=max_steps,
            init=init,
            starter=starter,
            trained_on=trained_on,
            simulated=any(_is_simulated(files.image) for files in cases),
            extractor=extractor,
            random_extractor=random_extractor,
            plan=plan_file,
            stage=stage,
        )
        for name, folder in todo.items():
            with naming_lost_processes():
                trained = _train_fold(about, replace(run, run_dir=folder), name, plan, resume=resume)
            if _is_first():
                tell(f"model folder {trained.path} (sha256 {trained.card.sha256[:12]})")


def _cases(data: Path, task: Task | None, exclude: list[str]) -> tuple[CaseFiles, ...]:
    found = find_cases(data, task=task)
    left_out = {case_id.upper() for case_id in exclude}
    unknown = sorted(left_out - {files.id for files in found})
    if unknown:
        raise UsageError(f"--exclude {unknown[0]} is no case of {data}; expected one like {found[0].id}")
    return tuple(files for files in found if files.id not in left_out)


def _require_task(about: About, cases: tuple[CaseFiles, ...]) -> None:
    """Refuse cases that the method is not made for: its normalisation would make nonsense of them."""
    for files in cases:
        if files.task not in about.tasks:
            known = ", ".join(about.tasks)
            raise UsageError(f"{about.name} is for {known}, case {files.id} is {files.task}; expected --task {known}")


def _require_used(about: About, settings: BaseModel, *, plan: bool, extractor: bool) -> None:
    """Refuse options that this algorithm would pass over."""
    uses = {
        "--plan": (plan, ("plan",)),
        "--extractor": (extractor, ("afp_weight", "style_weight", "perceptual_weight")),
    }
    for option, (given, wanted) in uses.items():
        if given and not any(setting in type(settings).model_fields for setting in wanted):
            named = " or ".join(f"'{setting}'" for setting in wanted)
            raise UsageError(f"{option} is nothing that {about.name} uses; expected an algorithm with setting {named}")


def _folders(
    run_dir: Path, fold: str | None, splits: Path | None, cases: tuple[CaseFiles, ...]
) -> tuple[dict[int | None, Path], Splits | None]:
    """Where each fold's run lies; without folds, RUN_DIR itself."""
    from synthct.training.folds import Splits, make_splits, resolve_fold

    if fold is None:
        return {None: run_dir}, None
    path = splits or (run_dir / SPLITS if (run_dir / SPLITS).exists() else None)
    paired = tuple(files for files in cases if files.reference is not None)
    lone = tuple(files for files in cases if files.reference is None)
    plan = make_splits(paired, folds=FOLDS, lone=lone) if path is None else Splits.read(path)
    numbers = resolve_fold(fold, len(plan.folds))
    for number in numbers:
        for name in sorted(set(plan.folds[number].val) & {files.id for files in lone}):
            raise InputError(f"{path}: fold {number} holds out {name}, which has no CT; expected cases that can judge")
    return {number: run_dir / f"fold_{number}" for number in numbers}, plan


def _train_fold(about: About, run: TrainingRun, fold: int | None, plan: Splits | None, *, resume: bool) -> ModelFolder:
    from algorithms.training import load_recipe

    run = replace(run, fold=fold, resume=resume and bool(checkpoints(run.run_dir, about)))
    if plan is not None and fold is not None:
        training, validation = plan.fold(fold, [files.id for files in run.cases])
        wanted = {*training, *validation}
        run = replace(run, cases=tuple(files for files in run.cases if files.id in wanted), validation=validation)
        if _is_first():
            say(f"fold {fold}: {len(training)} cases to train on, {len(validation)} held out")
    if _is_first():
        prepare_output_folder(run.run_dir)
    return load_recipe(about)(run)


def _is_first() -> bool:
    """Tell whether this is the first of the run's processes, by what torchrun, SLURM or Fabric tells each of them.

    Only that one writes and speaks. Asked before anything is launched, so torch.distributed cannot be.
    """
    ranks = (os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
    return all(rank in ("", "0") for rank in ranks)


def _is_simulated(image: Path) -> bool:
    """Tell whether a data set's note says that its cases are simulated."""
    return bool(read_note(find_note(image)).get("simulated"))
