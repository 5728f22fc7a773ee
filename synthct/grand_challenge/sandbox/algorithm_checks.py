"""An algorithm's container, run on every case in both phases (CONTRACT 6.A)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import CASE_NAMES, LARGEST, PLAIN, CaseGrid, write_case, write_corrupt_case
from synthct.grand_challenge.sandbox.findings import Findings, LargestCase
from synthct.grand_challenge.sandbox.flags import GIBIBYTE, Phase
from synthct.grand_challenge.sandbox.invoke import InvokeServer
from synthct.grand_challenge.sandbox.output_checks import check_output
from synthct.grand_challenge.sandbox.runs import ExecRunner, Runner, RunResult
from synthct.grand_challenge.sandbox.stage import Stage
from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = ["AlgorithmChecks", "Say", "check_run", "judge_end", "judge_failure"]

LINE_LIMIT = 64 << 10
SENTENCE_LIMIT = 1024
LOCAL_RULE = "case.nii-gz"
"""The case that only a user's own machine can have; the platform hands .mha and .tif over."""
BARE_NAME = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|Exit)?:?|Traceback \(most recent call last\):")
"""A last line that tells a user nothing: one word such as ValueError, or the head of a traceback."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class AlgorithmChecks:
    """The runs of one algorithm's container.

    Attributes:
        stage: where they take place.
        findings: where the verdicts go.
        task: which input folder the cases have.
        region: which body they show.
        work: folder for inputs and outputs, one below it for each run.
        keep: leave those there.
        quick: leave out every case but the plain one, and the two that must fail.
        with_largest: run the largest case too.
        say: called with one line before each run.
    """

    stage: Stage
    findings: Findings
    task: Task
    region: Region
    work: Path
    keep: bool
    quick: bool
    with_largest: bool
    say: Say

    def run_exec(self) -> LargestCase | None:
        """Run an image that starts anew for each case."""
        platform, strict = (ExecRunner(self.stage, phase) for phase in Phase)
        if not self._plain("run.platform", platform):
            self._skip_all("the plain case failed")
            return None
        rest = strict if self._plain("run.strict", strict) else platform
        for name in self._odd_cases():
            self._case(name, rest)
        for rule in ("failure.empty-input", "failure.corrupt-image"):
            self._failure(rule, rest)
        return self._largest(platform)

    def run_invoke(self) -> LargestCase | None:
        """Run an image that serves: the plain case in one server of the platform phase, all in one of the strict."""
        if not self._serve_platform():
            return None
        with InvokeServer(self.stage, Phase.STRICT) as server:
            if not self._healthy(server) or not self._plain("run.strict", server):
                self._skip_all("the plain case failed in the strict phase")
                return None
            for name in self._odd_cases():
                if self._still_serves(server, f"case.{name}"):
                    self._case(name, server)
            for rule in ("failure.empty-input", "failure.corrupt-image"):
                if self._still_serves(server, rule):
                    self._failure(rule, server)
                    result = self._run(PLAIN, server, f"after {rule.partition('.')[2]}")[0]
                    self.findings.judge("invoke.survives", result.outcome, rule, kept=result.succeeded)
                    self._clear(result)
            largest = self._largest(server) if self._still_serves(server, "case.largest") else None
            judge_end(server, self.findings)
        return largest

    def _odd_cases(self) -> tuple[str, ...]:
        if not self.quick:
            return CASE_NAMES
        for name in CASE_NAMES:
            self.findings.skipped(f"case.{name}", "--quick")
        return ()

    def _serve_platform(self) -> bool:
        with InvokeServer(self.stage, Phase.PLATFORM) as server:
            if not self._healthy(server) or not self._plain("run.platform", server):
                self._skip_all("the plain case failed")
                return False
            judge_end(server, self.findings)
            self._judge_writes(server.written, f"plain, {server.phase}")
        return True

    def _still_serves(self, server: InvokeServer, rule: str) -> bool:
        if not server.still_serves():
            self.findings.skipped(rule, server.problem or "")
        return server.problem is None

    def _healthy(self, server: InvokeServer) -> bool:
        self.say(f"starting the server, {server.phase}")
        words = server.wait_until_healthy()
        return self.findings.judge("invoke.health", words, str(server.phase), kept=server.problem is None)

    def _plain(self, rule: str, runner: Runner) -> bool:
        result, grid = self._run(PLAIN, runner)
        return self._judge(rule, result, grid, f"{PLAIN}, {runner.phase}")

    def _case(self, name: str, runner: Runner) -> None:
        result, grid = self._run(name, runner)
        self._judge(f"case.{name}", result, grid, f"{name}, {runner.phase}")

    def _judge(self, rule: str, result: RunResult, grid: CaseGrid, case: str) -> bool:
        succeeded = check_run(rule, result, case, self.findings)
        self._judge_writes(result.written, case)
        if succeeded:
            check_output(result.output, grid, case, self.findings, is_local=rule == LOCAL_RULE)
        self._clear(result)
        return succeeded

    def _judge_writes(self, written: tuple[str, ...] | None, case: str) -> None:
        if written is not None:
            self.findings.judge("run.writes", ", ".join(written[:3]) or "nothing", case, kept=not written)

    def _run(self, name: str, runner: Runner, label: str | None = None) -> tuple[RunResult, CaseGrid]:
        folder = self.work / f"{runner.phase}-{label or name}".replace(" ", "-")
        self.say(f"{label or name}, {runner.phase}")
        grid = write_case(name, self.task, self.region, folder / "input")
        return runner.run(folder / "input", folder / "output", watch=name == LARGEST), grid

    def _failure(self, rule: str, runner: Runner) -> None:
        name = rule.partition(".")[2]
        folder = self.work / f"{runner.phase}-{name}"
        self.say(f"{name}, {runner.phase}")
        if name == "empty-input":
            (folder / "input").mkdir(parents=True)
        else:
            write_corrupt_case(self.task, self.region, folder / "input")
        result = runner.run(folder / "input", folder / "output")
        judge_failure(rule, result, f"{name}, {runner.phase}", self.findings)
        self._clear(result)

    def _largest(self, runner: Runner) -> LargestCase | None:
        if self.quick or not self.with_largest:
            self.findings.skipped("case.largest", "--quick" if self.quick else "--skip-largest")
            return None
        result, grid = self._run(LARGEST, runner)
        limits = self.stage.limits
        largest = LargestCase(result.seconds, result.peak_memory, result.peak_gpu_memory, limits.budget, limits.memory)
        memory = f"{result.peak_memory / GIBIBYTE:.2f} GiB" if result.peak_memory is not None else "unknown memory"
        result_within = result.succeeded and result.seconds <= limits.budget
        found = f"{result.outcome}, {memory} of {limits.memory / GIBIBYTE:g}, budget {limits.budget:g} s"
        case = f"{LARGEST}, {runner.phase}"
        if self.findings.judge("case.largest", found, case, kept=result_within):
            check_output(result.output, grid, case, self.findings)
        self._clear(result)
        return largest

    def _clear(self, result: RunResult) -> None:
        if not self.keep:
            shutil.rmtree(result.output.folder.parent)

    def _skip_all(self, reason: str) -> None:
        for rule in (f"case.{name}" for name in (*CASE_NAMES, LARGEST)):
            self.findings.skipped(rule, reason)


def check_run(rule: str, result: RunResult, case: str, findings: Findings) -> bool:
    """Judge how a run ended, and its log; return whether it succeeded."""
    longest = result.log.longest
    findings.judge("run.log-lines", f"longest {longest} bytes", case, kept=longest <= LINE_LIMIT)
    return findings.judge(rule, result.outcome, case, kept=result.succeeded)


def judge_end(server: InvokeServer, findings: Findings) -> None:
    """Stop a server and judge how it ends; one that ended by itself did not survive its calls."""
    words = server.stop()
    phase = str(server.phase)
    if server.problem is None:
        findings.judge("invoke.stop", words or "still runs after 5 s", phase, kept=bool(words))
        return
    findings.skipped("invoke.stop", server.problem, phase)
    told = any(finding.verdict is not Verdict.PASS for finding in findings.of_rule("invoke.survives"))
    if server.ended and not told:
        findings.broken("invoke.survives", server.problem, phase)


def judge_failure(rule: str, result: RunResult, case: str, findings: Findings) -> None:
    """Judge a run on inputs that cannot be used: it must fail, say why in its last line and leave no image."""
    line = result.log.last_line
    left = [str(entry.path) for entry in result.output.below("images")]
    if result.succeeded:
        found, kept = f"{result.outcome} although it must fail", False
    elif left:
        found, kept = f"leaves {', '.join(left[:3])}", False
    elif not line or result.log.last_length > SENTENCE_LIMIT or BARE_NAME.fullmatch(line):
        found, kept = f"the last line of stderr says nothing: '{line[:100]}'", False
    else:
        found, kept = line[:200], True
    findings.judge(rule, found, case, kept=kept)
