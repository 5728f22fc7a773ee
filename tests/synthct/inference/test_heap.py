"""Freed memory stays while the heap is kept, and goes back afterwards; page faults tell."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch

from synthct.inference.heap import kept_heap

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

BLOCK = 64 << 20
PAGE = resource.getpagesize()


def _faults(times: int) -> int:
    """Page faults of a block that is allocated, filled and freed so many times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(BLOCK // 4).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_memory_is_used_again() -> None:
    assert _faults(8) > 4 * BLOCK // PAGE
    with kept_heap():
        _faults(8)  # the heap grows until a block of this size fits into what was freed
        assert _faults(8) < BLOCK // PAGE


def test_memory_goes_back_at_the_end() -> None:
    before = _resident()
    with kept_heap():
        _faults(2)
    assert _resident() - before < BLOCK // 2


def test_memory_goes_back_after_a_failure() -> None:
    def fail() -> None:
        with kept_heap():
            _faults(2)
            raise ValueError("stop")

    before = _resident()
    with pytest.raises(ValueError, match="stop"):
        fail()
    assert _resident() - before < BLOCK // 2


def test_large_blocks_are_mapped_anew_afterwards() -> None:
    with kept_heap():
        _faults(1)
    before = _resident()
    block = torch.zeros(BLOCK // 4).add_(1)
    held = _resident() - before
    del block
    assert held > BLOCK // 2
    assert _resident() - before < BLOCK // 2
