"""How numbers look on a page: filters of the templates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

__all__ = ["FILTERS", "data_value", "is_number", "number", "p_value", "signed", "with_places"]

MISSING = "\u2013"
_PLACES = ((100.0, 0), (10.0, 1), (1.0, 2))


def number(value: object) -> str:
    """Three or four significant digits, a dash for what is no finite number."""
    if not is_number(value):
        return MISSING
    size = abs(value)
    if size >= 100_000:
        return f"{value:.3g}"
    return f"{value:.{next((places for limit, places in _PLACES if size >= limit), 3)}f}"


def with_places(value: object, places: int) -> str:
    """So many places, a dash for what is no finite number."""
    return f"{value:.{places}f}" if is_number(value) else MISSING


def signed(value: object) -> str:
    """Whole number with its sign, a dash for what is no finite number."""
    return f"{value:+.0f}".replace("-", "\u2212") if is_number(value) else MISSING


def p_value(value: object) -> str:
    """Four places, "< 0.0001" below that, a dash for what is no finite number."""
    return "< 0.0001" if is_number(value) and value < 0.0001 else with_places(value, 4)


def data_value(value: object) -> str:
    """What a table is sorted by; empty for what is no finite number."""
    return f"{value:.8g}" if is_number(value) else ""


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value from JSON is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of 400 digits
        return False


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"number": number, "places": with_places, "signed": signed, "data_value": data_value, "p_value": p_value}
)
"""By the name that templates use."""
