"""`synthct evaluate`: predictions and ground truth in, metrics.json out."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from synthct.cli.console import make_progress, tell
from synthct.errors import UsageError
from synthct.files import prepare_output_folder, write_text

__all__ = ["evaluate"]

SHOWN = ("mae", "psnr", "ssim", "ms_ssim", "DICE", "dice_bone", "mae_compact_bone")


def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Flat folder of <case id>.mha.")],
    ground_truth: Annotated[
        Path, typer.Argument(metavar="GROUND_TRUTH", help="Data set root, or ct/ mask/ segmentation/.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for metrics.json.")],
    protocol: Annotated[Literal["synthrad2025", "synthrad2023"], typer.Option(help="Whose ranges.")] = "synthrad2025",
    segmenter: Annotated[list[str] | None, typer.Option(help="Judge of the structures: tissue.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    pictures: Annotated[bool, typer.Option("--pictures", help="Also write PNG slices of each case.")] = False,
) -> None:
    """Score synthetic CTs against their CTs."""
    from evaluation.scoring import aggregate, score_case
    from evaluation.submission import find_predictions, find_references, match, read_notes

    chosen = segmenter or ["tissue"]
    if chosen != ["tissue"]:
        raise UsageError(f"segmenter {', '.join(chosen)} is unknown; expected tissue")
    if workers != 1:
        raise UsageError(f"--workers {workers} is not built yet; expected 1")
    cases = match(find_references(ground_truth), find_predictions(predictions))
    notes = read_notes(predictions, cases)
    prepare_output_folder(output)
    rows = []
    with make_progress() as progress:
        bar = progress.add_task("scoring", total=len(cases))
        for case in cases:
            rows.append(score_case(case, protocol=protocol))
            if pictures:
                from evaluation.report.slices import write_case_picture

                write_case_picture(case, ground_truth, output / f"{case.id}.png")
            progress.update(bar, advance=1)
    regions = sorted({row["region"] for row in rows})
    means = aggregate(rows)
    metrics = {
        "results": rows,
        "aggregates": means,
        "aggregates_by_region": {
            region: aggregate([row for row in rows if row["region"] == region]) for region in regions
        },
        "protocol": protocol,
        "segmenter": "tissue",
        "segmenter_weights": None,
        "registration": "none",
        "simulated": notes["simulated"],
        "starter": notes["starter"],
        "manifest": {"synthct": version("synthct"), **notes},
    }
    path = write_text(output / "metrics.json", json.dumps(metrics, indent=4, allow_nan=False) + "\n")
    shown = [f"{name} {means[name]['mean']:.4g}" for name in SHOWN if name in means and means[name]["mean"] is not None]
    tell(f"{len(rows)} case{'s' if len(rows) > 1 else ''}: {', '.join(shown)}; details in {path}")
