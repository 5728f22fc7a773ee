"""The drawings of a case page: histogram, joint histogram, bars of the error by tissue, slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.report.colours import colourise, data_url
from evaluation.report.looks import Look
from evaluation.report.measures import (
    HISTOGRAM_RANGE,
    JOINT_RANGE,
    TissueError,
    histogram,
    joint_histogram,
)
from evaluation.report.preview import Previews
from evaluation.report.scales import Frame, Tick

__all__ = ["draw_histogram", "draw_joint", "draw_slices", "draw_tissues"]

LOWEST_SHARE = -5.0
"""Decimal logarithm of the smallest share that the histogram shows."""
SLICE_PIXELS = 224
"""Longer side of a slice's picture."""

Voxels = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]


def draw_histogram(sct: Voxels, ct: Voxels | None, inside: Mask) -> dict[str, Any]:
    """Values for the template's histogram: lines of sCT and CT over HU, logarithmic shares."""
    frame = Frame(560, 400, 58, 10, 550, 354, HISTOGRAM_RANGE, (LOWEST_SHARE, 0.0))
    edges = np.linspace(*HISTOGRAM_RANGE, len(histogram(sct, inside)) + 1)
    lines = []
    for voxels, colour, dashed in ((ct, "var(--low)", True), (sct, "var(--high)", False)):
        if voxels is None:
            continue
        heights = np.log10(np.maximum(histogram(voxels, inside), 10.0**LOWEST_SHARE))
        path = "".join(
            f"{'M' if place == 0 else 'L'}{frame.x(edges[place])} {frame.y(height)}H{frame.x(edges[place + 1])}"
            for place, height in enumerate(heights.tolist())
        )
        area = f"{path}V{frame.bottom}H{frame.left}Z"
        lines.append({"path": path, "area": area, "colour": colour, "dashed": dashed})
    shares = {-5: "0.001%", -4: "0.01%", -3: "0.1%", -2: "1%", -1: "10%", 0: "100%"}
    return {
        **vars(frame),
        "title": "Histogram of HU inside the body",
        "x_ticks": frame.x_ticks(),
        "y_ticks": [Tick(frame.y(power), text) for power, text in shares.items()],
        "x_label": "HU",
        "y_label": "",
        "lines": lines,
    }


def draw_joint(ct: Voxels, sct: Voxels, inside: Mask) -> dict[str, Any]:
    """Values for the template's joint histogram: a picture of counts, CT to the right, sCT upwards."""
    frame = Frame(560, 400, 72, 10, 416, 354, JOINT_RANGE, JOINT_RANGE)
    counts = np.log1p(joint_histogram(ct, sct, inside))[::-1]
    return {
        **vars(frame),
        "title": "Joint histogram of CT and sCT",
        "picture": data_url(colourise(counts, 0.0, max(1.0, float(counts.max())), "cividis")),
        "x_ticks": frame.x_ticks(),
        "y_ticks": frame.y_ticks(),
        "x_label": "HU of the CT",
        "y_label": "HU of the sCT",
    }


def draw_tissues(tissues: list[TissueError]) -> tuple[list[dict[str, Any]], int]:
    """Rows of the tissue table with their bars, and the HU at a bar's end."""
    ends = [abs(end) for tissue in tissues if tissue.spread for end in tissue.spread]
    reach = int(np.ceil(max([*ends, 100.0]) / 100) * 100)
    return [_tissue_row(tissue, reach) for tissue in tissues], reach


def _tissue_row(tissue: TissueError, reach: int) -> dict[str, Any]:
    minus = "\u2212"
    if tissue.low is None and tissue.high is None:
        limits = "all"
    elif tissue.low is None:
        limits = f"below {tissue.high} HU"
    elif tissue.high is None:
        limits = f"from {tissue.low} HU"
    else:
        limits = f"{tissue.low} to {tissue.high} HU"
    row: dict[str, Any] = {**vars(tissue), "limits": limits.replace("-", minus), "bar": None}
    if tissue.spread is not None and tissue.bias is not None:
        low, high, bias = (round(100 + 100 * value / reach, 1) for value in (*tissue.spread, tissue.bias))
        start = max(low, 100.0)
        row["bar"] = {
            "low": low,
            "high": high,
            "bias": min(200.0, max(0.0, bias)),
            "below": round(min(high, 100.0) - low, 1),
            "start": start,
            "above": round(high - start, 1),
        }
    return row


def draw_slices(previews: Previews, looks: list[Look], place: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Pictures of one axial, coronal and sagittal slice of each volume, row by row.

    Args:
        previews: the page's volumes.
        looks: how each is shown.
        place: the slices, as z, y, x.
    """
    sz, sy, sx = previews.geometry.spacing_zyx
    z, y, x = place
    pictures = []
    for plane, spacing in (("axial", (sy, sx)), ("coronal", (sz, sx)), ("sagittal", (sz, sy))):
        for look in looks:
            voxels = previews.volumes[look.name].voxels
            cut = {"axial": voxels[z], "coronal": voxels[::-1, y], "sagittal": voxels[::-1, :, x]}[plane]
            thinner = max(1, -(-max(cut.shape) // SLICE_PIXELS))
            picture = colourise(cut[::thinner, ::thinner], look.low, look.high, look.map)
            ratio = f"{cut.shape[1] * spacing[1]:.1f} / {cut.shape[0] * spacing[0]:.1f}"
            pictures.append({"url": data_url(picture), "ratio": ratio, "label": f"{look.label}, {plane} slice"})
    return pictures
