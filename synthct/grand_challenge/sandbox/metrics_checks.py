"""metrics.json, as the platform and its leaderboard read it (CONTRACT 2.6)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.parcel import Output

__all__ = ["check_metrics", "same_numbers"]

METRICS = "metrics.json"
BYTE_LIMIT = 256 << 20
TOLERANCE = 1e-9


def check_metrics(output: Output, case: str, findings: Findings) -> dict[str, Any] | None:
    """Judge /output/metrics.json; return what it holds, None where that is no object of strict JSON."""
    path = output.folder / METRICS
    entry = next((entry for entry in output.entries if str(entry.path) == METRICS), None)
    if entry is None or not path.is_file():
        findings.broken("metrics.file", f"no {METRICS}", case)
        return None
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(BYTE_LIMIT).decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        findings.broken("metrics.file", f"{METRICS}: {error}", case)
        return None
    if not isinstance(content, dict):
        findings.broken("metrics.file", f"{METRICS} holds a {type(content).__name__}", case)
        return None
    findings.judge("metrics.file", f"{len(content)} keys", case, kept=entry.is_readable)
    dotted = [key for key in _keys(content) if "." in key]
    findings.judge("metrics.keys", ", ".join(dotted[:3]) or "no dot", case, kept=not dotted)
    means = {name: value["mean"] for name, value in _aggregates(content) if "mean" in value}
    wrong = [f"{name} is {json.dumps(mean)[:40]}" for name, mean in means.items() if not _is_number(mean)]
    findings.judge("metrics.numbers", ", ".join(wrong[:3]) or f"{len(means)} means", case, kept=not wrong)
    return content


def same_numbers(first: object, second: object) -> bool:
    """Tell whether two JSON values agree; numbers within 1e-9 of their size."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same_numbers(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_numbers, first, second))
    if _is_number(first) and _is_number(second):
        return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)  # type: ignore[arg-type]
    return first == second


def _aggregates(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    aggregates = content.get("aggregates")
    for name, value in aggregates.items() if isinstance(aggregates, dict) else ():
        if isinstance(value, dict):
            yield name, value


def _keys(content: dict[str, Any]) -> Iterator[str]:
    """The keys that a leaderboard's path can pass through; lists cannot be indexed."""
    for key, value in content.items():
        yield key
        if isinstance(value, dict):
            yield from _keys(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
