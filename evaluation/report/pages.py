"""Turning templates into pages that stand alone: everything inside one file, everything escaped, nothing loaded."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.report.numbers import FILTERS
from synthct.files import write_text

__all__ = ["TEMPLATES", "content_security_policy", "file_stem", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_STEM = 80


def write_page(
    template: str,
    path: Path,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    hashes: Sequence[str] = (),
    **values: object,
) -> Path:
    """Fill a template and write the page.

    Args:
        template: file in TEMPLATES.
        path: page to write.
        styles: files in TEMPLATES that go into its head.
        scripts: files in TEMPLATES that go to its end, run in this order.
        hashes: of further scripts that may run (`content_security_policy`).
        **values: what the template asks for; strings are escaped.
    """
    sources = [_text(name) for name in scripts]
    page = _environment().get_template(template)
    text = page.render(
        policy=content_security_policy(sources, hashes),
        styles=Markup("\n".join(_text(name) for name in styles)),  # noqa: S704  (our own files)
        scripts=[Markup(source) for source in sources],  # noqa: S704
        version=version("synthct"),
        **values,
    )
    return write_text(path, text)


def content_security_policy(scripts: Sequence[str], hashes: Sequence[str] = ()) -> str:
    """A policy for a page's head: it may load nothing, and run no script but these.

    Args:
        scripts: texts of the scripts in the page.
        hashes: of further ones, `sha256-...`.
    """
    known = [*(_hash(script) for script in scripts), *hashes]
    allowed = " ".join(f"'{each}'" for each in known) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        "connect-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def file_stem(name: str, taken: set[str]) -> str:
    """A file name for an entry or a case that is safe everywhere and not yet taken; it is then.

    Args:
        name: anything a person wrote.
        taken: names so far, in lower case.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:LONGEST_STEM] or "unnamed"
    found, count = plain, 1
    while found.lower() in taken:
        count += 1
        found = f"{plain}-{count}"
    taken.add(found.lower())
    return found


@cache
def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # of every template, whatever its name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
