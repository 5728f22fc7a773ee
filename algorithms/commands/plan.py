"""`synthct plan`: a SynthRAD data set with CTs in, the plan of its network out."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.anatomy import Region, Task
from synthct.cli.console import make_progress, tell
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import UsageError

if TYPE_CHECKING:
    from synthct.intensity import CaseZScore, ZScore
    from synthct.planning.fingerprint import Fingerprint
    from synthct.planning.plan import Plan

__all__ = ["plan"]


def plan(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set root, cases with their CT.")],
    output: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="File to write; it is replaced.")],
    gpu_memory: Annotated[float, typer.Option(help="GB that training may take, in nnU-Net's measure.")] = 8.0,
    kind: Annotated[
        Literal["residual", "plain", "hybrid"],
        typer.Option(help="Network: nnResU-Net, the standard nnU-Net, or a residual encoder with a plain decoder."),
    ] = "residual",
    upsampling: Annotated[
        Literal["trilinear", "transposed"] | None,
        typer.Option(help="Of the decoder. [default: transposed for plain, as nnU-Net has it; else trilinear]"),
    ] = None,
    task: Annotated[Task | None, typer.Option(help="Only this task.")] = None,
    region: Annotated[list[Region] | None, typer.Option(help="Only this region; may be repeated.")] = None,
    bounds: Annotated[
        Literal["fixed", "percentile"],
        typer.Option(help="HU to clip to: -1024 to 3071, or the 0.5 and 99.5 percentiles inside the masks."),
    ] = "fixed",
    exclude: Annotated[list[str] | None, typer.Option(help="Case id to leave out; may be repeated.")] = None,
) -> None:
    """Read a data set's spacings, shapes and intensities, and plan a network for it by nnU-Net's rules.

    PLAN.yaml may be edited by hand; its comments say what.
    """
    if not (math.isfinite(gpu_memory) and gpu_memory > 0):
        raise UsageError(f"--gpu-memory {gpu_memory:g} cannot be planned for; expected GB above 0")
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; expected a file to write the plan to")
    cases = _cases(data, task, region or [], exclude or [])

    from synthct.planning.fingerprint import fingerprint
    from synthct.planning.plan import make_plan

    with make_progress() as progress:
        bar = progress.add_task("reading", total=len(cases))
        found = fingerprint(cases, advance=lambda: progress.update(bar, advance=1))
    if upsampling is None:
        upsampling = "transposed" if kind == "plain" else "trilinear"
    made = make_plan(found, gpu_memory_gb=gpu_memory, kind=kind, upsampling=upsampling, bounds=bounds)
    made.write(output)
    _show(_rows(found, made, gpu_memory, bounds))
    tell(f"plan {output}")


def _cases(data: Path, task: Task | None, regions: Sequence[Region], exclude: Sequence[str]) -> list[CaseFiles]:
    found = find_cases(data, task=task)
    left_out = {case_id.upper() for case_id in exclude}
    unknown = sorted(left_out - {files.id for files in found})
    if unknown:
        raise UsageError(f"--exclude {unknown[0]} is no case of {data}; expected one like {found[0].id}")
    kept = [files for files in found if files.id not in left_out and (not regions or files.region in regions)]
    if not kept:
        there = ", ".join(sorted({files.region.value for files in found if files.region is not None}))
        raise UsageError(
            f"{data}: no case is left of {len(found)} (regions {there}); expected other --region, --exclude"
        )
    return kept


def _show(rows: Sequence[tuple[str, str, str]]) -> None:
    if not sys.stdout.isatty():
        tell("\n".join(f"{entry}: {value} ({why})" for entry, value, why in rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("entry", "value", "why")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def _rows(found: Fingerprint, made: Plan, gpu_memory: float, bounds: str) -> list[tuple[str, str, str]]:
    """What was chosen, and why."""
    from synthct.planning.memory import feature_map_limit, feature_map_voxels
    from synthct.planning.topology import median_shape

    network = made.network
    median = median_shape(found.spacings, found.shapes, made.spacing)
    needed, limit = feature_map_voxels(network, made.patch), feature_map_limit(network.kind, gpu_memory)
    halved = " x ".join(str(round(math.log2(factor))) for factor in network.multiple)
    inside = "mean and std inside the masks"
    of_image = "each MR by itself" if found.task is Task.MRI else f"clip bounds {bounds}; {inside}"
    return [
        ("cases", str(found.cases), f"{found.task}, {', '.join(found.regions) or 'unknown region'}"),
        ("spacing", f"{_by(made.spacing)} mm", "z, y, x; median of each axis, finer along one that is far coarser"),
        ("patch", _by(made.patch), f"of a median case of {_by(median)}; a multiple of {_by(network.multiple)}"),
        ("batch", str(made.batch), f"{needed / 1e6:.0f} M feature-map voxels a patch; {limit / 1e6:.0f} M fit twice"),
        (
            "network",
            f"{network.kind}, {len(network.features)} stages",
            f"axes halved {halved} times; {network.upsampling} up-sampling",
        ),
        ("CT", _formula(made.ct), f"clip bounds {bounds}; {inside}"),
        ("image", _formula(made.image), of_image),
    ]


def _formula(normalisation: ZScore | CaseZScore) -> str:
    if normalisation.kind == "case-z-score":
        return "z-score of each case"
    low, high, mean, std = normalisation.low, normalisation.high, normalisation.mean, normalisation.std
    return f"clip [{low:g}, {high:g}], mean {mean:.1f}, std {std:.1f}"


def _by(edges: Sequence[float]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in edges)
