"""Numbers and words as text headers write them; each function returns None for what it does not take.

Python's own int() and float() take underscores, other scripts' digits, 'nan' and 'inf'; a decoder may read those
differently or not at all, so only plain ASCII notation passes.
"""

from __future__ import annotations

import math
import re

from synthct.header.model import LARGEST_AXIS, Vector

__all__ = ["finite_numbers", "quoted", "size_from", "spacing_from", "vector_from", "whole_number"]

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_LONGEST_NUMBER = 64
_LONGEST_QUOTE = 80
_SPACING_RANGE = (1e-6, 1e6)


def quoted(value: str | bytes) -> str:
    """Return a found value for a message: in quotes, on one line, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}..."


def whole_number(text: str) -> int | None:
    """Return a plain whole number."""
    return int(text) if _WHOLE.fullmatch(text) else None


def finite_numbers(text: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite numbers separated by blanks."""
    words = text.split()
    if len(words) != count or any(len(word) > _LONGEST_NUMBER or not _NUMBER.fullmatch(word) for word in words):
        return None
    values = tuple(float(word) for word in words)
    return values if all(math.isfinite(value) for value in values) else None


def vector_from(text: str) -> Vector | None:
    """Return three finite numbers."""
    values = finite_numbers(text, 3)
    return None if values is None else (values[0], values[1], values[2])


def spacing_from(text: str) -> Vector | None:
    """Return three spacings in mm, each positive and within reason (1e-6 to 1e6)."""
    values = vector_from(text)
    low, high = _SPACING_RANGE
    return values if values is not None and all(low <= value <= high for value in values) else None


def size_from(text: str) -> tuple[int, int, int] | None:
    """Return three axis lengths, each from 1 to LARGEST_AXIS."""
    words = [whole_number(word) for word in text.split()]
    lengths = [word for word in words if word is not None and 1 <= word <= LARGEST_AXIS]
    return (lengths[0], lengths[1], lengths[2]) if len(words) == len(lengths) == 3 else None
