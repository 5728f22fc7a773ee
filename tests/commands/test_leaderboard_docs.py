"""docs/leaderboard.md names options, columns and pages that there are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from evaluation.commands.leaderboard import leaderboard
from evaluation.commands.report import report
from evaluation.leaderboard.metrics import DOSE_COLUMNS

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "leaderboard.md").read_text(encoding="utf-8")
OTHER_NAMES = {"--only": "add", "--replace": "replace_same", "--spread": "spread"}
"""Options that are not called like their parameters; --spread is one of predict."""


def test_every_option_is_one() -> None:
    known = {*inspect.signature(leaderboard).parameters, *inspect.signature(report).parameters, "spread"}
    named = set(re.findall(r"--[a-z]+", TEXT))
    assert len(named) > 12
    assert {name for name in named if OTHER_NAMES.get(name, name[2:]) not in known} == set()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_links_lead_somewhere(target: str) -> None:
    name, _, anchor = target.partition("#")
    headings = re.findall(r"^#+ (.*)$", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor.replace("-", " ") in [heading.lower() for heading in headings]


def test_the_dose_table_has_known_columns() -> None:
    (header,) = re.findall(r"^case,(.*)$", TEXT, re.MULTILINE)
    assert set(header.split(",")) <= set(DOSE_COLUMNS)
