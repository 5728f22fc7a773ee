"""Memory that is used again instead of being given back to the system between two layers of a network.

The C library maps large blocks afresh for each tensor and unmaps them when it is freed; the system then fills every
page with zeros. For a 57 M parameter residual U-Net that is over a quarter of the time on a CPU (docs/inference.md).
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

__all__ = ["kept_heap"]

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_ALL, _NONE = (1 << 31) - 1, 0
_AFTERWARDS = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65536}
"""What is set at the end: the library's own number of maps, and its thresholds as far up as it moves them by itself."""


@contextmanager
def kept_heap() -> Iterator[None]:
    """While active, freed memory stays with the process; at the end it goes back, all at once.

    This is a setting of the whole process, and no stack of settings: of two threads that are in here at a time, the
    first to leave ends it for both, which costs the other speed and nothing else. glibc has no way to read what was
    set before. So at the end its two thresholds are fixed where its own adaptation ends at most (blocks from 32 MiB on
    are mapped, 64 MiB may stay free), and they no longer adapt for the life of the process.

    Does nothing where the C library is not glibc, or where the environment holds settings of its malloc (MALLOC_..._
    or GLIBC_TUNABLES): those are the user's.
    """
    if not _is_glibc() or _is_set_by_user(os.environ):
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, _NONE)
    library.mallopt(_TRIM_THRESHOLD, _ALL)
    try:
        yield
    finally:
        for parameter, value in _AFTERWARDS.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)


def _is_set_by_user(environment: Mapping[str, str]) -> bool:
    """Tell whether glibc's malloc was told by the environment how to treat memory; MALLOC_ARENA_MAX does not."""
    names = (name for name in environment if name.startswith("MALLOC_") and name.endswith("_"))
    return any(names) or "glibc.malloc." in environment.get("GLIBC_TUNABLES", "")


@cache
def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
