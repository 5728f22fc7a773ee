"""The NiiVue viewer as a script that stands inside a page: taken from an installed ipyniivue, or from a file.

ipyniivue's widget carries a second, whole copy of NiiVue as text: an ES module with its own exports, which the widget
writes into the HTML files that it saves. That copy is used here: it needs no Jupyter and loads nothing. It was looked
at in release 2.4.4; where another release holds none, pages are made without a viewer.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote

from synthct.errors import InputError

__all__ = ["CALLBACK", "Viewer", "find_viewer", "read_viewer"]

PACKAGE = "ipyniivue"
WIDGET = "ipyniivue/static/widget.js"

CALLBACK = "synthctStartViewer"
"""Function of the page that the script calls with NiiVue's class once it has run."""

_MARKS = ("Niivue%2CPEN_TYPE", "%2CNiivue%2C", "%20as%20Niivue%2C")
"""A part of the export line of the encoded copy, likeliest first."""
_EXPORT = re.compile(r"export\s*\{(?P<names>[^{}]*)\};?\s*$")
_LICENCE_MISSING = "NiiVue: BSD 2-Clause licence, https://github.com/niivue/niivue"


@dataclass(frozen=True)
class Viewer:
    """A script that hands NiiVue's class to the page.

    Attributes:
        source: JavaScript; an ES module without imports and exports.
        origin: where it came from, for people.
        licence: text of its licence.
    """

    source: str
    origin: str
    licence: str

    @property
    def packed(self) -> str:
        """The script, gzip in base64: less than half of its size."""
        return base64.b64encode(gzip.compress(self.source.encode(), 9, mtime=0)).decode()

    @property
    def content_hash(self) -> str:
        """Hash of the script as a page's security policy names it."""
        return "sha256-" + base64.b64encode(hashlib.sha256(self.source.encode()).digest()).decode()


def find_viewer() -> Viewer | None:
    """NiiVue of the installed package; None where it is not installed, or holds no copy that can be used.

    Raises:
        InputError: the package's file cannot be read.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(WIDGET)))
    if not path.is_file():
        return None
    licences = [file for file in package.files or () if file.name.upper().startswith("LICENSE")]
    licence = licences[0].read_text() if licences else _LICENCE_MISSING
    source = _module(_read(path))
    return Viewer(source, f"NiiVue of {PACKAGE} {package.version}", licence) if source else None


def read_viewer(path: Path) -> Viewer:
    """NiiVue from a file: ipyniivue's widget.js, or index.js or niivue.umd.js of @niivue/niivue.

    A file LICENSE beside it, or one folder up, goes with it.

    Raises:
        InputError: the file cannot be read, or holds no NiiVue.
    """
    source = _module(_read(path))
    if source is None:
        raise InputError(f"{path}: exports no class Niivue; expected widget.js of ipyniivue or niivue.umd.js of NiiVue")
    texts = [folder / "LICENSE" for folder in (path.parent, path.parent.parent)]
    licence = next((_read(text) for text in texts if text.is_file()), _LICENCE_MISSING)
    return Viewer(source, f"NiiVue from {path.name}", licence)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a JavaScript file") from error


def _module(text: str) -> str | None:
    """The script that calls the page; None where the text holds no NiiVue."""
    for candidate in (text, _encoded_copy(text)):
        export = _EXPORT.search(candidate)
        name = _exported_name(export["names"]) if export else None
        if export and name:
            return f"{candidate[: export.start()]};globalThis.{CALLBACK}({name});"
    if re.search(r"\.niivue\s*=\s*\{\}", text[:1000]):  # the preamble of a UMD build
        return f"{text}\n;globalThis.{CALLBACK}(globalThis.niivue.Niivue);"
    return None


def _encoded_copy(text: str) -> str:
    """The module that ipyniivue's widget carries, URL-encoded in one string; empty where there is none."""
    for mark in _MARKS:
        place = text.find(mark)
        if place >= 0:
            return unquote(text[text.rfind('"', 0, place) + 1 : text.find('"', place)])
    return ""


def _exported_name(names: str) -> str | None:
    """The name that Niivue has inside the module: `Niivue`, or `x` of `x as Niivue`."""
    found = re.search(r"(?:^|,)\s*(?:([\w$]+)\s+as\s+)?Niivue\s*(?:,|$)", names)
    return (found[1] or "Niivue") if found else None
