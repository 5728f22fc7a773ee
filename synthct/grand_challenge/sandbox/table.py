"""The table that a user reads: one line per rule."""

from __future__ import annotations

from synthct.grand_challenge.sandbox.findings import Report
from synthct.grand_challenge.sandbox.rules import RULES
from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = ["HEADINGS", "table_lines", "table_rows"]

HEADINGS = ("verdict", "check", "found", "expected", "reason")
NAMED_RUNS = 3


def table_rows(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Return the cells of each line: verdict, id, what was found, what was expected (where broken), the reason."""
    rows = []
    for rule in dict.fromkeys(check.id for check in report.checks):
        same = [check for check in report.checks if check.id == rule]
        first = same[0]
        found = first.found
        is_broken = first.verdict in (Verdict.FAIL, Verdict.REFUSED)
        if is_broken and first.case:
            found = f"{first.case}: {found}"
        if len(same) > 1:
            others = [check.case or "" for check in same[1:]]
            more = len(others) - NAMED_RUNS
            found += f"; also {'; '.join(others[:NAMED_RUNS])}" + (f" and {more} more" if more > 0 else "")
        expected = RULES[rule].expected if is_broken else ""
        rows.append((first.verdict.value, rule, found, expected, RULES[rule].reason))
    return rows


def table_lines(report: Report) -> list[str]:
    """Return the table as plain aligned lines, for a file or a pipe."""
    rows = [HEADINGS, *table_rows(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = []
    for verdict, rule, found, expected, reason in rows:
        words = f"{found} (expected {expected})" if expected and rule != HEADINGS[1] else found
        lines.append(f"{verdict:<{widths[0]}}  {rule:<{widths[1]}}  {words}  [{reason}]")
    return lines
