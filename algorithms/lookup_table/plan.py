"""The size of the table."""

from __future__ import annotations

from typing import Any

from algorithms.lookup_table.table import TableConfig

__all__ = ["describe"]


def describe(settings: dict[str, Any]) -> tuple[int, tuple[int, int, int] | None]:
    """Return (number of parameters, patch (z, y, x) or None) of a preset."""
    return TableConfig.model_validate(settings).bins, None
