"""`synthct align-check`: which CTs lie on their images, and a data set in which the others are moved or left out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthct.anatomy import Region, Task
from synthct.cli.console import make_progress, say, tell
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import UsageError
from synthct.files import prepare_output_folder

if TYPE_CHECKING:
    from synthct.training.alignment_cases import CheckTask
    from synthct.training.alignment_check import PairScore
    from synthct.training.alignment_table import AlignmentRow
    from synthct.training.alignment_tree import RepairedTree
    from synthct.training.thresholds import Thresholds

__all__ = ["align_check"]

TABLE_NAME, SUMMARY_NAME, PICTURES_FOLDER = "alignment.csv", "summary.json", "overlays"
RepairMode = Literal["drop", "rigid", "bspline"]
Limits = Literal["auto", "shipped", "fitted"]


def align_check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set root, at any level of the tree.")],
    output: Annotated[Path, typer.Option(help="Folder for alignment.csv, summary.json and overlays/.")],
    task: Annotated[Task | None, typer.Option(help="Only the cases of this task.")] = None,
    repair: Annotated[
        RepairMode | None,
        typer.Option(help="Write a data set without flagged pairs (drop), or move each CT first (rigid, bspline)."),
    ] = None,
    repaired: Annotated[Path | None, typer.Option(metavar="DIR", help="New folder for that data set.")] = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Hard links in that data set in place of copies, but for masks: no disk used, and who writes into a "
            "linked file changes DATA too.",
        ),
    ] = False,
    max_residual_mm: Annotated[float | None, typer.Option(min=0.0, help="Flag a pair above this.")] = None,
    min_body_dice: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Flag a pair below this.")] = None,
    min_information: Annotated[
        float | None, typer.Option(min=0.0, help="Flag a pair with less mutual information, in nats.")
    ] = None,
    limits: Annotated[
        Limits,
        typer.Option(help="Limits: shipped (T1 limbs), fitted to this data set, or auto: fitted unless MR limbs."),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes, each some 60 bytes a voxel (512 x 512 x 150: 2.4 GB). [default: the usable cores]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Noted in summary.json; the search has no random part.")] = 1,
) -> None:
    """Score how well each CT lies on its image, flag pairs that are too far off, and repair a data set for training."""
    for option, value in (("--max-residual-mm", max_residual_mm), ("--min-information", min_information)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{option} is {value:g}; expected a finite number (leave it out for the usual limit)")
    from synthct.training.alignment_cases import CheckTask, check_headers

    if (repair is None) != (repaired is None):
        given, missing = ("--repair", "--repaired DIR") if repaired is None else ("--repaired", "--repair MODE")
        raise UsageError(f"{given} needs {missing}; expected both or neither")
    if link and repair is None:
        raise UsageError("--link needs --repair MODE; expected it with a data set to write")
    cases = find_cases(data, task=task)
    for files in cases:
        check_headers(files)
    tree = _open_tree(repaired, cases, apart_from=(data, output), link=link)
    prepare_output_folder(output)
    for name in (TABLE_NAME, SUMMARY_NAME):
        (output / name).unlink(missing_ok=True)  # of an earlier run: it must not pass for this one's
    pictures = prepare_output_folder(output / PICTURES_FOLDER)
    count = min(workers or len(os.sched_getaffinity(0)), len(cases))
    scores, failure = _score(
        cases, [CheckTask(files, pictures / f"{files.id}.png", seed) for files in cases], workers=count
    )
    if failure is not None and not scores:
        raise failure
    scored = [files for files in cases if files.id in scores]
    wanted = {
        "max_residual_mm": max_residual_mm,
        "min_body_dice": min_body_dice,
        "min_mutual_information": min_information,
    }
    chosen = _override(_choose_limits(scored, scores, limits), wanted)
    results = _Results(output, chosen, seed, tuple(files.id for files in cases if files.id not in scores))
    rows = [_row(files.id, scores[files.id], chosen[_kind(files)][1]) for files in scored]
    results.write(rows)
    if failure is not None:
        left = f"{len(cases) - len(rows)} of {len(cases)} cases were not checked"
        say(f"warning: {left}, {output / TABLE_NAME} holds the others; the first failure follows")
        raise failure
    if repair is not None and tree is not None:
        try:
            rows = _repair(cases, rows, chosen, repair, tree, pictures, workers=count, seed=seed)
        except BaseException:
            say(f"warning: {tree.root}: is unfinished and lacks cases; remove it before the next run")
            raise
        results.write(rows)
    for row in rows:
        if row.reasons:
            say(f"{row.case}: flagged, {'; '.join(row.reasons)}")
    tell(_closing_line(rows, output, repaired))


@dataclass(frozen=True)
class _Results:
    """What alignment.csv and summary.json are written from, after the scoring and again after the repair."""

    output: Path
    limits: Mapping[str, tuple[str, Thresholds]]
    seed: int
    unchecked: tuple[str, ...]

    def write(self, rows: Sequence[AlignmentRow]) -> None:
        from synthct.training.alignment_table import write_summary, write_table

        write_table(self.output / TABLE_NAME, rows)
        write_summary(self.output / SUMMARY_NAME, rows, self.limits, seed=self.seed, unchecked=self.unchecked)


def _score(
    cases: Sequence[CaseFiles], tasks: Sequence[CheckTask], *, workers: int
) -> tuple[dict[str, PairScore], Exception | None]:
    """Score the cases; also the failure that kept some from it, to be raised once the others are written down."""
    from synthct.training.alignment_cases import check_case, work_through

    scores: dict[str, PairScore] = {}
    with make_progress() as progress:
        bar = progress.add_task("checking", total=len(cases))
        try:
            for index, score in work_through(check_case, tasks, workers=workers):
                scores[cases[index].id] = score
                progress.update(bar, advance=1)
        except Exception as error:  # noqa: BLE001  (the caller raises it)
            return scores, error
    return scores, None


def _row(case: str, score: PairScore, limits: Thresholds) -> AlignmentRow:
    from synthct.training.alignment_table import AlignmentRow

    return AlignmentRow(case, score, limits.flags(score))


def _override(
    chosen: Mapping[str, tuple[str, Thresholds]], options: Mapping[str, float | None]
) -> dict[str, tuple[str, Thresholds]]:
    """Put the limits that were given as options in place of the others."""
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return dict(chosen)
    return {kind: (f"{source}, options", replace(known, **given)) for kind, (source, known) in chosen.items()}


def _open_tree(
    repaired: Path | None, cases: Sequence[CaseFiles], *, apart_from: Sequence[Path], link: bool
) -> RepairedTree | None:
    """Refuse a target that mixes with other folders before any work is done."""
    if repaired is None:
        return None
    from synthct.training.alignment_tree import start_tree

    for other in apart_from:
        inner, outer = repaired.resolve(), other.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise UsageError(f"{repaired}: lies in {other} or holds it; expected a folder apart from it")
    return start_tree(repaired, cases[0], link=link)


def _kind(files: CaseFiles) -> str:
    """What has limits of its own: task and region, "mri EX"."""
    return f"{files.task.value} {files.region.value if files.region else 'unknown'}"


def _choose_limits(
    cases: Sequence[CaseFiles], scores: Mapping[str, PairScore], limits: Limits
) -> dict[str, tuple[str, Thresholds]]:
    """Limits and their source (shipped or fitted) for each kind of case."""
    from synthct.training.thresholds import FEWEST_PAIRS, Thresholds, fit_thresholds

    own = f"{Task.MRI.value} {Region.EXTREMITY.value}"
    chosen = {}
    for kind in sorted({_kind(files) for files in cases}):
        found = [scores[files.id] for files in cases if _kind(files) == kind]
        if limits == "shipped" or (limits == "auto" and kind == own):
            chosen[kind] = "shipped", Thresholds()
        elif len(found) < FEWEST_PAIRS:
            say(
                f"warning: {len(found)} cases of {kind} are too few to fit limits to, those of T1 limbs are used; "
                f"expected {FEWEST_PAIRS} or more, or limits by options"
            )
            chosen[kind] = "shipped", Thresholds()
        else:
            chosen[kind] = "fitted", fit_thresholds(found)
    return chosen


def _repair(
    cases: Sequence[CaseFiles],
    rows: Sequence[AlignmentRow],
    chosen: Mapping[str, tuple[str, Thresholds]],
    repair: RepairMode,
    tree: RepairedTree,
    pictures: Path,
    *,
    workers: int,
    seed: int,
) -> list[AlignmentRow]:
    """Write the repaired data set; the rows gain what became of each case."""
    from synthct.training.alignment_cases import Repaired, RepairTask, repair_case, work_through

    if repair == "drop":
        for files, row in zip(cases, rows, strict=True):
            if not row.reasons:
                tree.take_over(files)
        return [replace(row, repaired=Repaired("dropped" if row.reasons else "kept", row.reasons)) for row in rows]
    tasks = [
        RepairTask(files, row.score, chosen[_kind(files)][1], repair, tree, pictures / f"{files.id}.png", seed)
        for files, row in zip(cases, rows, strict=True)
    ]
    done = list(rows)
    with make_progress() as progress:
        bar = progress.add_task(f"repairing ({repair})", total=len(tasks))
        for index, outcome in work_through(repair_case, tasks, workers=workers):
            done[index] = replace(rows[index], repaired=outcome)
            progress.update(bar, advance=1)
    return done


def _closing_line(rows: Sequence[AlignmentRow], output: Path, repaired: Path | None) -> str:
    flagged = sum(bool(row.reasons) for row in rows)
    line = f"{flagged} of {len(rows)} pairs flagged; {output / TABLE_NAME}"
    if repaired is None:
        return line
    kept = sum(row.repaired is not None and row.repaired.action != "dropped" for row in rows)
    return f"{line}; {kept} pairs in {repaired}"
