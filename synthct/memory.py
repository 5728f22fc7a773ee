"""Memory that runs out: recognised in whatever words a library says it, and a limit too low to start under refused."""

from __future__ import annotations

import errno
import os
import re
import resource

from synthct.errors import MemoryLimitError

__all__ = ["is_out_of_memory", "require_room_to_start"]

_WORDS = re.compile(
    r"can(?:'t|not|\s+not) allocate memory(?! in static TLS)"  # torch on the CPU, the C library, the dynamic loader
    r"|failed to allocate|unable to allocate|memory allocation (?:still )?failed|std::bad_alloc"  # ITK, NumPy, OpenBLAS
    r"|failed to map segment"  # the dynamic loader, for a shared library
    r"|can't start new thread|error creating thread|out of memory|alloc_failed",  # Python, OpenMP, CUDA
    re.IGNORECASE,
)
_BASE_BYTES = 288 << 20
_THREAD_BYTES = 40 << 20
"""What Python with torch and SimpleITK takes before any voxel is read, and what OpenBLAS takes more for each thread."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell memory trouble from other failures; an error that was raised from another is judged by that one too."""
    seen: BaseException | None = error
    while seen is not None:
        by_number = isinstance(seen, OSError) and seen.errno == errno.ENOMEM
        by_name = type(seen).__name__ == "OutOfMemoryError"  # torch's, which need not be imported for it
        if by_number or by_name or isinstance(seen, MemoryError | MemoryLimitError):
            return True
        if isinstance(seen, RuntimeError | OSError | ImportError | SystemError) and _WORDS.search(str(seen)):
            return True
        seen = seen.__cause__
    return False


def require_room_to_start() -> None:
    """Refuse a limit of data memory (RLIMIT_DATA) under which a native library would end the process without a word.

    The platform sets the limit to the instance's memory less 1 GiB (CONTRACT 2.2). No limit is always enough.

    Raises:
        MemoryLimitError: the limit lies below what the libraries take before any voxel is read.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    told = os.environ.get("OPENBLAS_NUM_THREADS", "")
    threads = int(told) if told.isdigit() else 1
    needed = _BASE_BYTES + threads * _THREAD_BYTES
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise MemoryLimitError(
            f"the memory limit (RLIMIT_DATA) is {limit >> 20} MiB; expected at least {needed >> 20} MiB, and more for "
            "the images"
        )
