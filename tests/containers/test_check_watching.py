"""What is read of a real container while it runs: its log piece by piece, and the cores that it may use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from containers.images import BASE

from synthct.grand_challenge.sandbox.flags import GIBIBYTE, Phase, run_flags
from synthct.grand_challenge.sandbox.watch import GrowingLog

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]

TALKER = """
import os, sys, time
def say(first, last):
    for number in range(first, last):
        sys.stderr.write(f"line {number} " + "x" * 40 + "\\n")
    sys.stderr.flush()
say(0, 15)
while not os.path.exists("/go"):
    time.sleep(0.05)
say(15, 20)
time.sleep(600)
"""


@contextmanager
def talking(**options: Any) -> Iterator[Any]:
    """A container that says lines 0 to 14, and 15 to 19 once there is a file /go."""
    client = docker.from_env()
    container = client.containers.create(BASE, command=["python3", "-c", TALKER], init=True, **options)
    try:
        container.start()
        wait_for(container, "line 14 ")
        yield container
    finally:
        container.remove(force=True)
        client.close()


def wait_for(container: Any, text: str) -> None:
    deadline = time.monotonic() + 20
    while text.encode() not in container.logs():
        assert time.monotonic() < deadline, f"no '{text}' in the log"
        time.sleep(0.05)


def go_on(container: Any) -> None:
    assert container.exec_run(["touch", "/go"]).exit_code == 0
    wait_for(container, "line 19 ")


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    copy = tmp_path / "stderr.txt"
    with talking() as container:
        log = GrowingLog(container)
        assert log.peek().last_line.startswith("line 14 ")
        assert log.take(copy).last_line.startswith("line 14 ")
        assert (log.peek().last_line, log.take().longest) == ("", 0)
        go_on(container)
        assert log.take(copy).last_line.startswith("line 19 ")
        assert log.peek().last_line == ""
    assert [line.split()[1] for line in copy.read_text().splitlines()] == [str(number) for number in range(20)]


def test_a_log_that_the_engine_began_anew_is_read_from_its_start() -> None:
    kept = {"Type": "json-file", "Config": {"max-size": "2k"}}
    with talking(log_config=kept) as container:
        log = GrowingLog(container)
        log.take()
        go_on(container)
        assert "line 0 " not in container.logs().decode()
        assert log.take().last_line.startswith("line 19 ")


def test_a_container_sees_only_the_cores_that_it_may_use() -> None:
    client = docker.from_env()
    try:
        flags = run_flags(Phase.PLATFORM, memory=2 * GIBIBYTE, uid=1, gpu=False, cores="0")
        code = "import os; print(sorted(os.sched_getaffinity(0)))"
        assert client.containers.run(BASE, ["python3", "-c", code], remove=True, **flags) == b"[0]\n"
    finally:
        client.close()
