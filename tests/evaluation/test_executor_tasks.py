"""A container's limit of processes and threads: workers and their libraries fit it, on however many cores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluation.executor import default_workers, open_crew

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of 64 cores; the test writes the container's limit into the file."""
    monkeypatch.setattr("evaluation.executor.usable_cores", lambda: 64)
    monkeypatch.setattr("evaluation.executor.CGROUP_LIMITS", ())
    monkeypatch.setattr("evaluation.executor.TASK_LIMITS", (tmp_path / "absent", tmp_path / "pids.max"))
    return tmp_path / "pids.max"


def inherited(_: int) -> tuple[str | None, ...]:
    """What a worker's libraries found when they were loaded, before it was told anything: its own start environment."""
    entries = Path("/proc/self/environ").read_bytes().decode().split("\0")
    found = dict(entry.partition("=")[::2] for entry in entries)
    return tuple(found.get(name) for name in VARIABLES)


@pytest.mark.parametrize(
    ("limit", "workers"),
    [
        ("max", 17),  # as many as fit 8 GiB
        ("128", 11),  # (128 - 48) / 7
        ("256", 17),
        ("62", 2),
        ("20", 1),
    ],
)
def test_default_number_of_workers_fits_the_limit(host: Path, limit: str, workers: int) -> None:
    host.write_text(f"{limit}\n")
    assert default_workers(100, voxels=10**6, kinds={"tissue"}) == workers


@pytest.mark.parametrize(
    ("limit", "workers", "threads"),
    [
        ("max", 2, 32),
        ("128", 1, 15),  # (80 - 2) / 5
        ("128", 4, 3),  # (20 - 2) / 5
        ("128", 11, 1),
        ("128", 60, 1),
        ("100000", 4, 16),
    ],
)
def test_threads_of_each_worker_fit_the_limit(host: Path, limit: str, workers: int, threads: int) -> None:
    host.write_text(limit)
    with open_crew(workers) as crew:
        assert crew.threads == threads


def test_workers_start_with_their_share_and_the_command_keeps_its_own(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write_text("128")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with open_crew(4) as crew:
        found = dict(crew.as_finished(inherited, [1]))
    assert found[1] == ("3", "3", "3")
    assert [os.environ.get(name) for name in VARIABLES] == ["5", None, "7"]
