"""What a whole check found: one finding per rule and run, gathered to one row per rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from synthct.grand_challenge.sandbox.rules import RULES
from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = ["Finding", "Findings", "LargestCase", "Report"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        id: of the rule.
        verdict: what it came to.
        found: what was found, one line.
        case: name of the case and the way it was run; None for the image itself.
    """

    id: str
    verdict: Verdict
    found: str
    case: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return the finding with its rule's words."""
        rule = RULES[self.id]
        return {
            "id": self.id,
            "verdict": self.verdict.value,
            "found": self.found,
            "expected": rule.expected,
            "reason": rule.reason,
            "case": self.case,
        }


class Findings:
    """Gathers findings while the check runs."""

    def __init__(self) -> None:
        self._all: list[Finding] = []
        self._refuses = True

    def without_refusals(self) -> Findings:
        """Return a view that gathers into this one, and calls a fault what would be a refusal.

        It is for what the platform never sees, so that it cannot refuse it.
        """
        view = Findings()
        view._all, view._refuses = self._all, False
        return view

    def passed(self, rule: str, found: str, case: str | None = None) -> None:
        """Note that a rule is kept."""
        self._add(rule, Verdict.PASS, found, case)

    def broken(self, rule: str, found: str, case: str | None = None) -> None:
        """Note that a rule is broken: a fault or a refusal, as the rule says."""
        verdict = RULES[rule].broken
        self._add(rule, verdict if self._refuses else Verdict.FAIL, found, case)

    def skipped(self, rule: str, found: str, case: str | None = None) -> None:
        """Note that a rule could not be looked at, and why."""
        self._add(rule, Verdict.NOT_CHECKED, found, case)

    def judge(self, rule: str, found: str, case: str | None = None, *, kept: bool) -> bool:
        """Note that a rule is kept or broken; return which."""
        (self.passed if kept else self.broken)(rule, found, case)
        return kept

    def of_rule(self, rule: str) -> list[Finding]:
        """Return a rule's findings: the broken ones, else one for all that passed, else the first reason why not."""
        own = [finding for finding in self._all if finding.id == rule]
        broken = [finding for finding in own if finding.verdict in (Verdict.FAIL, Verdict.REFUSED)]
        if broken:
            return broken
        passed = [finding for finding in own if finding.verdict is Verdict.PASS]
        if len(passed) > 1:
            return [Finding(rule, Verdict.PASS, f"{passed[0].found} ({len(passed)} runs)")]
        return passed or own[:1]

    def all(self) -> tuple[Finding, ...]:
        """Return the findings in the order of the rules: each broken one, or one per rule."""
        return tuple(finding for rule in RULES for finding in self.of_rule(rule))

    def _add(self, rule: str, verdict: Verdict, found: str, case: str | None) -> None:
        if rule not in RULES:
            raise KeyError(rule)
        line = " ".join(found.split())
        # A file's name need not be UTF-8; what is found must be, or it could not be printed.
        printable = line.encode("utf-8", "backslashreplace").decode("utf-8")
        self._all.append(Finding(rule, verdict, printable, case))


@dataclass(frozen=True)
class LargestCase:
    """What the largest case took.

    Attributes:
        seconds: wall time of the run.
        peak_memory_bytes: highest memory of the container, without its inactive file cache; None where unknown.
        peak_gpu_memory_bytes: highest memory in use on the GPUs; None without one.
        budget: seconds that a run may take.
        memory: bytes that a run may take.
    """

    seconds: float
    peak_memory_bytes: int | None
    peak_gpu_memory_bytes: int | None
    budget: float
    memory: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the figures and their shares of the limits."""
        peak = self.peak_memory_bytes
        return {
            "seconds": round(self.seconds, 2),
            "peak_memory_bytes": peak,
            "peak_gpu_memory_bytes": self.peak_gpu_memory_bytes,
            "share_of_budget": round(self.seconds / self.budget, 4),
            "share_of_memory": round(peak / self.memory, 4) if peak is not None else None,
        }


@dataclass(frozen=True)
class Report:
    """The outcome of `synthct check`."""

    image: str
    kind: str
    api: str
    checks: Sequence[Finding] = field(default_factory=tuple)
    largest: LargestCase | None = None

    def rules_with(self, *verdicts: Verdict) -> list[str]:
        """Return the ids of the rules that have such a verdict, in order."""
        return list(dict.fromkeys(check.id for check in self.checks if check.verdict in verdicts))

    @property
    def verdict(self) -> Verdict:
        """Return the worst: refused, then fail, then pass."""
        for verdict in (Verdict.REFUSED, Verdict.FAIL):
            if self.rules_with(verdict):
                return verdict
        return Verdict.PASS

    def summary(self) -> str:
        """Say in one line how many rules are kept, broken and unchecked, and which are broken."""
        broken = self.rules_with(Verdict.FAIL, Verdict.REFUSED)
        counts = (
            f"{len(self.rules_with(Verdict.PASS))} pass, {len(self.rules_with(Verdict.FAIL))} fail, "
            f"{len(self.rules_with(Verdict.REFUSED))} would be refused, "
            f"{len(self.rules_with(Verdict.NOT_CHECKED))} not checked"
        )
        return f"{self.image}: {counts}" + (f" ({', '.join(broken)})" if broken else "")

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as `--json` prints it."""
        return {
            "image": self.image,
            "kind": self.kind,
            "api": self.api,
            "checks": [check.to_json() for check in self.checks],
            "largest": self.largest.to_json() if self.largest is not None else None,
            "verdict": self.verdict.value,
        }
