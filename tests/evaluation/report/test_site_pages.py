"""The leaderboard's pages: files, links, numbers; read as text, without a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from report_builders import REPORT_SCORES, metrics_of

from evaluation.report.site import RULES, write_site
from evaluation.report.site_figures import HEAT_ENTRIES, draw_boxes, draw_heat_map, draw_interval
from evaluation.standings import Pair, Placing, Standings, Stratum, build_standings

CASES = ["1EXA001", "1EXA002", "1EXA003"]
BEST = {key: low for key, (low, _) in REPORT_SCORES.items()}
WORSE = {key: low + step for key, (low, step) in REPORT_SCORES.items()}


def standings_of(
    root: Path, *scores: dict[str, float], names: tuple[str, ...] = ("one", "two"), **more: object
) -> Standings:
    folders = []
    for place, values in enumerate(scores):
        folder = root / "entries" / f"e{place}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics_of(CASES, values, **more)))
        folders.append(folder)
    return build_standings(folders, names[: len(scores)], draws=100)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_board_and_a_page_per_entry(tmp_path: Path) -> None:
    path = write_site(standings_of(tmp_path, BEST, WORSE), tmp_path)
    assert path == tmp_path / "index.html"
    text = text_of(path)
    assert re.findall(r'<a href="([^"]+)">(\w+)</a>', text)[:2] == [
        ("entries/e0/index.html", "one"),
        ("entries/e1/index.html", "two"),
    ]
    assert 'href="../../index.html"' in text_of(tmp_path / "entries" / "e0" / "index.html")
    assert "partial: 2 of 4 groups" in text
    assert RULES["synthrad2025"] in text
    assert text.count('<span class="mark">starter</span>') == 2
    assert "leaderboard.json</a>" not in text  # there is none beside it
    (tmp_path / "leaderboard.json").write_text("{}")
    assert 'href="leaderboard.json"' in text_of(write_site(standings_of(tmp_path / "b", BEST), tmp_path))


def test_case_pages_are_linked_where_they_are(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    (tmp_path / "entries" / "e1" / "report").mkdir()
    (tmp_path / "entries" / "e1" / "report" / "1EXA002.html").touch()
    (tmp_path / "entries" / "e1" / "report" / "1EXA999.html").touch()  # of no case on this board
    write_site(standings, tmp_path)
    pages = [text_of(tmp_path / "entries" / name / "index.html") for name in ("e0", "e1")]
    links = [re.findall(r'href="(report/[^"]+)"', text) for text in pages]
    assert links == [[], ["report/1EXA002.html"]]


def test_entries_from_elsewhere_get_a_folder_in_the_site(tmp_path: Path) -> None:
    standings = standings_of(tmp_path / "far", BEST, WORSE, names=("a/b", "a b"))
    (tmp_path / "site").mkdir()
    write_site(standings, tmp_path / "site")
    found = sorted(path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html"))
    assert found == ["entries/a-b-2/index.html", "entries/a-b/index.html", "index.html"]
    assert sorted(path.name for path in (tmp_path / "far").rglob("*.html")) == []


def test_comparison_holds_each_case_of_each_entry(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    cut = replace(standings.entries[1], cases=standings.entries[1].cases[1:])
    text = text_of(write_site(replace(standings, entries=(standings.entries[0], cut)), tmp_path))
    found = re.search(r'id="comparison">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])
    assert data["cases"] == CASES
    mae = data["metrics"][0]
    assert (mae["label"], mae["higher"]) == ("MAE (HU)", False)
    assert mae["values"] == [[60.0, 66.0, 72.0], [None, 77.0, 84.0]]


def test_an_invalid_entry_is_shown_without_a_rank(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    nothing = dict.fromkeys(standings.entries[1].per_metric)
    invalid = replace(
        standings.entries[1], rank=None, score=None, rank_interval=None, first_probability=None, per_metric=nothing
    )
    board = replace(standings, entries=(standings.entries[0], invalid), invalid=(("two", "has no value <of> MAE"),))
    text = text_of(write_site(board, tmp_path))
    assert "has no value &lt;of&gt; MAE" in text
    assert '<td class="rank" data-value="">\u2013</td>' in text
    assert "not ranked" in text_of(tmp_path / "entries" / "e1" / "index.html")


def test_regions_and_tests_are_tables(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    placings = (Placing(1, "one", 1.0, {}, {}, (1, 2)), Placing(None, "two", None, {}, {}))
    pairs = tuple(Pair("one", "two", "mae", p, p, -10.0, 3) for p in (0.00001, 0.25, None))
    board = replace(
        standings,
        by_region=(Stratum("AB", None, 2, placings, ()), Stratum("TH", None, 1, placings[:1], ())),
        pairwise=pairs,
    )
    text = text_of(write_site(board, tmp_path))
    assert re.search(r"AB <span class=\"unit\">2 cases</span>.*TH <span class=\"unit\">1 case</span>", text)
    assert '<td data-value="1"><b>1</b> <span class="soft">(1\u20132)</span></td>' in text
    assert '<td class="sure" data-value="1e-05">&lt; 0.0001</td>' in text
    assert '<td data-value="0.25">0.2500</td>' in text
    assert "By task" not in text


@pytest.mark.parametrize(
    "name", ['<img src=x onerror="alert(1)">', "</script><script>alert(1)</script>", "{{ 7 * 7 }}"]
)
def test_hostile_names_are_text(name: str, tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE, names=(name, "two"))
    write_site(standings, tmp_path)
    for page in ("index.html", "entries/e0/index.html"):
        text = text_of(tmp_path / page)
        assert ("<img" in text, "<script>alert" in text) == (False, False)
        assert name in unescape(text)


def test_interval_places() -> None:
    placed = Placing(3, "a", 1.0, {}, {}, (2, 5))
    found = draw_interval(placed, 5)  # type: ignore[arg-type]
    assert found == {"width": 120.0, "low": 33.0, "high": 114.0, "rank": 60.0}
    assert draw_interval(Placing(1, "a", 1.0, {}, {}), 5) is None  # type: ignore[arg-type]
    assert draw_interval(Placing(1, "a", 1.0, {}, {}, (1, 1)), 1) is not None  # type: ignore[arg-type]


def test_boxes_hold_quartiles_and_a_dot_per_case(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST)
    chart = draw_boxes(standings.entries, standings.metrics[0])
    assert chart is not None
    row = chart["rows"][0]
    # 60, 66, 72 HU on an axis from 59.76 to 72.24, 690 wide
    assert row["box"]["lowest"] == pytest.approx(190 + 0.24 / 12.48 * 690, abs=0.01)
    assert row["box"]["median"] == pytest.approx(190 + 345, abs=0.01)
    assert row["box"]["lower"] == pytest.approx((row["box"]["lowest"] + row["box"]["median"]) / 2, abs=0.01)
    assert row["dots"].count("M") == 3
    none = replace(standings.entries[0], cases=())
    assert draw_boxes([none], standings.metrics[0]) is None
    both = draw_boxes([standings.entries[0], replace(none, entry="x" * 50)], standings.metrics[0])
    assert both is not None
    assert (both["rows"][1]["box"], len(both["rows"][1]["name"])) == (None, 26)


def test_one_value_for_all_has_an_axis_too(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST)
    entry = standings.entries[0]
    chart = draw_boxes([replace(entry, cases=entry.cases[:1])], standings.metrics[0])
    assert chart is not None
    assert len(chart["x_ticks"]) >= 2


def test_heat_map_holds_means_per_structure(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    heat = draw_heat_map(standings)
    assert heat is not None
    assert (heat["entries"], heat["left"], heat["judge"]) == (["one", "two"], 0, "tissue")
    assert [name for name, _ in heat["rows"]] == ["fat", "compact bone"]
    assert [cell[1] for cell in heat["rows"][0][1]] == [9, 9]  # 0.8 of 12 steps
    assert heat["rows"][1][1][0][0] == pytest.approx(0.5)
    assert {ink for _, ink in heat["colours"]} == {"#000000", "#ffffff"}
    many = replace(standings, entries=standings.entries * HEAT_ENTRIES)
    assert draw_heat_map(many)["left"] == HEAT_ENTRIES  # type: ignore[index]
    bare = tuple(replace(entry, cases=({"case": "a"}, {"case": "b", "structures": 3})) for entry in standings.entries)
    assert draw_heat_map(replace(standings, entries=bare)) is None


def test_the_way_back_does_not_leave_a_board_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_site(standings_of(tmp_path / "link" / "board", BEST, WORSE), tmp_path / "link" / "board")
    text = text_of(tmp_path / "real" / "board" / "entries" / "e0" / "index.html")
    assert '<a href="../../index.html">Leaderboard</a>' in text


def test_the_heat_map_of_many_entries_has_the_whole_width(tmp_path: Path) -> None:
    def cards_before(board: Standings) -> tuple[str, str]:
        text = text_of(write_site(board, tmp_path))
        assert text.count("Dice by structure") == 1
        heat, tests = text.index("Dice by structure"), text.index("Is the difference more than chance?")
        return ("heat map", "tests") if heat < tests else ("tests", "heat map")

    standings = standings_of(tmp_path, BEST, WORSE)
    assert cards_before(standings) == ("heat map", "tests")
    assert cards_before(replace(standings, entries=standings.entries * 5)) == ("tests", "heat map")


def test_tests_have_units_and_structures_that_are_no_dice_none(tmp_path: Path) -> None:
    standings = standings_of(tmp_path, BEST, WORSE)
    assert re.search(r"-11\.0 <span class=\"unit\">HU</span>", text_of(write_site(standings, tmp_path)))
    odd = {
        "case": "a",
        "structures": {"tissue": {"fat": {"dice": 10**400}, "air": {"dice": 1e308}, "bone": {"dice": 1}}},
    }
    heat = draw_heat_map(replace(standings, entries=(replace(standings.entries[0], cases=(odd,)),)))
    assert heat is not None
    assert [name for name, _ in heat["rows"]] == ["bone"]
