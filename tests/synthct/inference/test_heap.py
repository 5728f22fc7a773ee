"""Freed memory stays while the heap is kept, and goes back afterwards; page faults tell."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from synthct.inference.heap import _is_set_by_user, kept_heap

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


def run_both(**environment: str) -> tuple[int, int]:
    """Run `faults_without_and_with` in a process whose environment has no other settings of malloc than these.

    In a process that ran other tests, libraries may lie where the heap would have to grow.
    """
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += "from test_heap import faults_without_and_with as both; sys.stdout.write('%d %d' % both())"
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**others, **environment}
    )
    without, kept = map(int, result.stdout.split())
    return without, kept


def faults_without_and_with() -> tuple[int, int]:
    """Faults of eight blocks, as it is and with a kept heap."""
    before = _faults(8)
    with kept_heap():
        _faults(8)  # the heap grows until a block of this size fits into what was freed
        return before, _faults(8)


def test_memory_is_used_again() -> None:
    without, kept = run_both()
    assert without > 4 * BLOCK // PAGE
    assert kept < BLOCK // PAGE


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


def test_settings_of_the_user_stay() -> None:
    """With a threshold given, each large block is mapped anew, in the kept heap as before it."""
    without, kept = run_both(MALLOC_MMAP_THRESHOLD_=str(1 << 20))
    assert without > 4 * BLOCK // PAGE
    assert kept > 4 * BLOCK // PAGE


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"PATH": "/bin", "MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2"}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "65536"}, True),
        ({"MALLOC_TRIM_THRESHOLD_": "0"}, True),
        ({"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2:glibc.malloc.trim_threshold=65536"}, True),
    ],
)
def test_what_counts_as_a_setting(environment: dict[str, str], expected: bool) -> None:
    assert _is_set_by_user(environment) is expected
