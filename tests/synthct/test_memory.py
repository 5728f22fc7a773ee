"""Memory that runs out, in the words of each library; other failures in similar words are not mistaken for it."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import pytest
import torch
from forked import in_child

from synthct.errors import InputError, MemoryLimitError
from synthct.memory import is_out_of_memory, require_room_to_start

WORDS = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError(
        "Exception thrown in SimpleITK ImageFileReader_Execute: ITK ERROR: Failed to allocate memory for image."
    ),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ImportError("libtorch_cpu.so: cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    MemoryError(),
    MemoryLimitError("a window does not fit"),
    torch.OutOfMemoryError("Tried to allocate 20.00 MiB"),
]


@pytest.mark.parametrize("error", WORDS, ids=lambda error: str(error)[-30:])
def test_words_of_the_libraries(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = InputError("a.mha: cannot be decoded")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ImportError("libgomp.so.1: cannot allocate memory in static TLS block"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.ENOENT, "No such file"),
        ValueError("out of memory"),  # words alone are no evidence: a file name may hold them
        InputError("out of memory.mha: no such file"),
        KeyError("x"),
    ],
    ids=str,
)
def test_other_failures(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_real_failures_of_numpy_and_torch() -> None:
    for allocate in (lambda: np.empty(1 << 60, np.int8), lambda: torch.empty(1 << 60, dtype=torch.int8)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(("limit", "threads", "enough"), [(327, 1, False), (328, 1, True), (400, 4, False)])
def test_room_to_start(monkeypatch: pytest.MonkeyPatch, limit: int, threads: int, enough: bool) -> None:
    """288 MiB, and 40 MiB for each thread."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(threads))
    require_room_to_start()  # this process has no limit

    def check() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))
        if enough:
            require_room_to_start()
        else:
            with pytest.raises(MemoryLimitError, match=f"is {limit} MiB; expected at least {288 + 40 * threads} MiB"):
                require_room_to_start()

    in_child(check)
