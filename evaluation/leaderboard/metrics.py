"""The metrics that may be ranked: direction, unit and group of each, declared once (CONTRACT 3.9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synthct.errors import UsageError

__all__ = ["DOSE_COLUMNS", "GROUPS", "HIGHER_IS_BETTER", "METRICS", "Metric", "find_metrics"]


@dataclass(frozen=True)
class Metric:
    """One ranked metric.

    Attributes:
        name: its official key, such as `ms_ssim`.
        label: for readers.
        unit: `HU`, `dB`, `mm`, `%`, or empty.
        higher_is_better: its direction.
        group: of synthrad2025.
        column: the key in a case's row that holds the value which is ranked; `mae_strict` under strict scores.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    group: str
    column: str


def _metric(name: str, label: str, unit: str, group: str, *, higher_is_better: bool) -> Metric:
    return Metric(name, label, unit, higher_is_better, group, name)


def _dose(suffix: str, group: str) -> tuple[Metric, ...]:
    beam = f", {suffix[1:]}s" if suffix else ""
    return (
        _metric(f"mae_target{suffix}", f"dose MAE in the target{beam}", "", group, higher_is_better=False),
        _metric(f"dvh{suffix}", f"DVH{beam}", "", group, higher_is_better=False),
        _metric(f"gamma{suffix}", f"gamma pass rate{beam}", "%", group, higher_is_better=True),
    )


_IMAGE, _GEOMETRY = "image similarity", "geometric fidelity"

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("mae", "MAE", "HU", _IMAGE, higher_is_better=False),
        _metric("psnr", "PSNR", "dB", _IMAGE, higher_is_better=True),
        _metric("ssim", "SSIM", "", _IMAGE, higher_is_better=True),
        _metric("ms_ssim", "MS-SSIM", "", _IMAGE, higher_is_better=True),
        _metric("DICE", "Dice", "", _GEOMETRY, higher_is_better=True),
        _metric("HD95", "HD95", "mm", _GEOMETRY, higher_is_better=False),
        *_dose("", "dose"),
        *_dose("_photon", "photon dose"),
        *_dose("_proton", "proton dose"),
    )
}
"""All that may be ranked. The official script knows neither ms_ssim nor DICE and ranks them upside down."""

HIGHER_IS_BETTER: Mapping[str, bool] = {name: metric.higher_is_better for name, metric in METRICS.items()}
"""Direction of each metric."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    group: tuple(name for name, metric in METRICS.items() if metric.group == group)
    for group in dict.fromkeys(metric.group for metric in METRICS.values())
}
"""Groups of synthrad2025. `dose` holds dose columns that do not tell their beam; it counts as one of the two."""

DOSE_COLUMNS = tuple(name for name, metric in METRICS.items() if metric.group.endswith("dose"))
"""Metrics that need a planning system; they come from a CSV."""


def find_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Metrics by their names, each once, in the order of METRICS.

    Raises:
        UsageError: one is unknown: nobody told its direction.
    """
    for name in names:
        if name not in METRICS:
            raise UsageError(f"metric '{name}' is unknown; expected one of {', '.join(METRICS)}")
    return tuple(metric for name, metric in METRICS.items() if name in names)
