"""All cases of a submission in, metrics.json out: spread over workers, kept row by row, resumed where a run ended."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.aggregates import aggregate
from evaluation.executor import Crew
from evaluation.notes import SEGMENTED_BY
from evaluation.rows import SCORING_VERSION, ScoredCase, fingerprint, read_row, write_row
from evaluation.scoring import ScoringSettings, score_case
from evaluation.segmenters.registry import case_files, describe_segmenter
from evaluation.submission import Problem, ScoringCase
from synthct.errors import (
    ContractError,
    InputError,
    MemoryLimitError,
    SynthCTError,
    UsageError,
    WeightsError,
)
from synthct.failure import describe_failure, show_traceback_if_asked
from synthct.files import write_text

__all__ = ["METRICS_NAME", "make_metrics", "refuse_failures", "score_all", "score_in_worker", "write_metrics"]

METRICS_NAME = "metrics.json"

TOLERANCE_RULE = "twice the in-plane voxel"
"""What metrics.json says of the NSD tolerance where no number was given; each row holds its own."""

Judges = tuple[tuple[str, str | None], ...]

_ONE_AT_A_TIME = threading.Lock()
"""A Dask worker may call with several threads; one case at a time keeps its memory and its warnings apart."""


@dataclass(frozen=True)
class _Work:
    """One case for one worker."""

    case: ScoringCase
    settings: ScoringSettings
    judges: Judges
    known: ScoredCase | None


def score_all(
    cases: Sequence[ScoringCase],
    settings: ScoringSettings,
    output: Path,
    crew: Crew,
    *,
    on_case: Callable[[ScoringCase, ScoredCase], None] = lambda case, scored: None,
) -> list[ScoredCase]:
    """Score the cases on a crew of workers, keeping each row below `output` as it comes.

    Args:
        cases: complete, each with its prediction.
        settings: for every case; its `threads` are set to the crew's.
        output: rows that an earlier run left there are taken over where nothing that they depend on has changed.
        crew: the workers.
        on_case: called as each case is finished, in no fixed order.

    Returns:
        One entry per case in the order of `cases`, failures among them: one bad case does not lose the others.

    Raises:
        WeightsError: a judge's weights are missing.
        LostWorkerError: a worker died; the rows so far are kept.
    """
    judges = tuple(describe_segmenter(spec) for spec in settings.segmenters)
    settings = replace(settings, threads=crew.threads)
    work = [_Work(case, settings, judges, read_row(output, str(case.id))) for case in cases]
    finished: dict[str, ScoredCase] = {}
    for item, scored in crew.as_finished(score_in_worker, work):
        if not scored.taken_over:
            write_row(output, scored)
        finished[scored.case] = scored
        on_case(item.case, scored)
    return [finished[str(case.id)] for case in cases]


def score_in_worker(work: _Work) -> ScoredCase:
    """Score one case, or take its row over; whatever goes wrong becomes the case's failure, not the run's."""
    name = str(work.case.id)
    try:
        with _ONE_AT_A_TIME:
            return _score_or_take_over(work)
    except Exception as error:  # noqa: BLE001  # a case that breaks a library must not lose the others
        show_traceback_if_asked(error)
        failure = describe_failure(error)
        return ScoredCase(name, failure=failure.reason, exit_code=failure.exit_code)


def _score_or_take_over(work: _Work) -> ScoredCase:
    content = _fingerprint(work)
    if work.known is not None and work.known.fingerprint == content:
        return replace(work.known, taken_over=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        row = score_case(work.case, work.settings)
    said = [str(item.message) for item in caught if issubclass(item.category, UserWarning)]
    return ScoredCase(str(work.case.id), content, row, tuple(dict.fromkeys(said)))


def make_metrics(
    finished: Sequence[ScoredCase], problems: Sequence[Problem], settings: ScoringSettings, notes: dict[str, Any]
) -> dict[str, Any]:
    """Put the content of metrics.json together; it holds nothing that differs from one run to the next.

    Args:
        finished: from `score_all`.
        problems: cases that could not even be tried.
        settings: as for `score_all`.
        notes: what predictions and ground truth say of themselves (`evaluation.submission.read_notes`).
    """
    judges = [
        {"name": name, "weights": weights, "kind": spec.partition(":")[0]}
        for spec in settings.segmenters
        for name, weights in [describe_segmenter(spec)]
    ]
    shared = sorted({judge["weights"] for judge in judges if judge["weights"]} & set(notes["extractors"]))
    if shared:
        warnings.warn(
            f"the judge's weights ({shared[0][:12]}...) are also those of the feature extractor that a model was "
            "trained with: its structure scores flatter",
            stacklevel=2,
        )
    _warn_of_other_weights(judges[0], notes["dataset"])
    rows = [scored.row for scored in finished if scored.row is not None]
    failures = [{"case": problem.case, "reason": problem.message} for problem in problems]
    failures += [{"case": scored.case, "reason": scored.failure} for scored in finished if scored.row is None]
    regions = sorted({row["region"] for row in rows})
    return {
        "results": rows,
        "aggregates": aggregate(rows),
        "aggregates_by_region": {
            region: aggregate([row for row in rows if row["region"] == region]) for region in regions
        },
        "protocol": settings.protocol,
        "scoring_version": SCORING_VERSION,
        "segmenter": judges[0]["name"],
        "segmenter_weights": judges[0]["weights"],
        "segmenters": judges,
        "judge_is_extractor": bool(shared),
        "nsd_tolerance_mm": settings.nsd_tolerance_mm or TOLERANCE_RULE,
        "registration": notes["registration"],
        "reference": notes["reference"],
        "simulated": notes["simulated"],
        "starter": notes["starter"],
        "random_features": notes["random_features"],
        "demonstration_only": notes["demonstration_only"],
        "failures": failures,
        "manifest": {
            "synthct": version("synthct"),
            "simulated": notes["simulated"],
            "starter": notes["starter"],
            "dataset": notes["dataset"],
            "prediction": notes["prediction"],
        },
    }


def _warn_of_other_weights(judge: dict[str, str | None], dataset: dict[str, Any]) -> None:
    """The CT and the sCT are to be judged by the same eyes (CONTRACT 3.1): the ground truth's note may tell."""
    known = dataset.get(SEGMENTED_BY)
    if judge["kind"] == "totalsegmentator" and isinstance(known, list) and known and known != [judge["weights"]]:
        shown = ", ".join(str(name)[:12] for name in known)
        warnings.warn(
            f"the ground truth was segmented by weights {shown}, the sCTs are by {str(judge['weights'])[:12]}; "
            "expected the same for both",
            stacklevel=3,
        )


def write_metrics(output: Path, metrics: dict[str, Any]) -> Path:
    """Write metrics.json, as strict JSON."""
    return write_text(output / METRICS_NAME, json.dumps(metrics, indent=4, allow_nan=False) + "\n")


def refuse_failures(finished: Sequence[ScoredCase], problems: Sequence[Problem]) -> None:
    """Leave with an error where not every case has a row.

    Raises:
        SynthCTError: with the exit code of the first case that failed; it names how many did and the first reason.
    """
    failed = [scored for scored in finished if scored.row is None]
    reasons = [problem.message for problem in problems] + [f"case {each.case}: {each.failure}" for each in failed]
    if not reasons:
        return
    code = InputError.exit_code if problems else failed[0].exit_code
    # A case may have several problems and counts once; a file without a case's name counts by itself.
    nameless = sum(problem.case is None for problem in problems)
    named = {each.case for each in failed} | {problem.case for problem in problems if problem.case is not None}
    count, total = len(named) + nameless, len(named | {each.case for each in finished}) + nameless
    kinds = (UsageError, InputError, WeightsError, MemoryLimitError, ContractError)
    kind = {each.exit_code: each for each in kinds}.get(code, SynthCTError)
    first = reasons[0] if len(reasons) == 1 else f"first: {reasons[0]}"
    raise kind(f"{count} of {total} cases could not be scored; {first}")


def _fingerprint(work: _Work) -> str:
    settings = work.settings
    identity: dict[str, Any] = {
        "protocol": settings.protocol,
        "judges": work.judges,
        "nsd_tolerance_mm": settings.nsd_tolerance_mm,
    }
    if any(weights for _, weights in work.judges):
        from synthct.inference.engine import choose_device

        identity["device"] = choose_device(settings.device).type
    more = [path for spec in settings.segmenters for path in case_files(spec, str(work.case.id))]
    return fingerprint(work.case, identity, *more)
