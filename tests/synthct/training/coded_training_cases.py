"""Cases whose voxels tell where they are from."""

from __future__ import annotations

import numpy as np
from builders import Array

from synthct.training.cache import CachedCase, PreparedCase, hold_case

Shape = tuple[int, int, int]
REFERENCE_OFFSET = 0.5


def coded_case(name: str, shape: Shape, *, first: int = 1, weight: Array | None = None) -> CachedCase:
    """The image at (z, y, x) is `first` + the voxel's flat index, the reference half more; all inside by default."""
    code = np.arange(first, first + np.prod(shape), dtype=np.float32).reshape(shape)
    inside = np.ones(shape, np.uint8) if weight is None else weight
    return hold_case(name, "EX", PreparedCase(code, code + REFERENCE_OFFSET, inside))


def without_reference(case: CachedCase) -> CachedCase:
    return hold_case(case.id, case.region, PreparedCase(case.image, None, case.weight))


def place(value: float, shape: Shape, *, first: int = 1) -> Shape:
    """Where in a coded case an image's value stands."""
    z, y, x = (int(index) for index in np.unravel_index(int(value) - first, shape))
    return z, y, x
