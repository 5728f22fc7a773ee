"""One real Chromium for all pages; tests here are skipped only where none can be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from browser.looking import find_chromium

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""Root may run it, and WebGL is drawn by the processor."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; tests/browser/chromium.sh installs one where it may."""
    path = find_chromium(os.environ.get("SYNTHCT_CHROMIUM"))
    if path is None:
        pytest.skip("no Chromium is installed (tests/browser/chromium.sh)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium: Any) -> Iterator[Any]:
    """One page for a module, light, 1200 pixels wide; tests leave it where it is."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture
def other_page(chromium: Any) -> Iterator[Any]:
    """A page for one test, which may go where it wants."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    yield context.new_page()
    context.close()
