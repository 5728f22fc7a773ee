"""The leaderboard's site in a real Chromium: sorting, choosing, keyboard, hostile names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.looking import HOSTILE, SHOTS, reached_by_tab, served, watch
from browser.report_folders import make_board

from evaluation.report.site import write_site
from evaluation.standings import build_standings

pytestmark = pytest.mark.slow

NAMES = ["first", HOSTILE, "third"]
CASES = ["1EXA001", "1EXA002", HOSTILE]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Path:
    root = tmp_path_factory.mktemp("board")
    pages = root / "entry-0" / "report"
    folders = make_board(root, NAMES, CASES)
    pages.mkdir()
    (pages / "1EXA001.html").write_text("<!doctype html><title>a case</title>")
    return write_site(build_standings(folders, NAMES, draws=50), root)


@pytest.fixture(scope="module")
def opened(page: Any, board: Path) -> tuple[Any, dict[str, list[str]]]:
    kept = watch(page)
    page.goto(board.as_uri())
    page.screenshot(path=SHOTS / "board-light.png", full_page=True)
    return page, kept


def names(page: Any) -> list[str]:
    return page.locator("#board tbody tr:visible td:nth-child(2) a").all_inner_texts()


def test_sorting_by_click_and_by_keyboard(opened: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = opened
    assert names(page) == NAMES
    page.click("#board th:has-text('rank') >> nth=0")
    assert names(page) == NAMES[::-1]
    page.focus("#board th:has-text('PSNR') button")
    page.keyboard.press("Enter")
    assert names(page) == NAMES  # higher is better: the best first
    assert page.get_attribute("#board th:has-text('PSNR')", "aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert names(page) == NAMES[::-1]
    page.focus("#board th:has-text('entry') button")
    page.keyboard.press("Space")
    assert names(page) == [HOSTILE, "first", "third"]


def test_filter_metric_and_comparison(opened: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = opened
    page.fill("#filter", "THIR")
    assert (names(page), page.inner_text("#filter-state")) == (["third"], "1 of 3")
    page.fill("#filter", "")
    assert (page.is_visible("#boxes-0"), page.is_visible("#boxes-4")) == (True, False)
    page.focus("[data-metric='4']")
    page.keyboard.press("Enter")
    assert (page.is_visible("#boxes-0"), page.is_visible("#boxes-4")) == (False, True)
    assert page.locator("#scatter circle").count() == len(CASES)
    assert page.inner_text("#scatter-says").endswith("is better in 0 of 3 cases (dots below the line).")
    page.select_option("#first", label="third")
    assert page.inner_text("#scatter-says").endswith("is better in 3 of 3 cases (dots below the line).")


def test_every_control_is_reached_by_keyboard(opened: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = opened
    wanted, reached = reached_by_tab(page)
    assert len(wanted) > 20
    assert wanted - reached == set()


def test_hostile_names_are_text_and_nothing_is_loaded(opened: tuple[Any, dict[str, list[str]]], board: Path) -> None:
    page, kept = opened
    assert HOSTILE in page.locator("#scatter title").first.evaluate(
        "(title) => title.parentNode.parentNode.textContent"
    )
    assert page.evaluate("() => [window.hurt ?? null, document.querySelectorAll('img').length]") == [None, 0]
    assert kept == {"requests": [board.as_uri()], "errors": []}


def test_from_a_server_to_an_entry_and_its_case(other_page: Any, board: Path) -> None:
    page = other_page
    with served(board.parent) as (address, asked):
        page.goto(f"{address}/index.html")
        page.click("#board a:text-is('first')")
        assert page.inner_text("h1") == "first"
        assert page.locator("tbody a").all_inner_texts() == ["1EXA001"]  # the only one that has a page
        page.screenshot(path=SHOTS / "entry.png", full_page=True)
        page.click("text=Leaderboard")
        page.click("#board a:has-text('onerror')")
        assert page.inner_text("h1") == HOSTILE
        assert page.locator(".mark").all_inner_texts() == ["starter", "simulated data"]
    assert asked == ["/index.html", "/entry-0/index.html", "/index.html", "/entry-1/index.html"]
