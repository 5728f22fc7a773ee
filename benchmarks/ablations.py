"""Which part of the 2025 system helps, by k-fold cross-validation of one tiny plan: the figures of docs/ablations.md.

    python -m benchmarks.ablations run DATA WORK --extractor DIR [--folds 3] [--iterations 500] [--part 1/2]
    python -m benchmarks.ablations report WORK [--markdown docs/ablations.md]

DATA is a data set root of aligned pairs (`synthct align-check --repair`); the three test limbs are never read. All
arms have the same folds, patches, number of iterations and plan, but for what an arm is about. Each run is the real
`synthct train`, `predict` and `evaluate`; runs that are finished are not done again, so a call can be repeated, and
`--part 1/2` and `--part 2/2` share the work between two processes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.ablation_arms import ARMS, NETWORK, PATCH, chosen_arms, write_plans
from benchmarks.ablation_report import make_report, put_between_marks
from benchmarks.ablation_runs import Experiment, link_held_out, perform
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import InputError, SynthCTError, UsageError
from synthct.features.folder import extractor_folder, read_extractor_card
from synthct.files import write_text
from synthct.training.folds import Splits, make_splits

TEST = ("1EXA010", "1EXA035", "1EXA051")
RECORD = "ablations.json"

app = typer.Typer(add_completion=False, no_args_is_help=True)


def share_of(jobs: list[tuple[int, str]], part: str) -> list[tuple[int, str]]:
    """Every N-th of the jobs from the I-th on, for a part I/N.

    Raises:
        UsageError: the text is no I/N with 1 <= I <= N.
    """
    first, _, count = part.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UsageError(f"--part '{part}' is no part; expected one like 1/2")
    return jobs[int(first) - 1 :: int(count)]


def folds_of(cases: list[CaseFiles], work: Path, folds: int) -> Splits:
    """The folds of this work folder, made where there are none yet.

    Raises:
        UsageError: there are others of another number.
    """
    path = work / "splits.json"
    if not path.exists():
        make_splits(cases, folds=folds).write(path)
    splits = Splits.read(path)
    if len(splits.folds) != folds:
        raise UsageError(f"{path}: holds {len(splits.folds)} folds, --folds says {folds}; expected another WORK")
    return splits


def note_experiment(work: Path, wanted: dict[str, Any]) -> None:
    """Keep what all runs share, and refuse a call that would mix it with another.

    Raises:
        UsageError: the folder's runs were made otherwise.
        InputError: the record cannot be read.
    """
    path = work / RECORD
    if path.exists():
        before = read_record(work)
        for name, value in wanted.items():
            told = before.get(name)
            if told != value and not (name == "extractor" and None in (told, value)):
                raise UsageError(f"{path}: {name} is {str(told)[:80]}, this call has {str(value)[:80]}; expected the "
                                 "same, or another WORK")  # fmt: skip
        wanted = wanted | {"extractor": wanted["extractor"] or before.get("extractor")}
    write_text(path, json.dumps(wanted, indent=1) + "\n")


def read_record(work: Path) -> dict[str, Any]:
    """What all runs of a work folder share.

    Raises:
        InputError: the record cannot be read.
    """
    path = work / RECORD
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected the folder of a benchmark run") from error
    return content


def extractor_note(folder: Path | None) -> dict[str, Any] | None:
    """What the report says of an extractor."""
    if folder is None:
        return None
    card = read_extractor_card(folder)
    names = ("sha256", "random", "starter", "source", "trained_on", "layers")
    return card.model_dump(mode="json", include=set(names))


@app.command()
def run(
    data: Annotated[Path, typer.Argument(help="Data set root of aligned pairs.")],
    work: Annotated[Path, typer.Argument(help="Folder to work in.")],
    extractor: Annotated[Path | None, typer.Option(help="Extractor folder of the AFP arms, or starter.")] = None,
    folds: Annotated[int, typer.Option(min=2)] = 3,
    iterations: Annotated[int, typer.Option(min=2, help="Of each arm, its stages together.")] = 500,
    arms: Annotated[str, typer.Option(help="Names with commas between; all if left out.")] = "",
    threads: Annotated[int, typer.Option(min=1, help="Of each command.")] = 1,
    only_fold: Annotated[int | None, typer.Option(min=0)] = None,
    part: Annotated[str, typer.Option(help="I/N: the I-th of N shares of the runs.")] = "1/1",
) -> None:
    """Train, predict and score every arm on every fold."""
    names = chosen_arms(arms)
    if extractor is None and any(ARMS[name].needs_extractor for name in names):
        raise UsageError("--extractor is missing; expected the folder of a feature extractor, or --arms without AFP")
    extractor = None if extractor is None else extractor_folder(extractor)
    found = find_cases(data)
    cases = [files for files in found if files.id not in TEST]
    excluded = tuple(files.id for files in found if files.id in TEST)
    splits = folds_of(cases, work, folds)
    if only_fold is not None and only_fold >= folds:
        raise UsageError(f"--only-fold {only_fold} is no fold; expected 0 to {folds - 1}")
    note_experiment(
        work,
        {
            "iterations": iterations,
            "folds": folds,
            "threads": threads,
            "patch": list(PATCH),
            "features": NETWORK["features"],
            "cases": [files.id for files in cases],
            "extractor": extractor_note(extractor),
        },
    )
    write_plans(work / "plans", cases)
    experiment = Experiment(data, work, excluded, iterations, threads, extractor)
    jobs = [(fold, name) for fold in range(folds) if only_fold in (None, fold) for name in names]
    for fold, name in share_of(jobs, part):
        held_out = link_held_out(cases, splits.folds[fold].val, work / "held-out" / f"fold_{fold}")
        rows = perform(experiment, name, fold, held_out)
        sys.stdout.write(f"{name}, fold {fold}: {rows}\n")
        sys.stdout.flush()


@app.command()
def report(
    work: Annotated[Path, typer.Argument(help="Folder of a run.")],
    markdown: Annotated[
        Path | None, typer.Option(help="File to write to; between its marks, where it holds them.")
    ] = None,
) -> None:
    """Compare the arms that are done."""
    text = make_report(read_record(work), [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((work / "scores").glob("*/fold_*/rows.json"))
    ])  # fmt: skip
    if markdown is None:
        sys.stdout.write(text)
        return
    before = markdown.read_text(encoding="utf-8") if markdown.exists() else ""
    write_text(markdown, put_between_marks(before, text))


def main() -> None:
    """Run the program; what goes wrong is told in one line."""
    try:
        app()
    except SynthCTError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
