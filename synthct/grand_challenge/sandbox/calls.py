"""Calling a container that serves over HTTP: whether it can be reached from here, and one call with a deadline."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["call_server", "out_of_reach"]

LOCAL = "http+docker://localhost"
"""How the SDK names an engine at a unix socket."""
ANSWER_LIMIT = 64 << 10
"""Bytes of an answer that are read: only its status counts, but a server should be able to send it."""


def call_server(address: str, port: int, method: str, path: str, seconds: float) -> int:
    """Make one call with an empty body and return the status of its answer.

    Raises:
        TimeoutError: the answer was not whole after so many seconds, however slowly it came in.
        OSError: there is no connection, or it broke.
        http.client.HTTPException: the answer is no HTTP.
    """
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    started = time.monotonic()
    expired = threading.Event()
    try:
        connection.connect()
        line = connection.sock

        def give_up() -> None:
            expired.set()
            with suppress(OSError):  # the answer came just now, and the connection is closed
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, seconds - (time.monotonic() - started)), give_up)
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, path, body=b"" if method == "POST" else None)
            with connection.getresponse() as response:
                response.read(ANSWER_LIMIT)
                status = response.status
        except (OSError, http.client.HTTPException):
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
    finally:
        connection.close()
    if expired.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")
    return status


def out_of_reach(base_url: str, info: Mapping[str, Any]) -> str | None:
    """Say why this machine cannot call a container by its address; None where it can.

    Args:
        base_url: the engine's address as the SDK has it.
        info: what the engine says of itself.
    """
    if base_url != LOCAL:
        return "the engine is not at a socket of this machine: its containers cannot be called from here"
    if "Docker Desktop" in str(info.get("OperatingSystem")):
        return "the engine is Docker Desktop's, in a machine of its own: its containers cannot be called from here"
    if any("rootless" in str(option) for option in info.get("SecurityOptions") or ()):
        return "the engine is rootless, with a network of its own: its containers cannot be called from here"
    return None
