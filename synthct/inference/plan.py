"""Which windows a sweep runs: those that touch the dilated mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthct.errors import GeometryError
from synthct.inference.settings import SweepSettings
from synthct.inference.windows import sliding_windows

__all__ = ["Plan", "Planner"]

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """Windows of one sweep.

    Attributes:
        starts: (z, y, x) of the windows that run, z slowest.
        skipped: windows left out because they touch no voxel of the dilated mask.
        step: the step they were placed with.
    """

    starts: tuple[Triple, ...]
    skipped: int
    step: float


@dataclass(frozen=True)
class Planner:
    """Places windows in one volume, and leaves out those that no one asks for.

    A window runs where it, grown by `settings.margin` voxels on every side, holds a True voxel: the same as touching
    the mask dilated by a box. So each voxel of the mask keeps all its windows.

    Attributes:
        shape: of the volume, (z, y, x).
        settings: patch, step, rule and margin.
        wanted: bool (z, y, x); None runs every window. An empty mask gives no window at all.

    Raises:
        GeometryError: the mask has another shape than the volume.
    """

    shape: Triple
    settings: SweepSettings
    wanted: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.wanted is not None and self.wanted.shape != self.shape:
            raise GeometryError(f"the mask has shape {self.wanted.shape} (z, y, x); expected the image's, {self.shape}")

    def plan(self, step: float | None = None) -> Plan:
        """Place the windows with the settings' step, or with another one."""
        step = self.settings.step if step is None else step
        shape = self.settings.swept_shape(self.shape)
        starts = sliding_windows(shape, self.settings.patch, step, self.settings.rule)
        kept = tuple(start for start in starts if self._is_wanted(start))
        return Plan(kept, len(starts) - len(kept), step)

    def _is_wanted(self, start: Triple) -> bool:
        if self.wanted is None:
            return True
        margin = self.settings.margin
        box = tuple(
            slice(max(0, first - margin), first + edge + margin)
            for first, edge in zip(start, self.settings.patch, strict=True)
        )
        return bool(self.wanted[box].any())
