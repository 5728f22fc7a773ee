"""Where the windows of patch inference lie."""

from __future__ import annotations

import itertools
import math
from typing import Literal

from synthct.errors import UsageError

__all__ = ["sliding_windows"]

Rule = Literal["nnunet", "monai"]


def sliding_windows(
    shape: tuple[int, int, int], patch: tuple[int, int, int], step: float, rule: Rule = "nnunet"
) -> list[tuple[int, int, int]]:
    """Start indices of windows that cover a volume.

    Args:
        shape: of the volume, (z, y, x).
        patch: of a window, (z, y, x); an axis shorter than the patch gets one window that starts at 0 and overhangs.
        step: distance of neighbouring windows as a fraction of the patch, above 0 and at most 1.
        rule: `nnunet` spreads the windows evenly from edge to edge; `monai` uses a fixed stride and moves the last
            window back to the edge.

    Returns:
        (z, y, x) starts, x running fastest.

    Raises:
        UsageError: a step outside (0, 1], an unknown rule, or a patch without volume.
    """
    if not 0.0 < step <= 1.0:
        raise UsageError(f"step {step:g} is not above 0 and at most 1")
    if min(patch) < 1:
        raise UsageError(f"patch {patch} (z, y, x) has an axis below 1")
    if rule not in ("nnunet", "monai"):
        raise UsageError(f"window rule '{rule}' is unknown; expected nnunet or monai")
    starts = _even_starts if rule == "nnunet" else _fixed_starts
    z, y, x = (starts(size, edge, step) for size, edge in zip(shape, patch, strict=True))
    return list(itertools.product(z, y, x))


def _even_starts(size: int, patch: int, step: float) -> list[int]:
    """nnU-Net's rule: as few windows as keep the distance at or below the step, spread evenly (ALGORITHMS 1.5).

    A step below one voxel counts as one voxel: it would only place windows twice, which is what a patch of one slice
    would suffer.
    """
    last = max(0, size - patch)
    count = math.ceil(last / max(1.0, patch * step)) + 1
    distance = last / (count - 1) if count > 1 else 0.0
    return [round(distance * index) for index in range(count)]


def _fixed_starts(size: int, patch: int, step: float) -> list[int]:
    """MONAI's rule: a fixed whole stride, the last window moved back so that it ends at the edge."""
    last = max(0, size - patch)
    stride = max(1, int(patch * step))
    count = math.ceil(last / stride) + 1
    return [min(index * stride, last) for index in range(count)]
