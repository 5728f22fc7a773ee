"""`synthct prepare`: from a SynthRAD data set to the platform's input folders or to ground truth."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.cli.console import make_progress, tell
from synthct.dataset import CaseFiles, find_cases, load_case
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder, staged_file

__all__ = ["prepare"]

Target = Literal["platform", "ground-truth"]
MANIFEST = "manifest.json"


def prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Data set root, at any level of the tree.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Where to write.")],
    to: Annotated[
        Target, typer.Option(help="One /input per case and predictions.json, or ct/ mask/ segmentation/ and a tarball.")
    ],
    reference: Annotated[Literal["ct", "ct_def"], typer.Option(help="Which CT is the reference.")] = "ct",
    registration: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="How the reference was brought onto the image. By default: deformable (ct_def), none (simulated), "
            "rigid (SynthRAD's ct), else unknown.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Flat folder of sCTs; they become the jobs' outputs, and DST an evaluation's /input."
        ),
    ] = None,
) -> None:
    """Lay a SynthRAD data set out as the platform does: inputs per case, or the evaluation's ground truth."""
    if registration is not None and to != "ground-truth":
        raise UsageError(f"--registration '{registration}' is for --to ground-truth; expected it there only")
    if predictions is not None and to != "platform":
        raise UsageError(f"--predictions {predictions} is for --to platform; expected it there only")
    for other in (source, predictions):
        if other is not None:
            _require_apart(target, other)
    cases = find_cases(source, reference=reference)
    if to == "platform":
        _write_platform(cases, target, _find_predictions(predictions, cases), manifest_of=predictions)
    else:
        _write_ground_truth(cases, target, reference, registration)
    tell(f"{len(cases)} case{'s' if len(cases) > 1 else ''} in {target}")


def _require_apart(target: Path, other: Path) -> None:
    inner, outer = target.resolve(), other.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UsageError(f"{target}: lies in {other} or holds it; expected a folder apart from it")


def _find_predictions(folder: Path | None, cases: Sequence[CaseFiles]) -> dict[str, Path]:
    """The sCT of each case by id; empty where no folder is given."""
    if folder is None:
        return {}
    from synthct.grand_challenge.flat import find_flat_predictions

    found, problems = find_flat_predictions(folder)
    if problems:
        raise InputError(problems[0].message)
    by_id = {str(case): path for case, path in found.items()}
    missing = [case.id for case in cases if case.id not in by_id]
    if missing:
        named = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise InputError(f"{folder}: {len(missing)} of {len(cases)} cases have no sCT here: {named}")
    extra = sorted(by_id.keys() - {case.id for case in cases})
    if extra:
        warnings.warn(f"{folder}: {len(extra)} sCTs are of no case and left out: {', '.join(extra[:5])}", stacklevel=2)
    return by_id


def _write_platform(
    cases: Sequence[CaseFiles], target: Path, predictions: dict[str, Path], *, manifest_of: Path | None
) -> None:
    """DST/<case> is a run's /input, DST/<pk>/output its /output, and DST with predictions.json an evaluation's."""
    from synthct.grand_challenge.layout import job_of, place_prediction, require_room, write_case_input
    from synthct.grand_challenge.submission import JOBS_NAME, write_predictions_json

    jobs = {files.id: job_of(files) for files in cases}
    for case in predictions.keys() & jobs.keys():
        require_room(jobs[case], target)
    prepare_output_folder(target)
    with make_progress() as progress:
        for files in progress.track(cases, description="preparing platform"):
            job = jobs[files.id]
            write_case_input(load_case(files, with_reference=False), job, target / files.id)
            (target / job.pk / "output").mkdir(parents=True, exist_ok=True)
            if files.id in predictions:
                place_prediction(predictions[files.id], job, target)
    if manifest_of is not None:
        _carry_manifest(manifest_of / MANIFEST, target / MANIFEST)
    write_predictions_json(target / JOBS_NAME, jobs.values())


def _carry_manifest(source: Path, target: Path) -> None:
    """Keep the manifest with the sCTs that it describes: it says whether starter weights made them."""
    if source.is_file():
        with staged_file(target) as staged:
            shutil.copyfile(source, staged)
    else:
        target.unlink(missing_ok=True)  # an earlier run's, of other sCTs


def _write_ground_truth(cases: Sequence[CaseFiles], target: Path, reference: str, registration: str | None) -> None:
    from synthct.grand_challenge.ground_truth import (
        TARBALL_NAME,
        ground_truth_files,
        pack_ground_truth,
        require_no_others,
        write_ground_truth,
        write_note,
    )

    for files in cases:
        if files.reference is None:
            raise InputError(f"{files.image.parent}: case {files.id} has no {reference}.mha to score against")
    require_no_others(cases, target)
    prepare_output_folder(target)
    (target / TARBALL_NAME).unlink(missing_ok=True)  # until the new one is whole, there is none
    write_note(cases, target, reference=reference, registration=registration)  # first: no case is ever without it
    names = ground_truth_files(cases)
    with make_progress() as progress:
        for files in progress.track(cases, description="preparing ground-truth"):
            write_ground_truth(load_case(files), files, target)
        bar = progress.add_task("packing", total=len(names))
        pack_ground_truth(target, names, advance=lambda: progress.update(bar, advance=1))
