"""The invoke server around a runner of a few lines, in a process of its own, over real HTTP (CONTRACT 2.2)."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke_process import InvokeProcess, started

PROGRAM = '''
import sys, time
from pathlib import Path
from synthct.cli import app
from synthct.errors import InputError, WeightsError
from synthct.grand_challenge.server import serve

FOLDER = Path(sys.argv[1])

class Runner:
    """Does what the file `order` says."""

    def prepare(self):
        while (FOLDER / "loading").exists():
            time.sleep(0.01)
        if (FOLDER / "no weights").exists():
            raise WeightsError("no weights for x")

    def run(self):
        import warnings
        warnings.warn("look out")
        exec((FOLDER / "order").read_text(), globals())

app.build_app = lambda words: lambda words, prog_name: serve(Runner(), port=int(sys.argv[2]), host="127.0.0.1")
app.main([])
'''
"""The server inside the real command line, which turns what goes wrong into a line and an exit code."""

BUSY = {
    "asleep": "import time; time.sleep(60)",
    "in Python": "while True: pass",
    "in one call of NumPy": "import numpy as np; a = np.ones((7000, 7000)); [a @ a for _ in range(99)]",
    "in one call of torch": "import torch; a = torch.ones(7000, 7000); [a @ a for _ in range(99)]",
    "waiting for a lock": "import threading; threading.Event().wait()",
}


def start(folder: Path, port: int = 0) -> list[str]:
    (folder / "order").write_text("pass")
    return ["-c", PROGRAM, str(folder), str(port)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[InvokeProcess]:
    with started(start(tmp_path)) as process:
        process.wait_until_ready()
        yield process


def test_listens_before_it_has_loaded(tmp_path: Path) -> None:
    (tmp_path / "loading").touch()
    with started(start(tmp_path)) as process:
        for _ in range(3):
            assert process.request("GET", "/health") == (503, "loading")
            assert process.invoke() == (503, "loading")
        (tmp_path / "loading").unlink()
        statuses = process.wait_until_ready()
        assert set(statuses[:-1]) <= {503}
        assert process.request("GET", "/health") == (200, "ready")
        assert process.invoke() == (201, "done")


def test_failures_are_told_and_survived(server: InvokeProcess, tmp_path: Path) -> None:
    failures = {
        'raise InputError("a.mha:\\nis broken")': "a.mha: is broken",
        'raise ZeroDivisionError("x")': "unexpected ZeroDivisionError: x (SYNTHCT_TRACEBACK=1 shows where)",
        "raise MemoryError": "the work does not fit into this machine's memory",
        "sys.exit(3)": "unexpected SystemExit: 3 (SYNTHCT_TRACEBACK=1 shows where)",
    }
    for number, (order, reason) in enumerate(failures.items()):
        (tmp_path / "order").write_text(order)
        assert server.invoke() == (500, reason)
        server.wait_for_last_line(f"error: {reason}")
        (tmp_path / "order").write_text("pass")
        assert server.invoke() == (201, "done")
        server.wait_for_last_line(f"invoke {2 * number + 2}: done after 0.")
    assert "Traceback" not in "".join(server.lines)


def test_one_line_per_call_and_none_for_the_others(server: InvokeProcess) -> None:
    before = len(server.lines)
    for _ in range(20):
        assert server.request("GET", "/health")[0] == 200
        assert server.request("GET", "/other")[0] == 404
    assert len(server.lines) == before
    for _ in range(2):  # a warning of the call before is no secret of the next
        assert server.invoke()[0] == 201
    server.wait_for_last_line("invoke 2: done")
    said = [line.partition(" after")[0] for line in server.lines[before:]]
    assert said == ["warning: look out", "invoke 1: done", "warning: look out", "invoke 2: done"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", path, 404) for path in ("/", "/healthy", "/health/", "/invoke/x")),
        *((method, "/health", 405) for method in ("POST", "PUT", "DELETE", "HEAD", "PROPFIND")),
        *((method, "/invoke", 405) for method in ("GET", "PUT", "OPTIONS")),
        ("GET", "/health?from=platform", 200),
    ],
)
def test_what_is_asked_wrongly(server: InvokeProcess, method: str, path: str, status: int) -> None:
    assert server.request(method, path)[0] == status


def test_body_does_not_matter(server: InvokeProcess) -> None:
    for body in (b"", b"{}", b"x" * 60_000):
        assert server.request("POST", "/invoke", body) == (201, "done")


def test_second_call_meanwhile_is_refused_and_health_answers(server: InvokeProcess, tmp_path: Path) -> None:
    (tmp_path / "order").write_text(
        "(FOLDER / 'running').touch()\nwhile not (FOLDER / 'go').exists():\n    time.sleep(0.01)"
    )
    answers: list[tuple[int, str]] = []
    first = threading.Thread(target=lambda: answers.append(server.invoke()))
    first.start()
    while not (tmp_path / "running").exists():
        time.sleep(0.01)
    assert server.invoke() == (503, "another call is running; expected one at a time")
    assert server.request("GET", "/health") == (200, "ready")
    (tmp_path / "go").touch()
    first.join()
    assert answers == [(201, "done")]
    assert server.invoke() == (201, "done")


def test_caller_that_goes_away_is_no_failure(server: InvokeProcess, tmp_path: Path) -> None:
    (tmp_path / "order").write_text("time.sleep(0.3); (FOLDER / 'done').touch()")
    for request in (b"POST /invoke HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /inv", b"\x00\xff\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            caller.sendall(request)
    while not (tmp_path / "done").exists():
        time.sleep(0.01)
    server.wait_for_line("invoke 1: done")
    (tmp_path / "order").write_text("pass")
    assert server.invoke() == (201, "done")
    assert "Traceback" not in "".join(server.lines)


def test_caller_that_says_nothing_keeps_no_other_waiting(server: InvokeProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.invoke() == (201, "done")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_an_idle_server(server: InvokeProcess, number: signal.Signals, code: int) -> None:
    assert server.stop(number) < 2
    assert (server.process.returncode, server.lines[-1]) == (code, f"ended by {number.name}")


def test_signal_ends_it_while_it_loads(tmp_path: Path) -> None:
    (tmp_path / "loading").touch()
    with started(start(tmp_path)) as process:
        assert process.request("GET", "/health")[0] == 503
        assert process.stop() < 2
        assert process.process.returncode == 143


@pytest.mark.parametrize("order", BUSY.values(), ids=BUSY)
def test_signal_ends_it_in_the_middle_of_a_call(server: InvokeProcess, tmp_path: Path, order: str) -> None:
    (tmp_path / "order").write_text(f"(FOLDER / 'running').touch()\n{order}")

    def call() -> None:
        with pytest.raises(OSError, match=r"reset|closed|Remote"):
            server.invoke()

    caller = threading.Thread(target=call)
    caller.start()
    while not (tmp_path / "running").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    assert server.stop() < 3
    assert (server.process.returncode, server.lines[-1]) == (143, "ended by SIGTERM")
    caller.join()


def test_a_child_s_end_is_not_the_server_s(server: InvokeProcess, tmp_path: Path) -> None:
    """A forked child that is told to end neither ends its parent nor stays."""
    (tmp_path / "order").write_text(
        "import os, signal\n"
        "child = os.fork()\n"
        "if child == 0:\n    time.sleep(60)\n    os._exit(0)\n"
        "time.sleep(0.2)\nos.kill(child, signal.SIGTERM)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM"
    )
    assert server.invoke() == (201, "done")
    assert server.request("GET", "/health") == (200, "ready")


def test_no_weights_end_the_process(tmp_path: Path) -> None:
    (tmp_path / "no weights").touch()
    with started(start(tmp_path)) as process:
        assert process.wait() == 4
        assert process.lines[-1] == "error: no weights for x"


def test_port_that_is_taken(server: InvokeProcess, tmp_path: Path) -> None:
    with started(start(tmp_path, port=server.port)) as second:
        assert second.wait() == 2
        assert second.lines == [
            f"error: port {server.port} cannot be listened on (Address already in use); expected a free port"
        ]
