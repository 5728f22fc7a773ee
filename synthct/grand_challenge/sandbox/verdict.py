"""Verdicts, and what a whole check found."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Verdict"]


class Verdict(StrEnum):
    """What one check says. FAIL: a fault; REFUSED: the platform, or the evaluation there, would not take it."""

    PASS = "pass"  # noqa: S105  # a verdict, no password
    FAIL = "fail"
    REFUSED = "would be refused"
    NOT_CHECKED = "not checked"
