"""Processes that are killed while they fill the cache, and processes that fill it together."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import save_case

from synthct.dataset import Case, CaseFiles, find_cases
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache

SHAPE = (24, 192, 192)


def content() -> PreparedCase:
    """Large enough that writing takes a while: 3.5 MB an array, one value per place."""
    code = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return PreparedCase(code, code + 7, np.ones(SHAPE, np.uint8))


def prepare(case: Case) -> PreparedCase:
    return content()


def refuse(case: Case) -> PreparedCase:
    pytest.fail(f"{case.id} was prepared again")


def is_whole(case: CachedCase) -> bool:
    wanted = content()
    return (
        np.array_equal(case.image, wanted.image)
        and case.reference is not None
        and np.array_equal(case.reference, np.asarray(wanted.reference))
        and np.array_equal(case.weight, wanted.weight)
        and case.foreground.shape == (100_000, 3)
    )


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    (found,) = find_cases(save_case(tmp_path / "1EXA001"))
    return found


def start(work: Callable[[], object]) -> int:
    """Run something in a child of its own, which ends with 0 if it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads; the child needs none of them
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def kill(child: int) -> int:
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("seen", ["image", "weight", "foreground", "reference"])
def test_killed_while_one_array_is_written(files: CaseFiles, tmp_path: Path, seen: str) -> None:
    folder = tmp_path / "cache"
    child = start(lambda: VolumeCache(folder, "k").case(files, prepare))
    deadline = time.monotonic() + 60
    while not list(folder.glob(f".partial/*/*/{seen}.npy")) and time.monotonic() < deadline:
        time.sleep(0.0005)
    assert kill(child) in (-signal.SIGKILL, 0)  # on a busy machine the child may have come to its end
    entries = [path for path in folder.iterdir() if path.name != ".partial"]
    assert entries or list(folder.glob(".partial/*/*/image.npy"))  # what is half lies aside
    assert is_whole(VolumeCache(folder, "k").case(files, refuse if entries else prepare))
    assert is_whole(VolumeCache(folder, "k").case(files, refuse))


def test_killed_at_random_times(files: CaseFiles, tmp_path: Path) -> None:
    """Whatever bears an entry's name afterwards is whole; both outcomes occur."""
    began = time.monotonic()
    VolumeCache(tmp_path / "timed", "k").case(files, prepare)
    duration = time.monotonic() - began
    found = []
    for attempt, share in enumerate((0.0, 0.3, 0.6, 0.9, 1.2, 5.0)):
        folder = tmp_path / f"cache{attempt}"
        child = start(lambda folder=folder: VolumeCache(folder, "k").case(files, prepare))
        time.sleep(share * duration + (1.0 if share > 1 else 0.0))
        kill(child)
        entries = [path for path in folder.iterdir() if path.name != ".partial"] if folder.exists() else []
        if entries:
            assert is_whole(VolumeCache(folder, "k").case(files, refuse))
        found.append(bool(entries))
    assert found[0] is False
    assert found[-1] is True


def test_several_processes_build_one_entry_at_once(files: CaseFiles, tmp_path: Path) -> None:
    """All go on with a whole entry; nothing but it is left."""
    folder = tmp_path / "cache"
    gate = tmp_path / "gate"

    def build() -> None:
        while not gate.exists():
            time.sleep(0.001)
        if not is_whole(VolumeCache(folder, "k").case(files, prepare)):
            raise ValueError("half an entry")

    children = [start(build) for _ in range(4)]
    gate.touch()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert len(list(folder.iterdir())) == 1
    assert is_whole(VolumeCache(folder, "k").case(files, refuse))


def test_several_processes_replace_one_damaged_entry_at_once(files: CaseFiles, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    VolumeCache(folder, "k").case(files, prepare)
    (entry,) = folder.iterdir()
    (entry / "weight.npy").write_bytes(b"")

    def repair() -> None:
        if not is_whole(VolumeCache(folder, "k").case(files, prepare)):
            raise ValueError("half an entry")

    children = [start(repair) for _ in range(4)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert list(folder.iterdir()) == [entry]
    assert is_whole(VolumeCache(folder, "k").case(files, refuse))
