"""The cache where the machine runs out: of disk, of files that a process may hold open."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import save_case
from mounts import mounted_disk

from synthct.dataset import Case, CaseFiles, find_cases
from synthct.errors import DiskFullError, SynthCTError
from synthct.training.cache import PreparedCase, VolumeCache


def prepare(case: Case) -> PreparedCase:
    return PreparedCase(case.image.voxels, None, case.mask.voxels)


def refuse(case: Case) -> PreparedCase:
    pytest.fail(f"{case.id} was prepared again")


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    (found,) = find_cases(save_case(tmp_path / "1EXA001"))
    return found


def test_a_disk_that_is_full_is_named_as_such(files: CaseFiles, tmp_path: Path) -> None:
    """numpy says only how many values it could write."""
    large = PreparedCase(np.zeros((32, 32, 32)), None, np.ones((32, 32, 32), np.uint8))
    with (
        mounted_disk(tmp_path / "disk") as disk,
        pytest.raises(DiskFullError, match=r"1EXA001-[0-9a-f]{16}: cannot be written"),
    ):
        VolumeCache(disk, "k").case(files, lambda case: large)


@pytest.fixture
def few_open_files() -> Iterator[int]:
    """Room for eight more files than are open; returns how many the system would allow."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 8, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def test_a_large_data_set_may_hold_more_files_open_than_the_usual_limit(
    files: CaseFiles, tmp_path: Path, few_open_files: int
) -> None:
    """Maps hold their files open, four a case: 774 cases of SynthRAD2025 hold 3096, where 1024 is the usual limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    cache = VolumeCache(tmp_path / "cache", "k")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(16384, few_open_files), few_open_files)
    cache.case(files, prepare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, few_open_files))
    held = []
    with pytest.raises(SynthCTError, match=r"1EXA001-[0-9a-f]{16}: too many files are open; .*ulimit -n"):
        held.extend(cache.case(files, refuse) for _ in range(limit))
    assert len(list((tmp_path / "cache").iterdir())) == 1, "a map that finds no room is no damaged entry"
