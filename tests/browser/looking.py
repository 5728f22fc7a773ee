"""Looking at pages as a reader does: what a region shows, what can be reached by keyboard, what was loaded."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["HOSTILE", "SHOTS", "find_chromium", "picture_of", "reached_by_tab", "served", "watch"]

HOSTILE = '<img src=x onerror="window.hurt=1">"\'&'
"""A name that is harmless as text and nothing else."""

SHOTS = Path(__file__).resolve().parents[2] / "build" / "browser"
"""Where screenshots of the last run lie."""

CONTROLS = "button, a[href], input, select, summary, canvas, [tabindex='0']"

Picture = npt.NDArray[np.float64]


def find_chromium(named: str | None) -> str | None:
    """Path of a Chromium: the one named, else the first on the PATH."""
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if (path := shutil.which(name)) is not None), None)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder on this machine; yields its address and the list of paths that are asked for."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  (the base class calls it so)
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def watch(page: Any) -> dict[str, list[str]]:
    """Keep what a page asks for (but for what it holds itself) and what goes wrong in it."""
    kept: dict[str, list[str]] = {"requests": [], "errors": []}
    page.on(
        "request",
        lambda request: (
            kept["requests"].append(request.url) if not request.url.startswith(("data:", "blob:")) else None
        ),
    )
    page.on("pageerror", lambda error: kept["errors"].append(str(error)))
    page.on("console", lambda message: kept["errors"].append(message.text) if message.type == "error" else None)
    return kept


def picture_of(locator: Any, name: str) -> Picture:
    """What a region shows, grey values (height, width); the screenshot is kept."""
    from PIL import Image

    SHOTS.mkdir(parents=True, exist_ok=True)
    content = locator.screenshot(path=SHOTS / f"{name}.png")
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=np.float64)


def reached_by_tab(page: Any) -> tuple[set[int], set[int]]:
    """Numbers of the visible controls, and of those that Tab alone reaches from the top of the page."""
    wanted = page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].flatMap((control, number) => {
            control.dataset.number = number;
            const seen = control.checkVisibility() && control.tabIndex >= 0 && !control.disabled;
            return seen ? [number] : [];
        })""",
        CONTROLS,
    )
    page.evaluate("() => { document.activeElement.blur(); window.getSelection().removeAllRanges(); }")
    reached = set()
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        number = page.evaluate("() => document.activeElement.dataset.number ?? null")
        if number is not None:
            reached.add(int(number))
    return set(wanted), reached
