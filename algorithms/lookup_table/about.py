"""What lookup-table is."""

from pathlib import Path

from algorithms.interface import About
from synthct.anatomy import Region, Task

__all__ = ["ABOUT"]

ABOUT = About(
    name="lookup-table",
    summary="Yardstick: the median CT value of each MR value. It knows no anatomy; a network must beat it.",
    tasks=(Task.MRI, Task.CBCT),
    regions=tuple(Region),
    presets=("default",),
    source="no paper; data yardstick",
    folder=Path(__file__).parent,
)
