"""Which prediction belongs to which reference, by case id; what is missing or unclear is a problem, not the end."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation.notes import read_notes, read_registration
from evaluation.references import ScoringCase, find_references
from synthct.anatomy import CaseId
from synthct.errors import InputError
from synthct.grand_challenge.flat import find_flat_predictions
from synthct.grand_challenge.submission import JOBS_NAME, Problem, read_predictions_json

__all__ = [
    "Problem",
    "ScoringCase",
    "Submission",
    "find_predictions",
    "find_references",
    "match",
    "read_notes",
    "read_registration",
]

Kind = Literal["flat", "algorithm phase"]


@dataclass(frozen=True)
class Submission:
    """What was handed in.

    Attributes:
        predictions: the sCT of each case that has exactly one.
        problems: files and jobs that cannot be scored, one line each.
        kind: a flat folder of <case id>.mha, or the platform's /input of an algorithm phase.
    """

    predictions: dict[CaseId, Path]
    problems: tuple[Problem, ...] = ()
    kind: Kind = "flat"


def find_predictions(folder: Path) -> Submission:
    """Find the sCTs in a flat folder (the prediction phase's zip), or by predictions.json (an algorithm phase).

    Raises:
        InputError: the folder is missing or holds no prediction, or predictions.json as a whole cannot be used.
    """
    if os.path.lexists(folder / JOBS_NAME):  # a link that leads nowhere is refused below, not passed over
        jobs, problems = read_predictions_json(folder / JOBS_NAME)
        return Submission({job.case: job.prediction for job in jobs}, problems, "algorithm phase")
    predictions, problems = find_flat_predictions(folder)
    return Submission(predictions, problems, "flat")


def match(references: Sequence[ScoringCase], submission: Submission) -> tuple[list[ScoringCase], tuple[Problem, ...]]:
    """Give each reference its prediction.

    What concerns no reference only gives a warning: a prediction without one, a file or job whose case cannot be told,
    a broken or double one of another case. A submission that has all references is complete whatever lies beside.

    Returns:
        The cases that can be scored, in the order of the references; and the problems, sorted by case: those of the
        submission that concern a reference, and one for each reference that has neither a prediction nor a problem yet.

    Raises:
        InputError: no case can be scored.
    """
    known = {case.id for case in references}
    named = {str(case_id) for case_id in known}
    problems = [problem for problem in submission.problems if problem.case in named]
    for problem in submission.problems:
        if problem.case not in named:
            warnings.warn(problem.message, stacklevel=2)
    told = {problem.case for problem in problems}
    scored = []
    where = f"a job of it in {JOBS_NAME}" if submission.kind == "algorithm phase" else "its sCT as {}.mha"
    for case in references:
        if case.id in submission.predictions:
            scored.append(replace(case, prediction=submission.predictions[case.id]))
        elif str(case.id) not in told:
            text = f"case {case.id} has no prediction; expected {where.format(case.id)}"
            problems.append(Problem(str(case.id), text))
    problems.sort(key=lambda problem: problem.case or "")
    if not scored:
        first = f"; first: {problems[0].message}" if problems else ""
        raise InputError(f"none of {len(references)} cases can be scored{first}")
    extra = sorted(str(case_id) for case_id in submission.predictions if case_id not in known)
    if extra:
        warnings.warn(
            f"{len(extra)} predictions have no reference and are not scored: {', '.join(extra[:5])}", stacklevel=2
        )
    return scored, tuple(problems)
