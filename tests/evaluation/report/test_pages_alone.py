"""Pages that stand alone: what their policy allows, how they escape, how files are named."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.report.pages import TEMPLATES, content_security_policy, file_stem, write_page

HOSTILE = "</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"


class Seen(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def cases_page(path: Path, **values: object) -> str:
    known: dict[str, object] = {"entry": "a", "marks": (), "warnings": [], "columns": [], "rows": [], "failures": []}
    known["home"] = None
    write_page("cases.html.j2", path, styles=["page.css"], scripts=["page.js"], **{**known, **values})
    return path.read_text(encoding="utf-8")


def test_policy_names_each_script_and_forbids_the_rest() -> None:
    policy = content_security_policy(["let a;"], ["sha256-other"])
    digest = base64.b64encode(hashlib.sha256(b"let a;").digest()).decode()
    assert f"script-src 'sha256-{digest}' 'sha256-other';" in policy
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert "script-src 'none'" in content_security_policy([])


def test_the_hash_in_a_page_is_that_of_the_script_in_it(tmp_path: Path) -> None:
    text = cases_page(tmp_path / "page.html")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"sha256-{digest}" in text.replace("&#43;", "+").replace("&#39;", "'")


def test_everything_is_escaped(tmp_path: Path) -> None:
    text = cases_page(
        tmp_path / "page.html",
        entry=HOSTILE,
        home=HOSTILE,
        marks=(HOSTILE,),
        warnings=[{"title": HOSTILE, "text": HOSTILE}],
        failures=[HOSTILE],
    )
    seen = Seen()
    seen.feed(text)
    assert [tag for tag, _ in seen.tags if tag in ("img", "script")] == ["script"]
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert "49" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") == 7


def test_a_value_that_is_missing_is_an_error_and_no_empty_page(tmp_path: Path) -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        write_page("cases.html.j2", tmp_path / "page.html", styles=[], scripts=[])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_name_no_address_and_no_handler(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "://" not in text
    assert re.findall(r"\son\w+=", text) == []
    assert re.findall(r"@import|url\((?!data:)|<iframe|<link (?!rel=\"icon\")|src=\"(?!\{\{)", text) == []
    assert "| safe" not in text


def test_file_stems_are_harmless_and_each_once() -> None:
    taken: set[str] = set()
    stems = [file_stem(name, taken) for name in ("Team A", "team/a", "../..", "", "x" * 200, "\u00fc\n<b>", "CON")]
    assert stems == ["Team-A", "team-a-2", "unnamed", "unnamed-2", "x" * 80, "b", "CON"]
