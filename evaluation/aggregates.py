"""Many rows in, their summary per column out (CONTRACT 3.1, step 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["NOT_SUMMARISED", "OFFICIAL", "aggregate"]

OFFICIAL = frozenset({"mae", "psnr", "ssim", "ms_ssim", "DICE", "HD95"})
"""Columns whose summary is the official program's: one case without a number leaves it without one."""

NOT_SUMMARISED = frozenset({"case", "region", "task", "nsd_tolerance_mm", "geometry_differs", "structures"})
"""Columns that name or describe a case; values that are no numbers are left out as well."""


def aggregate(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """Summarise every numeric column: mean, max, min, std (population), quartiles, and how many cases counted.

    A value that is None is left out of its column and shows in `count`; a column without any value is all None. In an
    official column a single None makes all None but the count: the official program's mean is NaN there, which the
    platform reads as null, so nobody gains by spoiling a hard case.
    """
    columns: dict[str, dict[str, float | int | None]] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        found = [row.get(key) for row in rows]
        if key in NOT_SUMMARISED or any(isinstance(value, bool | str | dict | list) for value in found):
            continue
        numbers = [float(value) for value in found if value is not None]
        spoilt = key in OFFICIAL and len(numbers) < len(found)
        columns[key] = {**_summary([] if spoilt else numbers), "count": len(numbers)}
    return columns


def _summary(found: list[float]) -> dict[str, float | int | None]:
    names = ("mean", "max", "min", "std", "25pc", "50pc", "75pc")
    if not found:
        return {**dict.fromkeys(names), "count": 0}
    values = np.array(found, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        quartiles = np.quantile(values, [0.25, 0.5, 0.75])
        numbers = (values.mean(), values.max(), values.min(), values.std(), *quartiles)
    finite = [float(number) if np.isfinite(number) else None for number in numbers]  # 1e200 squared is not
    return {**dict(zip(names, finite, strict=True)), "count": len(found)}
