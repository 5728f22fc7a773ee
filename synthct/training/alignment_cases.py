"""The check and the repair of one case from its files, as a worker process does them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn, TypeVar

import SimpleITK as sitk

from synthct.dataset import Case, CaseFiles, load_case
from synthct.errors import InputError, OutputError, SynthCTError
from synthct.files import staged_file
from synthct.header import read_header, require_size
from synthct.training.alignment_check import PairScore, score_pair
from synthct.training.alignment_repair import Method, Verdict, repair_pair
from synthct.training.alignment_tree import RepairedTree
from synthct.training.overlay import draw_overlay
from synthct.training.thresholds import Thresholds
from synthct.volume import Volume
from synthct.worker import end_with_parent

__all__ = [
    "CheckTask",
    "RepairTask",
    "Repaired",
    "check_case",
    "check_headers",
    "load_pair",
    "repair_case",
    "work_through",
]

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class CheckTask:
    """One case to score, where its picture goes, and the seed."""

    files: CaseFiles
    picture: Path
    seed: int


@dataclass(frozen=True)
class RepairTask:
    """One case to repair: its score, the limits that it has to meet afterwards, where it is written."""

    files: CaseFiles
    score: PairScore
    thresholds: Thresholds
    method: Method
    tree: RepairedTree
    picture: Path
    seed: int


@dataclass(frozen=True)
class Repaired:
    """What became of a case: `kept`, `rigid`, `bspline`, or `dropped` where it stays flagged for `reasons`.

    The judges are asked only where a CT may be moved; `after` is None where nothing is left to judge.
    """

    action: str
    reasons: tuple[str, ...]
    before: Verdict | None = None
    after: Verdict | None = None


def check_headers(files: CaseFiles) -> None:
    """Read the headers of a pair's image, CT and mask, so that most faults are told before any case is worked on.

    Raises:
        InputError: the CT or the mask is missing, a header is refused, or a size differs from the image's.
    """
    folder = files.image.parent
    for name, path in (("CT", files.reference), ("mask", files.mask)):
        if path is None:
            raise InputError(f"{folder}: case {files.id} has no {name}; expected {folder / name.lower()}.mha")
    header = read_header(files.image)
    for path in (files.reference, files.mask):
        if path is not None:
            require_size(read_header(path), header.size, of=files.image)


def load_pair(files: CaseFiles) -> tuple[Case, Volume]:
    """Read a case and its CT; refuse one without.

    Raises:
        InputError: it has no CT, or a file is refused.
    """
    case = load_case(files)
    if case.reference is None:
        raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected ct.mha beside {files.image.name}")
    return case, case.reference


def check_case(task: CheckTask) -> PairScore:
    """Score one case and draw its picture."""
    case, reference = load_pair(task.files)
    score = score_pair(case.image, reference, case.mask, seed=task.seed)
    with staged_file(task.picture) as staged:
        draw_overlay(case.id, case.image, [("as it is", reference)]).save(staged, optimize=True)
    return score


def repair_case(task: RepairTask) -> Repaired:
    """Repair one case, write it where it meets the limits afterwards, and draw before and after."""
    case, reference = load_pair(task.files)
    repair = repair_pair(case, task.score.motion, method=task.method)
    reasons = task.thresholds.flags(task.score)
    if repair.action == "kept":
        if not reasons:
            task.tree.take_over(task.files)
        return Repaired("dropped" if reasons else "kept", reasons, repair.before, None if reasons else repair.after)
    rows = [("before", reference), (f"after {repair.action}", repair.reference)]
    with staged_file(task.picture) as staged:
        draw_overlay(case.id, case.image, rows).save(staged, optimize=True)
    found = task.thresholds.flags(score_pair(case.image, repair.reference, repair.mask, seed=task.seed))
    if found and not reasons:  # the judges took a move that the limits do not like: the pair was sound as it was
        task.tree.take_over(task.files)
        return Repaired("kept", (), repair.before, repair.before)
    if found:
        return Repaired("dropped", found, repair.before, repair.after)
    task.tree.write(task.files, reference=repair.reference, mask=repair.mask)
    return Repaired(repair.action, (), repair.before, repair.after)


def work_through(
    work: Callable[[Argument], Result], arguments: Sequence[Argument], *, workers: int
) -> Iterator[tuple[int, Result]]:
    """Do the work in processes of one thread each and yield (index, result) as they end, in no fixed order.

    One thread: ITK adds up a metric in another order with each number of threads, and the motion found with it.

    A case whose files are at fault (InputError) does not keep the others from being done; any other failure (a full
    disk, no memory) ends the work, as the rest would hardly fare better. What was started is finished either way.

    Raises:
        SynthCTError: a worker died.
        Exception: what the work itself raised, after all results; of several failures that with the lowest index.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare_worker)
    try:
        waiting = {pool.submit(work, argument): index for index, argument in enumerate(arguments)}
        failures: dict[int, BaseException] = {}
        for future in as_completed(waiting):
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                yield waiting[future], future.result()
                continue
            failures[waiting[future]] = error
            if isinstance(error, BrokenProcessPool):
                continue  # the pool fails the others itself, and stumbles over those that are cancelled meanwhile
            if not isinstance(error, InputError) or isinstance(error, OutputError):
                for other in waiting:
                    other.cancel()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failures:
        _raise(failures[min(failures)])


def _raise(error: BaseException) -> NoReturn:
    if isinstance(error, BrokenProcessPool):
        raise SynthCTError("a worker process died, out of memory or killed; expected to finish its case") from error
    raise error


def _prepare_worker() -> None:
    end_with_parent()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
