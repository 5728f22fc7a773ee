"""`synthct run evaluation`: one evaluation on the platform, /input and the ground truth to /output/metrics.json."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synthct.cli.console import say, tell
from synthct.errors import InputError, OutputError, UsageError
from synthct.files import prepare_output_folder
from synthct.grand_challenge.folders import ground_truth_folder, input_folder, output_folder

if TYPE_CHECKING:
    from evaluation.phase import PhaseSettings
    from evaluation.rows import ScoredCase
    from evaluation.scoring import ScoringSettings
    from evaluation.submission import ScoringCase
    from evaluation.whole_run import FoundCases

__all__ = ["PROCESSES_VARIABLE", "EvaluationRunner"]

NAME = "evaluation"
PROCESSES_VARIABLE = "NPROCS"
"""Number of worker processes, as in the official container; not GRAND_CHALLENGE_MAX_WORKERS, which the platform takes
away (CONTRACT 1.6, 2.8)."""


class EvaluationRunner:
    """The evaluation as a container runs it; settings come from evaluation.json in the ground truth.

    Args:
        names: what `synthct run` was asked for: `evaluation` alone.

    Raises:
        UsageError: other names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if list(names) != [NAME]:
            raise UsageError(f"run got {' '.join(names) or 'no name'}; expected {NAME} alone")

    def prepare(self) -> None:
        """Prove what is there before any submission: settings, judges' weights, references. /input is not looked at.

        Raises:
            UsageError: NPROCS is no number of processes.
            InputError: evaluation.json or the ground truth cannot be used.
            WeightsError: a judge's weights are missing or cannot be used.
        """
        from evaluation.submission import find_references

        _wanted_processes()
        _read_phase()
        find_references(ground_truth_folder())

    def run(self) -> None:
        """Score one submission, from either kind of phase: by predictions.json where there is one, else a flat folder.

        metrics.json is written when every case is scored, and only then: half an evaluation must not pass for a whole
        one. It holds the bytes that `synthct evaluate` writes with the same settings. Nothing else is left in /output.

        Raises:
            SynthCTError: as `prepare`, and whatever else went wrong; the output then holds no metrics.json.
        """
        from evaluation.run import make_metrics, refuse_failures, write_metrics
        from evaluation.scoring import ScoringSettings
        from evaluation.whole_run import find_cases, summary

        output = _empty_output()
        wanted = _wanted_processes()
        phase = _read_phase()
        found = find_cases(input_folder(), ground_truth_folder())
        for problem in found.problems:
            say(f"warning: {problem.message}")
        settings = ScoringSettings(phase.protocol, phase.segmenters, phase.nsd_tolerance_mm)
        finished = _score(found, settings, wanted)
        refuse_failures(finished, found.problems)
        metrics = make_metrics(finished, found.problems, settings, found.notes)
        tell(summary(metrics, write_metrics(output, metrics)))


def _score(found: FoundCases, settings: ScoringSettings, wanted: int | None) -> list[ScoredCase]:
    """Score the cases on processes of this machine, with one plain line as each is finished."""
    from evaluation.executor import InterruptedRunError, LostWorkerError, open_crew
    from evaluation.run import score_all
    from evaluation.whole_run import fitting_workers, lines_about

    total = len(found.cases)
    count = min(wanted or fitting_workers(found.cases, settings.segmenters), total)
    say(f"scoring {total} case{'s' if total > 1 else ''} with {count} process{'es' if count > 1 else ''}")
    done: list[str] = []

    def show(_: ScoringCase, scored: ScoredCase) -> None:
        for line in lines_about(scored):
            say(line)
        done.append(scored.case)
        if scored.failure is None:
            say(f"case {scored.case} is scored ({len(done)} of {total})")

    try:
        with _temporary_folder() as rows, open_crew(count) as crew:
            return score_all(found.cases, settings, rows, crew, on_case=show)
    except LostWorkerError as error:
        raise LostWorkerError(
            f"a worker process died after {len(done)} of {total} cases (killed, perhaps for want of memory: "
            f"{PROCESSES_VARIABLE}=1 needs less); there is no {_metrics_name()}"
        ) from error
    except InterruptedRunError as error:
        raise InterruptedRunError(f"interrupted after {len(done)} of {total} cases") from error


def _read_phase() -> PhaseSettings:
    """Settings of the phase, whose judges were found to be there and to differ."""
    from evaluation.phase import PHASE_NAME, read_phase
    from evaluation.whole_run import judges_differ

    truth = ground_truth_folder()
    phase = read_phase(truth)
    if not judges_differ(phase.segmenters):
        raise InputError(f"{truth / PHASE_NAME}: segmenters: two judges bear one name; expected each once")
    return phase


def _wanted_processes() -> int | None:
    """$NPROCS; None where it is not set."""
    given = os.environ.get(PROCESSES_VARIABLE, "").strip()
    if not given:
        return None
    if re.fullmatch(r"[0-9]{1,6}", given) is None or int(given) == 0:
        raise UsageError(f"{PROCESSES_VARIABLE}={given[:40]}: expected a whole number of processes above 0")
    return int(given)


def _empty_output() -> Path:
    """The output folder, proven to be writable, and without an earlier run's result: it must not pass for this one's.

    Raises:
        OutputError: it cannot be written to.
    """
    output = prepare_output_folder(output_folder())
    path = output / _metrics_name()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror}); expected a writable folder") from error
    return output


def _metrics_name() -> str:
    from evaluation.run import METRICS_NAME

    return METRICS_NAME


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for rows: every file below /output would be uploaded (CONTRACT 2.2).

    Raises:
        OutputError: no folder for temporary files can be written to.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="synthct-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"no temporary folder can be made ({error.strerror}); expected a writable /tmp") from error
    with folder as name:
        yield Path(name)
