"""A stand-in as a server: GET /health, POST /invoke on port 4743. SERVED names it.

FAULT is one thing that goes wrong, GREETING what it says first, WAITING the seconds until it listens.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module

sys.path.insert(0, "/app")  # it is run by its path

FAULT = os.environ.get("FAULT", "")
SERVED = import_module(os.environ.get("SERVED", "algorithm"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if FAULT == "redirects":
            self.send_response(302)
            self.send_header("Location", "/healthy")
        else:
            self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        try:
            SERVED.run()
        except Exception:  # noqa: BLE001  # the server lives on
            if FAULT != "mute":
                traceback.print_exc()
            if FAULT == "dies":
                os._exit(1)
            self.send_response(201 if FAULT == "always-201" else 500)
        else:
            self.send_response(200 if FAULT == "says-200" else 201)
        self.end_headers()
        if FAULT == "leaves":
            threading.Timer(0.07, os._exit, [0]).start()

    def log_message(self, *words: object) -> None:
        pass


# The first process of a container ignores a SIGTERM that it does not handle.
if FAULT == "stays":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if greeting := os.environ.get("GREETING"):
    sys.stderr.write(greeting + "\n")
if FAULT == "long-start":
    sys.stderr.write("x" * 70_000 + "\n")
time.sleep(float(os.environ.get("WAITING", "0")))
HTTPServer(("0.0.0.0", 4743), Handler).serve_forever()  # noqa: S104
