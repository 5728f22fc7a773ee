"""Crews of real worker processes: results, threads, and what a worker's death looks like."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dask_cluster import dask_cluster

from evaluation.executor import Crew, LostWorkerError, default_workers, open_crew, prepare_worker
from evaluation.metrics.arrays import usable_cores
from synthct.errors import UsageError


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def slowly(number: int) -> int:
    time.sleep(0.5)
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return slowly(number)


def collect(
    crew: Crew, work: Callable[[int], int], count: int, kept: list[int], after_four: Callable[[], None] = lambda: None
) -> None:
    """Keep what comes back, and do something once four results are there."""
    for number, _ in crew.as_finished(work, list(range(count))):
        kept.append(number)
        if len(kept) == 4:
            after_four()


def threads_of_libraries(_: int) -> tuple[str, int]:
    import SimpleITK as sitk

    return os.environ["OMP_NUM_THREADS"], sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


def test_every_argument_comes_back_with_its_result() -> None:
    with open_crew(2) as crew:
        found = dict(crew.as_finished(square, list(range(20))))
    assert {number: result for number, (result, _) in found.items()} == {number: number**2 for number in range(20)}
    assert os.getpid() not in {process for _, process in found.values()}


def test_workers_share_the_cores() -> None:
    with open_crew(2) as crew:
        assert crew.threads == max(1, usable_cores() // 2)
        found = dict(crew.as_finished(threads_of_libraries, [0]))
    assert found[0] == (str(crew.threads), crew.threads)


def test_dead_process_ends_the_work_in_seconds_and_keeps_what_was_finished() -> None:
    kept: list[int] = []
    began = time.monotonic()
    with pytest.raises(LostWorkerError, match=r"worker process died.*same command goes on"), open_crew(1) as crew:
        collect(crew, die_at_three, 200, kept)
    assert kept == [0, 1, 2]
    assert time.monotonic() - began < 30  # the 197 left would take 98 s


def test_exception_of_the_work_itself_is_raised() -> None:
    with pytest.raises(TypeError, match="can't multiply"), open_crew(1) as crew:
        list(crew.as_finished(square, [1, "two"]))  # type: ignore[list-item]


def test_default_number_of_workers_fits_cores_cases_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.executor.usable_cores", lambda: 64)
    monkeypatch.setattr("evaluation.executor.CGROUP_LIMITS", ())
    monkeypatch.setattr("evaluation.executor.TASK_LIMITS", ())
    large = 512 * 512 * 150
    assert default_workers(100, voxels=large, kinds={"precomputed"}) == 7  # of 1.19 GB each into 8 GiB
    assert default_workers(100, voxels=large, kinds={"precomputed", "tissue"}) == 2  # of 3.94 GB each
    assert default_workers(100, voxels=10**6, kinds={"tissue"}) == 17  # of 0.49 GB each
    assert default_workers(100, voxels=10**6, kinds={"nnunet"}) == 1  # of 4.5 GB each
    assert default_workers(3, voxels=10**6, kinds={"tissue"}) == 3
    assert default_workers(3, voxels=10**9, kinds={"tissue"}) == 1
    monkeypatch.setattr("evaluation.executor.usable_cores", lambda: 1)
    assert default_workers(100, voxels=large, kinds={"precomputed"}) == 1


@pytest.mark.parametrize(("text", "workers"), [("1000000000", 2), ("max", 17)])
def test_limit_of_a_container_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, workers: int) -> None:
    (tmp_path / "memory.max").write_text(f"{text}\n")
    monkeypatch.setattr("evaluation.executor.usable_cores", lambda: 64)
    monkeypatch.setattr("evaluation.executor.CGROUP_LIMITS", (tmp_path / "memory.max", tmp_path / "absent"))
    monkeypatch.setattr("evaluation.executor.TASK_LIMITS", ())
    assert default_workers(100, voxels=10**6, kinds={"tissue"}) == workers


def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from evaluation.executor import open_crew\n"
        "from test_executor import square\n"
        "if __name__ == '__main__':\n"
        "    with open_crew(1) as crew:\n"
        "        print(next(crew.as_finished(square, [1]))[1][1], flush=True)\n"
        "        time.sleep(60)\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", code]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={**os.environ, **path}) as command:
        if command.stdout is None:
            raise RuntimeError("no output to read")
        worker = int(command.stdout.readline())
        command.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_threads_are_limited_in_this_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # given back afterwards, as the others are
    heard = signal.getsignal(signal.SIGINT)
    prepare_worker(3)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, heard)
    assert (os.environ["OMP_NUM_THREADS"], sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) == ("3", 3)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.executor.CONNECT_SECONDS", 2)
    nobody = "tcp://127.0.0.1:1"
    with pytest.raises(UsageError, match=rf"--dask {nobody}: no scheduler answers"), open_crew(1, nobody):
        pass


@pytest.mark.parametrize("given", ["foo", "tcp://", "tcp://host", "host:port", "missing.json"])
def test_what_is_no_scheduler_is_refused_at_once(given: str) -> None:
    with pytest.raises(UsageError, match=f"--dask {given}: is no"), open_crew(1, given):
        pass


@pytest.mark.parametrize("content", ["{", "[]", '{"id": 1}', '{"address": "nowhere"}'])
def test_scheduler_file_without_an_address_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"scheduler\.json: is no"), open_crew(1, str(path)):
        pass


@pytest.mark.slow
def test_cluster_works_and_tells_of_a_worker_that_was_killed(tmp_path: Path) -> None:
    with dask_cluster(tmp_path) as cluster:
        with open_crew(1, cluster.address) as crew:
            assert crew.threads is None
            found = dict(crew.as_finished(square, list(range(8))))
        assert {number: result for number, (result, _) in found.items()} == {number: number**2 for number in range(8)}
        assert {process for _, process in found.values()} <= {worker.pid for worker in cluster.workers}

        kept: list[int] = []
        began = time.monotonic()
        with (
            pytest.raises(LostWorkerError, match=r"the Dask worker tcp://.* died"),
            open_crew(1, cluster.address) as crew,
        ):
            collect(crew, slowly, 40, kept, cluster.kill_worker)
        assert 4 <= len(kept) < 40
        assert time.monotonic() - began < 15
        cluster.add_worker()
        with open_crew(1, cluster.address) as crew:
            assert len(list(crew.as_finished(square, list(range(8))))) == 8


@pytest.mark.slow
def test_scheduler_that_dies_ends_the_work(tmp_path: Path) -> None:
    with (
        dask_cluster(tmp_path, workers=1) as cluster,
        pytest.raises(LostWorkerError, match="Dask scheduler died"),
        open_crew(1, cluster.address) as crew,
    ):
        collect(crew, slowly, 40, [], cluster.close)
