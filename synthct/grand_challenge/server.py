"""Invoke mode: one process that loads once and serves the platform's calls over HTTP (CONTRACT 2.2)."""

from __future__ import annotations

import queue
import signal
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synthct.cli.console import say, show_warnings
from synthct.errors import UsageError
from synthct.failure import Failure, describe_failure, show_traceback_if_asked
from synthct.grand_challenge.runner import INVOKE_PORT, Runner
from synthct.grand_challenge.termination import end_at_once_on

__all__ = ["serve"]

HOST = "0.0.0.0"  # noqa: S104  # the platform calls from outside the container
METHODS = {"/health": "GET", "/invoke": "POST"}
CALLER_PATIENCE = 10.0
"""Seconds that a caller may take to send its request."""
BODY_LIMIT = 1 << 16


def serve(runner: Runner, *, port: int = INVOKE_PORT, host: str = HOST) -> None:
    """Listen, load, then answer until a signal ends the process (SIGTERM: exit code 143, SIGINT: 130).

    GET /health says 503 until the runner is prepared, then 200. POST /invoke runs it, one call at a time in the main
    thread, and says 201; a call while another runs, or before the weights are loaded, gets 503. A run that fails gets
    500 with its reason in one line, which is also written to stderr, and the next call is served. Other paths get 404,
    other methods 405.

    Args:
        runner: the work.
        port: to listen on; 0 takes a free one, which the first line on stderr names.
        host: address to listen on.

    Raises:
        UsageError: the port cannot be listened on.
        SynthCTError: the runner cannot be prepared.
    """
    end_at_once_on((signal.SIGTERM, signal.SIGINT))
    try:
        server = _Server((host, port), _Handler)
    except OSError as error:
        raise UsageError(f"port {port} cannot be listened on ({error.strerror}); expected a free port") from error
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    say(f"invoke: listening on port {server.server_port}, loading")
    began = time.monotonic()
    runner.prepare()
    server.ready.set()
    say(f"invoke: ready after {time.monotonic() - began:.1f} s")
    number = 0
    while True:
        call = server.calls.get()
        number += 1
        call.failure = _run(runner, number)
        call.done.set()


def _run(runner: Runner, number: int) -> Failure | None:
    """Run once; whatever goes wrong is this call's failure, not the server's."""
    show_warnings()  # a warning that an earlier run gave too is shown again
    began = time.monotonic()
    failure = None
    try:
        runner.run()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the next call must find a server
        show_traceback_if_asked(error)
        failure = describe_failure(error)
    say(f"invoke {number}: {'failed' if failure else 'done'} after {time.monotonic() - began:.1f} s")
    if failure is not None:
        say(f"error: {failure.reason}")
    return failure


class _Call:
    """One POST /invoke on its way from its HTTP thread to the main thread and back."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.failure: Failure | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.ready = threading.Event()
        self.busy = threading.Lock()
        self.calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A caller that went away is no failure of ours; the run's own result has been said already."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = CALLER_PATIENCE

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Answer every method in one place: http.server looks for do_GET, do_POST, do_PUT and so on."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002, ANN401
        """No line per request: only the last 500 lines are kept, and /health is asked often."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        if path not in METHODS:
            self._reply(HTTPStatus.NOT_FOUND, f"{path}: expected /health or /invoke")
        elif self.command != METHODS[path]:
            self._reply(HTTPStatus.METHOD_NOT_ALLOWED, f"{path}: expected {METHODS[path]}", allow=METHODS[path])
        elif not self.server.ready.is_set():
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE, "loading")
        elif path == "/health":
            self._reply(HTTPStatus.OK, "ready")
        else:
            self._invoke()

    def _invoke(self) -> None:
        if not self.server.busy.acquire(blocking=False):
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE, "another call is running; expected one at a time")
            return
        call = _Call()
        try:
            self.server.calls.put(call)
            call.done.wait()
        finally:
            self.server.busy.release()
        if call.failure is None:
            self._reply(HTTPStatus.CREATED, "done")
        else:
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, call.failure.reason)

    def _reply(self, status: HTTPStatus, text: str, *, allow: str | None = None) -> None:
        length = self.headers.get("Content-Length", "0")
        if length.isdigit():
            self.rfile.read(min(int(length), BODY_LIMIT))  # the body says nothing, but a reset would lose our answer
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if allow is not None:
            self.send_header("Allow", allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
