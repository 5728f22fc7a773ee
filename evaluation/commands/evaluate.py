"""`synthct evaluate`: predictions and ground truth in, metrics.json out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.cli.console import make_progress, say, tell
from synthct.errors import InputError, UsageError
from synthct.files import prepare_output_folder

if TYPE_CHECKING:
    from evaluation.rows import ScoredCase
    from evaluation.submission import ScoringCase

__all__ = ["CACHE_FOLDER", "evaluate"]

CACHE_FOLDER = "segmentations"
"""Folder below the output where networks' label maps are kept, named by content."""


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Flat folder of <case id>.mha, or a platform's /input.")
    ],
    ground_truth: Annotated[
        Path, typer.Argument(metavar="GROUND_TRUTH", help="Data set root, or ct/ mask/ segmentation/.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for metrics.json.")],
    protocol: Annotated[
        Literal["synthrad2025", "synthrad2023"], typer.Option(help="Whose HU range; synthrad2023 adds SSIM.")
    ] = "synthrad2025",
    segmenter: Annotated[
        list[str] | None,
        typer.Option(
            help="Judge of the structures: totalsegmentator[:WEIGHTS], nnunet:DIR, precomputed:DIR or tissue; may be "
            "repeated. [default: totalsegmentator]"
        ),
    ] = None,
    nsd_tolerance: Annotated[
        float | None, typer.Option(min=0.0, help="NSD tolerance in mm. [default: twice the in-plane voxel]")
    ] = None,
    reference: Annotated[Literal["ct", "ct_def"], typer.Option(help="Which CT of a data set is the reference.")] = "ct",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: what fits the cores and 8 GB]")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Score on this Dask scheduler's workers instead.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of segmentations by content. [default: OUTPUT/segmentations]")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Also write PNG slices of each case.")] = False,
) -> None:
    """Score synthetic CTs against their CTs. Rows are kept as they finish; the same command goes on where it ended."""
    from evaluation.executor import open_crew
    from evaluation.rows import ROWS_FOLDER
    from evaluation.run import METRICS_NAME, make_metrics, refuse_failures, score_all, write_metrics
    from evaluation.scoring import ScoringSettings
    from evaluation.segmenters.registry import absolute_spec
    from evaluation.whole_run import find_cases, fitting_workers, judges_differ, lines_about, summary

    if workers is not None and dask is not None:
        raise UsageError(f"--workers {workers} and --dask {dask} exclude each other; expected one of them")
    if nsd_tolerance == 0.0:
        raise UsageError("--nsd-tolerance 0: expected a distance above 0 mm")
    specs = tuple(segmenter or ["totalsegmentator"])
    if not judges_differ(specs):
        raise UsageError(f"--segmenter {' '.join(specs)}: two judges bear one name; expected each once")
    if dask is not None:  # workers stand in another folder
        predictions, ground_truth = predictions.absolute(), ground_truth.absolute()
        specs = tuple(absolute_spec(spec) for spec in specs)
    prepare_output_folder(output)
    (output / METRICS_NAME).unlink(missing_ok=True)  # of an earlier run: it must not pass for this one's
    if (output / ROWS_FOLDER).is_dir():
        prepare_output_folder(output / ROWS_FOLDER)
    found = find_cases(predictions, ground_truth, reference=reference)
    for problem in found.problems:
        say(f"warning: {problem.message}")
    settings = ScoringSettings(
        protocol=protocol,
        segmenters=specs,
        nsd_tolerance_mm=nsd_tolerance,
        device=device,
        cache=(cache or output / CACHE_FOLDER).absolute(),
    )
    count = workers or fitting_workers(found.cases, specs)
    with open_crew(count, dask) as crew, make_progress() as progress:
        bar = progress.add_task("scoring", total=len(found.cases))

        def show(case: ScoringCase, scored: ScoredCase) -> None:
            progress.update(bar, advance=1)
            for line in lines_about(scored):
                say(line)
            if pictures and scored.failure is None:
                _write_picture(case, ground_truth, output)

        finished = score_all(found.cases, settings, output, crew, on_case=show)
    if taken := sum(scored.taken_over for scored in finished):
        say(f"{taken} of {len(finished)} cases taken over from an earlier run")
    metrics = make_metrics(finished, found.problems, settings, found.notes)
    if metrics["results"]:
        tell(summary(metrics, write_metrics(output, metrics)))
    refuse_failures(finished, found.problems)


def _write_picture(case: ScoringCase, ground_truth: Path, output: Path) -> None:
    from evaluation.report.slices import write_case_picture

    try:
        write_case_picture(case, ground_truth, output / f"{case.id}.png")
    except InputError as error:  # another grid, no MR or CBCT: the scores stand all the same
        say(f"warning: case {case.id} gets no picture: {error}")
