"""Patch inference: where the windows lie, how their predictions are merged, and the sweep over them."""

from synthct.inference.finish import AIR_HU, HU_MAX, HU_MIN, finish_hu
from synthct.inference.settings import SweepSettings
from synthct.inference.windows import sliding_windows

__all__ = ["AIR_HU", "HU_MAX", "HU_MIN", "SweepSettings", "finish_hu", "sliding_windows"]
