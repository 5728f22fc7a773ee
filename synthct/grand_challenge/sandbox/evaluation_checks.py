"""An evaluation's container, run on a small submission in both phases (CONTRACT 2.5, 2.6, 6.B)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from synthct.grand_challenge.sandbox.algorithm_checks import Say, check_run, judge_end
from synthct.grand_challenge.sandbox.evaluation_cases import write_algorithm_phase, write_flat_phase
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.flags import Phase
from synthct.grand_challenge.sandbox.invoke import InvokeServer
from synthct.grand_challenge.sandbox.metrics_checks import check_metrics, same_numbers
from synthct.grand_challenge.sandbox.runs import ExecRunner, Runner, RunResult
from synthct.grand_challenge.sandbox.stage import Stage
from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = ["EvaluationChecks"]

_Writer = Callable[[Path], None]
LATER = ("evaluation.flat", "evaluation.order", "evaluation.missing")


@dataclass(frozen=True)
class EvaluationChecks:
    """The runs of one evaluation's container.

    Attributes:
        stage: where they take place; it holds the ground truth.
        findings: where the verdicts go.
        predictions: an sCT for each case of the ground truth.
        work: folder for inputs and outputs, one below it for each run.
        keep: leave those there.
        say: called with one line before each run.
    """

    stage: Stage
    findings: Findings
    predictions: Mapping[str, Path]
    work: Path
    keep: bool
    say: Say

    def run_exec(self) -> None:
        """Run an image that starts anew for each submission."""
        platform, strict = (ExecRunner(self.stage, phase) for phase in Phase)
        metrics = self._whole("run.platform", platform)
        if metrics is None:
            self._skip_rest()
            return
        rest = strict if self._whole("run.strict", strict) is not None else platform
        self._variants(metrics, rest)

    def run_invoke(self) -> None:
        """Run an image that serves."""
        metrics = None
        for phase in Phase:
            with InvokeServer(self.stage, phase) as server:
                self.say(f"starting the server, {phase}")
                words = server.wait_until_healthy()
                if not self.findings.judge("invoke.health", words, str(phase), kept=server.problem is None):
                    self._skip_rest()
                    return
                metrics = self._whole(f"run.{phase}", server)
                if metrics is None:
                    self._skip_rest()
                    return
                if phase is Phase.STRICT:
                    self._variants(metrics, server)
                judge_end(server, self.findings)
                self._judge_writes(server.written, str(phase))

    def _whole(self, rule: str, runner: Runner) -> dict[str, Any] | None:
        case = f"algorithm phase, {runner.phase}"
        result = self._run("algorithm-phase", runner, partial(write_algorithm_phase, self.predictions))
        self._judge_writes(result.written, case)
        metrics = None
        if check_run(rule, result, case, self.findings):
            metrics = check_metrics(result.output, case, self.findings)
        self._clear(result)
        return metrics

    def _variants(self, metrics: dict[str, Any], runner: Runner) -> None:
        """Another order of the jobs, one job less, and the flat phase, which may fail and so comes last."""
        names = sorted(self.predictions)
        result = self._run("order", runner, partial(write_algorithm_phase, self.predictions, order=names[::-1]))
        self._judge_order(result, metrics, f"reversed, {runner.phase}")
        self._clear(result)
        result = self._run("missing", runner, partial(write_algorithm_phase, self.predictions, order=names[1:]))
        said = names[0] in result.log.last_line
        found = result.outcome if not result.succeeded or said else f"{result.outcome}, and no word of {names[0]}"
        kept = not result.succeeded or said
        self.findings.judge("evaluation.missing", found, f"without {names[0]}, {runner.phase}", kept=kept)
        self._clear(result)
        result = self._run("flat", runner, partial(write_flat_phase, self.predictions))
        self._judge_flat(result, f"flat, {runner.phase}")
        self._clear(result)

    def _judge_flat(self, result: RunResult, case: str) -> None:
        """An evaluation of an algorithm phase never meets a flat folder: to fail there is no fault."""
        reason = result.outcome
        if result.succeeded:
            alone = Findings()
            check_metrics(result.output, case, alone)
            wrong = [finding.found for finding in alone.all() if finding.verdict is not Verdict.PASS]
            if not wrong:
                check_run("evaluation.flat", result, case, self.findings)
                return
            reason = wrong[0]
        words = f"does not score a flat folder; only a prediction phase needs it ({reason})"
        self.findings.skipped("evaluation.flat", words, case)

    def _judge_order(self, result: RunResult, before: dict[str, Any], case: str) -> None:
        if not check_run("evaluation.order", result, case, self.findings):
            return
        after = check_metrics(result.output, case, self.findings) or {}
        key = "aggregates"
        same = same_numbers(before.get(key), after.get(key))
        self.findings.judge("evaluation.order", f"{key} {'agree' if same else 'differ'}", case, kept=same)

    def _judge_writes(self, written: tuple[str, ...] | None, case: str) -> None:
        if written is not None:
            self.findings.judge("run.writes", ", ".join(written[:3]) or "nothing", case, kept=not written)

    def _run(self, name: str, runner: Runner, write: _Writer) -> RunResult:
        folder = self.work / f"{runner.phase}-{name}"
        self.say(f"{name}, {runner.phase}")
        write(folder / "input")
        return runner.run(folder / "input", folder / "output")

    def _clear(self, result: RunResult) -> None:
        if not self.keep:
            shutil.rmtree(result.output.folder.parent)

    def _skip_rest(self) -> None:
        for rule in LATER:
            self.findings.skipped(rule, "the run before failed")
