"""One HTTP call with a deadline for the whole answer, on real sockets; and which engines can be called at all."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from synthct.grand_challenge.sandbox.calls import LOCAL, call_server, out_of_reach

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """A server that reads a request's head and answers one call in its own way; yields the port."""
    asked = threading.Event()

    def serve() -> None:
        with suppress(OSError):  # the caller went away, as it should
            line = listener.accept()[0]
            with line:
                line.recv(1 << 16)
                asked.set()
                answer(line)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(10)
    assert asked.is_set()
    assert not thread.is_alive()


def drip(line: socket.socket, head: bytes) -> None:
    line.sendall(head)
    while True:
        line.sendall(b"x")
        time.sleep(0.05)


def drip_header(line: socket.socket) -> None:
    drip(line, b"HTTP/1.1 200 OK\r\nName: ")


def drip_body(line: socket.socket) -> None:
    drip(line, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")


def drip_to_the_end(line: socket.socket) -> None:
    drip(line, b"HTTP/1.0 200 OK\r\n\r\n")


def say_nothing(line: socket.socket) -> None:
    line.recv(1)


def never_end(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.0 201 Created\r\n\r\n")
    while True:
        line.sendall(b"x" * 65_536)


def say_no_http(line: socket.socket) -> None:
    line.sendall(b"hello\r\n\r\n")


@pytest.mark.parametrize("answer", [drip_header, drip_body, drip_to_the_end, say_nothing])
def test_a_slow_answer_ends_with_the_deadline(answer: Answer) -> None:
    with answering(answer) as port:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            call_server("127.0.0.1", port, "GET", "/health", 0.5)
        assert 0.4 < time.monotonic() - started < 5


def test_an_endless_answer_still_has_a_status() -> None:
    with answering(never_end) as port:
        assert call_server("127.0.0.1", port, "POST", "/invoke", 20) == 201


@pytest.mark.parametrize("status", [200, 302, 500, 503])
def test_the_status_is_returned(status: int) -> None:
    def answer(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 %d Words\r\nContent-Length: 2\r\n\r\nok" % status)

    with answering(answer) as port:
        assert call_server("127.0.0.1", port, "GET", "/health", 20) == status


def test_what_is_no_http() -> None:
    with answering(say_no_http) as port, pytest.raises(http.client.BadStatusLine):
        call_server("127.0.0.1", port, "GET", "/health", 20)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        call_server("127.0.0.1", port, "GET", "/health", 20)


def test_no_thread_stays() -> None:
    before = set(threading.enumerate())
    with answering(say_no_http) as port, pytest.raises(http.client.BadStatusLine):
        call_server("127.0.0.1", port, "GET", "/health", 600)
    deadline = time.monotonic() + 5
    # threads of the caller's alone: one of an earlier test may end at any time
    while (new := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not new


def test_an_engine_under_linux_at_a_local_socket_is_in_reach() -> None:
    info = {"OperatingSystem": "Debian GNU/Linux 12 (bookworm)", "SecurityOptions": ["name=seccomp,profile=default"]}
    assert out_of_reach(LOCAL, info) is None
    assert out_of_reach(LOCAL, {"OperatingSystem": "Debian", "SecurityOptions": None}) is None


@pytest.mark.parametrize(
    ("base_url", "info", "word"),
    [
        ("http://10.0.0.1:2375", {}, "not at a socket of this machine"),
        ("http+docker://ssh", {}, "not at a socket of this machine"),
        (LOCAL, {"OperatingSystem": "Docker Desktop"}, "Docker Desktop"),
        (LOCAL, {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}, "rootless"),
    ],
)
def test_others_are_out_of_reach(base_url: str, info: dict[str, object], word: str) -> None:
    reason = out_of_reach(base_url, info)
    assert reason is not None
    assert word in reason
