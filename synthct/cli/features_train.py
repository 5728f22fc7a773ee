"""`synthct features train`: the compact extractor, from CTs with TotalSegmentator labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.cli.console import make_progress, start_log, tell
from synthct.errors import UsageError
from synthct.files import prepare_output_folder, write_text

__all__ = ["train_extractor"]

CHECKPOINT, SETTINGS = "checkpoint.pt", "config.yaml"


def train_extractor(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set root: ct, mask and segmentation per case.")],
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Extractor folder to be.")],
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML) in place of the published ones.")] = None,
    tissue: Annotated[
        bool, typer.Option("--tissue", help="The label maps hold the tissue judge's classes (limbs), not structures.")
    ] = False,
    hold_out: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Case to validate on; may be repeated.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many iterations.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a device.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Threads that cut patches.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from RUN_DIR's checkpoint.")] = False,
    starter: Annotated[bool, typer.Option("--mark-starter", help="Mark the result as starter weights.")] = False,
    trained_on: Annotated[str, typer.Option(help="What the card says of the data.")] = "",
) -> None:
    """Train the compact seven-class extractor of the AFP loss on CTs with TotalSegmentator's labels.

    Labels (synthct segmenter fill makes them) are grouped into organs, cardiac, muscles, bones, ribs and vertebrae.
    RUN_DIR/config.yaml keeps the settings; --resume goes by them.
    """
    if resume and not (run_dir / CHECKPOINT).exists():
        raise UsageError(f"{run_dir / CHECKPOINT}: no such file; expected a checkpoint to --resume from")
    if not resume and (run_dir / CHECKPOINT).exists():
        raise UsageError(f"{run_dir / CHECKPOINT}: a run lies there already; expected --resume or another RUN_DIR")
    from synthct.features.compact.labels import TISSUE_GROUPS, TOTAL_GROUPS
    from synthct.features.compact.recipe import find_labelled_cases, train_compact
    from synthct.features.compact.settings import read_settings, write_settings
    from synthct.training.launch import make_fabric
    from synthct.training.processes import naming_lost_processes

    if resume and config is None and (run_dir / SETTINGS).exists():
        config = run_dir / SETTINGS  # the run's own, not the published ones
    settings = read_settings(config)
    cases = find_labelled_cases(data, TISSUE_GROUPS if tissue else TOTAL_GROUPS)
    known = {case.files.id for case in cases}
    for name in hold_out or []:
        if name not in known:
            raise UsageError(f"--hold-out {name} is no case of {data} with labels; expected one like {min(known)}")
    if hold_out:
        settings = settings.model_copy(update={"validation_cases": tuple(hold_out)})
    prepare_output_folder(run_dir)
    start_log()
    fabric = make_fabric(device, devices, settings.loop.precision)
    if fabric.is_global_zero:
        write_text(run_dir / SETTINGS, write_settings(settings))
    with make_progress() as progress, naming_lost_processes():
        card = train_compact(
            cases,
            settings,
            run_dir,
            fabric,
            progress=progress,
            workers=workers,
            max_steps=max_steps,
            resume=resume,
            starter=starter,
            trained_on=trained_on,
        )
    if fabric.is_global_zero:
        tell(f"extractor folder {run_dir} (sha256 {card.sha256[:12]})")
