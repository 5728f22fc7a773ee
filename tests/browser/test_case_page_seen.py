"""The case page in a real Chromium: from a folder and from a server, drawn, by keyboard, with hostile names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser.looking import HOSTILE, SHOTS, picture_of, reached_by_tab, served, watch
from browser.report_folders import make_predictions
from report_builders import metrics_of

from evaluation.commands.report import report
from evaluation.report.niivue import find_viewer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Path:
    """Pages of two cases; whatever a participant can name is hostile."""
    if find_viewer() is None:
        pytest.skip("ipyniivue is not installed (extra report)")
    root = tmp_path_factory.mktemp("report")
    manifest = {"algorithm": HOSTILE, "models": {"m": {"starter": True, HOSTILE: HOSTILE}}, "cases": []}
    predictions, data = make_predictions(root, manifest=manifest)
    metrics = metrics_of(["1EXA001"], {"mae": 45.0, "psnr": 31.0})
    metrics["results"][0]["structures"]["tissue"][HOSTILE] = {"dice": 0.1, "status": HOSTILE}
    (root / "metrics.json").write_text(json.dumps(metrics))
    report(predictions, data, root / "pages", metrics=root, cases=None, name=HOSTILE, model=None, viewer=None)
    return root / "pages"


@pytest.fixture(scope="module")
def drawn(page: Any, folder: Path) -> tuple[Any, dict[str, list[str]]]:
    """The page of 1EXA001, opened from its folder, once the viewer has drawn."""
    kept = watch(page)
    page.goto((folder / "1EXA001.html").as_uri())
    page.wait_for_selector("#viewer[data-state=drawn]", timeout=60_000)
    return page, kept


def settled(page: Any) -> None:
    """Two frames later: whatever was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_viewer_draws_and_follows_the_preset(drawn: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = drawn
    page.screenshot(path=SHOTS / "case-light.png")
    assert page.locator("#viewer canvas").count() == 5
    assert page.locator("#viewer figcaption b").all_inner_texts() == ["MR", "CT", "sCT", "sCT \u2212 CT", "spread"]
    seen = {}
    for preset in ("soft", "bone", "lung"):
        page.click(f"[data-preset={preset}]")
        settled(page)
        names = ("sct",) if preset == "bone" else ("sct", "image")
        seen[preset] = [picture_of(page.locator(f"#canvas-{name}"), f"{name}-{preset}") for name in names]
    assert [picture.std() > 10 for shown in seen.values() for picture in shown] == [True] * 5  # not one colour
    changes = [
        np.abs(seen[first][0] - seen[second][0]).mean() for first, second in (("soft", "bone"), ("bone", "lung"))
    ]
    assert min(changes) > 5
    assert np.abs(seen["soft"][1] - seen["lung"][1]).mean() < 1  # an MR has no HU: no preset moves it


def test_panels_are_linked(drawn: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = drawn
    page.click("[data-plane=axial]")
    before = [picture_of(page.locator(f"#canvas-{name}"), f"{name}-first") for name in ("ct", "spread")]
    page.focus("#canvas-sct")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    settled(page)
    after = [picture_of(page.locator(f"#canvas-{name}"), f"{name}-third") for name in ("ct", "spread")]
    assert [np.abs(old - new).mean() > 0.5 for old, new in zip(before, after, strict=True)] == [True, True]
    text = page.inner_text("#slice-at")
    page.focus("#slice")
    page.keyboard.press("Home")
    assert "axial 1 of" in page.inner_text("#slice-at") != text
    assert re.search(r"; [RL] \d+, [AP] \d+, [SI] \d+ mm$", text)  # a side, never a minus


def test_values_at_the_crosshair_are_the_voxels(drawn: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = drawn
    texts = {name: page.inner_text(f"#at-{name}") for name in ("ct", "sct", "difference")}
    ct, sct, difference = (float(text.removesuffix(" HU")) for text in texts.values())
    assert abs(sct - ct - difference) <= 1  # each is rounded, and 0 outside of the body
    assert texts["ct"].endswith(" HU")


def test_every_control_is_reached_by_keyboard(drawn: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = drawn
    wanted, reached = reached_by_tab(page)
    assert len(wanted) > 20
    assert wanted - reached == set()
    page.focus("[data-preset=bone]")
    page.keyboard.press("Enter")
    assert page.get_attribute("[data-preset=bone]", "aria-pressed") == "true"
    assert page.inner_text("#high-sct") == "1300 HU"


def test_hostile_names_are_text_and_nothing_is_loaded(drawn: tuple[Any, dict[str, list[str]]], folder: Path) -> None:
    page, kept = drawn
    assert page.inner_text("h1") == f"1EXA001 {HOSTILE}"
    assert page.locator(f"td:text-is({json.dumps(HOSTILE)})").count() >= 2  # a structure and the algorithm
    assert page.evaluate("() => [window.hurt ?? null, document.querySelectorAll('img[src=x]').length]") == [None, 0]
    assert kept["requests"] == [(folder / "1EXA001.html").as_uri()]
    assert kept["errors"] == []


def test_dark_and_print(drawn: tuple[Any, dict[str, list[str]]]) -> None:
    page, _ = drawn
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.focus("#theme")
    page.keyboard.press("Enter")
    dark = page.evaluate(ground)
    assert page.inner_text("#theme") == "Colours: dark"
    assert (light, dark) == ("rgb(244, 245, 247)", "rgb(14, 19, 25)")
    page.screenshot(path=SHOTS / "case-dark.png")
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert (page.is_visible(".slices img >> nth=0"), page.is_visible("#viewer")) == (True, False)
    content = page.pdf(path=SHOTS / "case.pdf", format="A4")
    page.emulate_media(media="screen")
    assert content.startswith(b"%PDF")
    assert len(content) > 30_000


def test_from_a_server_without_a_ct(other_page: Any, folder: Path) -> None:
    page = other_page
    with served(folder) as (address, asked):
        page.goto(f"{address}/1EXA002.html")
        page.wait_for_selector("#viewer[data-state=drawn]", timeout=60_000)
        assert picture_of(page.locator("#canvas-sct"), "no-ct-sct").std() > 10
        page.screenshot(path=SHOTS / "case-without-ct.png")
        assert page.locator("#viewer canvas").count() == 2
        page.click("[data-plane=all]")  # here, where two are drawn anew and not five
        settled(page)
        assert picture_of(page.locator("#canvas-sct"), "no-ct-sct-all-planes").std() > 10
        assert page.inner_text("#slice-at").startswith("axial ")
        assert "There is no CT of this case" in page.inner_text(".warning >> nth=0")
        page.click("text=All cases of")
        assert page.locator("tbody tr").count() == 2
        page.screenshot(path=SHOTS / "cases.png", full_page=True)
    assert asked == ["/1EXA002.html", "/index.html"]
