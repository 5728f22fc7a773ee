"""`synthct report`: predictions and their data in, one page per case out, to be opened from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.cli.console import make_progress, say, tell
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder

if TYPE_CHECKING:
    from evaluation.report.case_images import ReportCase
    from evaluation.report.niivue import Viewer

__all__ = ["report"]

SPREAD_FOLDER = "spread"
"""Folder below the predictions where `synthct predict --spread` writes."""


def report(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Flat folder of <case id>.mha, or a platform's /input.")
    ],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Data set root, with or without CTs; or ct/ mask/ of a ground truth.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for index.html and <case id>.html.")],
    metrics: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the metrics.json of these predictions.")
    ] = None,
    cases: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this case; may be repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the entry. [default: the folder's]")] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Model folder; its card may name the training intensities.")
    ] = None,
    reference: Annotated[Literal["ct", "ct_def"], typer.Option(help="Which CT of a data set is shown.")] = "ct",
    viewer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="NiiVue's script. [default: the installed ipyniivue's]")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Put whole volumes into the pages, however large.")] = False,
) -> None:
    """Write one page per case: linked views, histograms, error by tissue, structures, and what needs no CT."""
    try:
        from evaluation.report.case_pages import write_case_pages
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; expected pip install 'synthct[report]'") from error
    from evaluation.report.case_images import find_report_cases
    from evaluation.report.run_notes import read_run
    from evaluation.submission import find_predictions

    submission = find_predictions(predictions)
    for problem in submission.problems:
        say(f"warning: {problem.message}")
    found = find_report_cases(submission.predictions, data, predictions / SPREAD_FOLDER, reference=reference)
    if cases:
        unknown = sorted(set(cases) - {str(case.id) for case in found})
        if unknown:
            raise InputError(f"{data}: --cases {unknown[0]} has no prediction and data; expected one of {_some(found)}")
        found = [case for case in found if str(case.id) in cases]
    run = read_run(predictions, data, found, metrics=metrics, model=model, name=name or predictions.resolve().name)
    prepare_output_folder(output)
    niivue = _viewer(viewer)
    with make_progress() as progress:
        bar = progress.add_task("writing pages", total=len(found))
        failures = write_case_pages(
            found, run, output, viewer=niivue, full=full, on_case=lambda _: progress.update(bar, advance=1)
        )
    for failure in failures:
        say(f"warning: {failure}")
    written = len(found) - len(failures)
    if written:
        tell(f"{written} case page{'s' if written > 1 else ''}; open {output / 'index.html'}")
    if failures:
        raise InputError(f"{len(failures)} of {len(found)} cases have no page; first: {failures[0]}")


def _viewer(path: Path | None) -> Viewer | None:
    from evaluation.report.niivue import find_viewer, read_viewer

    found = read_viewer(path) if path is not None else find_viewer()
    if found is None:
        say("warning: NiiVue is not at hand, the pages hold pictures only; expected ipyniivue, or --viewer FILE")
    return found


def _some(cases: Sequence[ReportCase]) -> str:
    return ", ".join(str(case.id) for case in cases[:5])
