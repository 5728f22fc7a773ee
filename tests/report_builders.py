"""metrics.json as `synthct evaluate` writes it, small, with values that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.aggregates import aggregate

__all__ = ["REPORT_SCORES", "metrics_of"]

REPORT_SCORES: Mapping[str, tuple[float, float]] = {
    "mae": (60.0, 10.0),
    "psnr": (30.0, -1.0),
    "ms_ssim": (0.95, -0.02),
    "DICE": (0.9, -0.05),
    "HD95": (4.0, 1.5),
}
"""Value of the best entry, and what each next one differs by."""


def metrics_of(cases: Sequence[str], scores: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """Content of a metrics.json; the second case is a tenth higher than the first, and so on.

    `more` replaces or adds keys at the top.
    """
    rows = [
        {
            "case": case,
            "region": "EX",
            "task": "mri",
            **{key: value * (1 + 0.1 * place) for key, value in scores.items()},
            "structures": {
                "tissue": {
                    "fat": {"dice": 0.8, "hd95": 2.0, "nsd": 0.9, "reference_ml": 10.0, "status": "found"},
                    "compact_bone": {"dice": 0.5, "hd95": None, "nsd": 0.4, "reference_ml": 3.0, "status": "missed"},
                }
            },
        }
        for place, case in enumerate(cases)
    ]
    return {
        "results": rows,
        "aggregates": aggregate(rows),
        "protocol": "synthrad2025",
        "scoring_version": 2,
        "segmenter": "tissue",
        "segmenter_weights": None,
        "registration": "none",
        "reference": "ct",
        "simulated": True,
        "starter": True,
        "random_features": False,
        "failures": [],
        "manifest": {},
        **more,
    }
