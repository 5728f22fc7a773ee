"""What a case page holds: volumes, drawings, tables, warnings; read as text, without a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_images import ball, images_of

from evaluation.report.case_figures import draw_histogram, draw_joint, draw_slices, draw_tissues
from evaluation.report.case_page import CaseRun, write_case_page
from evaluation.report.looks import PRESETS, looks_of
from evaluation.report.manifest_rows import case_of, manifest_rows, shown, structure_table
from evaluation.report.measures import TissueError
from evaluation.report.niivue import Viewer
from evaluation.report.preview import make_previews
from evaluation.report.warnings_shown import MEANINGS, warnings_about

SHAPE = (12, 16, 16)
BODY = ball(SHAPE, 6)
CT = np.where(ball(SHAPE, 2), 900, np.where(BODY, 40, -1000)).astype(np.int16)
SCT = np.where(BODY, CT + 25, -1000).astype(np.int16)
MR = np.where(BODY, 400, 3).astype(np.int16)
WHOLE = images_of(SCT, BODY, image=MR, ct=CT, spread=np.full(SHAPE, 12.0))
BARE = images_of(SCT, BODY, ct=CT)
"""Without an MR no outlines are drawn, which take most of a page's time."""
VIEWER = Viewer("class Niivue{};", "NiiVue of a test", "BSD <of the test>")


def page(path: Path, images: Any = WHOLE, run: CaseRun | None = None, **options: Any) -> str:
    write_case_page(images, run or CaseRun("team"), path, **{"viewer": VIEWER, **options})
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a case that has every volume."""
    return page(tmp_path_factory.mktemp("whole") / "page.html")


def test_volumes_and_script_lie_in_the_page(whole: str) -> None:
    text = whole
    packed = dict(re.findall(r'<script type="application/octet-stream" id="([\w-]+)">([^<]*)</script>', text))
    assert list(packed) == [
        "viewer-script",
        *(f"volume-{name}" for name in ("image", "ct", "sct", "difference", "spread")),
    ]
    assert gzip.decompress(base64.b64decode(packed["viewer-script"])).decode() == VIEWER.source
    assert VIEWER.content_hash in text.replace("&#43;", "+")
    assert "BSD &lt;of the test&gt;" in text
    difference = gzip.decompress(base64.b64decode(packed["volume-difference"]))[352:]
    assert set(np.frombuffer(difference, dtype="<i2").tolist()) == {0, 25}  # 0 outside of the body


def test_settings_are_json_that_names_each_volume(whole: str) -> None:
    found = re.search(r'id="viewer-settings">(.*?)</script>', whole)
    assert found is not None
    settings = json.loads(found[1])
    assert [volume["name"] for volume in settings["volumes"]] == ["image", "ct", "sct", "difference", "spread"]
    assert [volume["windowed"] for volume in settings["volumes"]] == [False, True, True, False, False]
    assert sorted(settings["maps"]) == ["blue_orange", "viridis"]
    assert {len(channel) for channels in settings["maps"].values() for channel in channels.values()} == {256}
    assert [preset["name"] for preset in settings["presets"]] == ["soft", "bone", "lung", "wide"]


def test_without_a_viewer_the_page_shows_pictures_and_says_so(tmp_path: Path) -> None:
    text = page(tmp_path / "page.html", viewer=None)
    assert "NiiVue was not at hand" in text
    assert 'id="viewer' not in text
    assert "octet-stream" not in text
    assert text.count("data:image/png;base64,") == 3 * 5 + 1  # slices, and the joint histogram
    assert len(text) < 120_000


def test_without_a_ct_no_number_claims_accuracy(tmp_path: Path) -> None:
    text = page(tmp_path / "page.html", images_of(SCT, BODY, image=MR), CaseRun("team", registration="unknown"))
    assert "There is no CT of this case." in text
    assert "Registration unknown" not in text  # there is nothing that could be registered
    for absent in ("Error by tissue", "What became of each HU", "volume-ct", "volume-difference"):
        assert absent not in text
    assert "Without looking at a CT" in text


def test_scores_structures_and_manifest_are_shown(tmp_path: Path) -> None:
    tissue = {"fat": {"dice": 0.81234, "hd95": None, "status": "missed"}, "broken": 3}
    row = {"mae": 77.7, "DICE": None, "structures": {"tissue": tissue, "other": {}}}
    manifest = {"algorithm": "net", "cases": [{"case": "1EXA001", "model": "/a/b/main", "clipped_share": 0.25}]}
    text = page(tmp_path / "page.html", BARE, CaseRun("team", row=row, judge="tissue", manifest=manifest))
    assert re.search(r"<dt>MAE</dt>.*?>77\.7 ", text)
    assert re.search(r"<dt>Dice</dt>.*?>\u2013 ", text)
    assert '<td data-value="0.81234">0.812</td><td data-value="">\u2013</td>' in text
    assert 'status-missed">missed' in text
    assert "25.0% were clipped" in text
    assert "The predictions came without a manifest.json" in page(tmp_path / "none.html", BARE)


def test_full_volumes_are_larger_than_a_preview(tmp_path: Path) -> None:
    assert "cut to the body; every voxel is kept" in page(tmp_path / "a.html", images_of(SCT, ball(SHAPE, 1), ct=CT))
    assert "The volumes are shown whole." in page(tmp_path / "b.html", BARE, full=True)


def test_looks_of_a_cbct_follow_the_presets() -> None:
    looks = looks_of(images_of(SCT, BODY, case="2EXA001", image=SCT))
    assert [(look.label, look.windowed, look.unit) for look in looks] == [("CBCT", True, "HU"), ("sCT", True, "HU")]
    flat = looks_of(images_of(SCT, BODY, image=np.zeros(SHAPE)))[0]
    assert flat.low < flat.high  # an empty image still has a window
    assert all(preset.low < preset.high for preset in PRESETS)


def test_histogram_lines_start_at_the_left_and_end_at_the_right() -> None:
    chart = draw_histogram(SCT, CT, BODY)
    assert [line["dashed"] for line in chart["lines"]] == [True, False]
    for line in chart["lines"]:
        places = [float(number) for number in re.findall(r"H([\d.]+)", line["path"])]
        assert places == sorted(places)
        assert places[-1] == chart["right"]
    assert len(draw_histogram(SCT, None, BODY)["lines"]) == 1


def test_joint_picture_has_the_sct_upwards() -> None:
    import io

    from PIL import Image

    chart = draw_joint(np.full(SHAPE, -1000), np.full(SHAPE, 1500), np.ones(SHAPE, dtype=bool))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(chart["picture"].split(",")[1]))).convert("L"))
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert (row < 5, column < 5) == (True, True)  # a low CT is left, a high sCT at the top


def test_tissue_bars_hold_bias_and_percentiles() -> None:
    rows, reach = draw_tissues(
        [
            TissueError("fat", -400, -30, 1.0, 30.0, 10.0, (-50.0, 100.0)),
            TissueError("compact bone", 600, None, 0.0, None, None, None),
            TissueError("air", None, -400, 1.0, 1.0, 190.0, (150.0, 200.0)),
        ]
    )
    assert reach == 200
    bar = rows[0]["bar"]
    assert (bar["low"], bar["below"], bar["start"], bar["above"], bar["bias"]) == (75, 25, 100, 50, 105)
    assert rows[1]["bar"] is None
    assert (rows[2]["bar"]["start"], rows[2]["bar"]["above"]) == (175, 25)  # a bar that does not reach 0
    assert [row["limits"] for row in rows] == ["\u2212400 to \u221230 HU", "from 600 HU", "below \u2212400 HU"]


def test_slices_have_the_shape_of_the_body() -> None:
    sct = replace(WHOLE.sct, geometry=replace(WHOLE.sct.geometry, spacing=(1.0, 1.0, 3.0)))
    looks = looks_of(WHOLE)[:1]
    previews = make_previews({"image": looks[0].voxels}, BODY, sct.geometry, full=True)
    pictures = draw_slices(previews, looks, (6, 8, 8))
    assert [picture["ratio"] for picture in pictures] == ["16.0 / 16.0", "16.0 / 36.0", "16.0 / 36.0"]
    assert [picture["label"] for picture in pictures] == [
        f"MR, {plane} slice" for plane in ("axial", "coronal", "sagittal")
    ]


def test_manifest_of_a_participant_may_hold_anything() -> None:
    assert (case_of({}, "a"), case_of({"cases": {"a": 1}}, "a"), case_of({"cases": [1, None]}, "a")) == ({}, {}, {})
    manifest = {
        "a_b": [1],
        "seed": 0,
        "mask": None,
        "models": {"/x/one": {"starter": True}, "/x/two": {"starter": False}},
    }
    rows = manifest_rows(manifest, {"case": "c", "model": "/x/two", "forced": False})
    assert rows == [("seed", "0"), ("mask", "null"), ("model", "two"), ("model: starter", "no"), ("case: forced", "no")]
    assert shown({"a": "\u00e9"}) == '{\n  "a": "\u00e9"\n}'
    assert (structure_table({}, "a"), structure_table({"structures": {"a": 1, "b": {"c": 2}}}, "a")) == (None, None)


def test_warnings_come_with_the_gravest_first() -> None:
    found = warnings_about(["starter", "simulated data", "<b>"], has_ct=False, registration="unknown")
    assert [warning["title"] for warning in found] == [
        "There is no CT of this case.",
        "Starter weights.",
        "Simulated data.",
    ]
    assert [warning["title"] for warning in warnings_about([], registration="unknown")] == ["Registration unknown."]
    assert warnings_about([], registration="rigid") == []
    assert all(title and text for title, text in MEANINGS.values())


@pytest.mark.parametrize("mark", sorted(MEANINGS))
def test_each_mark_is_seen_at_the_top(mark: str, tmp_path: Path) -> None:
    text = page(tmp_path / "page.html", BARE, CaseRun("team", marks=(mark,)), viewer=None)
    assert f'<span class="mark">{mark}</span>' in text
    assert MEANINGS[mark][0] in text.split("<section")[0]


def test_scores_of_other_images_are_pointed_out(tmp_path: Path) -> None:
    def points_out(run: CaseRun, images: Any = BARE) -> bool:
        return "Scores of other images." in page(tmp_path / "page.html", images, run, viewer=None)

    # The sCT is 25 HU above the CT everywhere in the body.
    assert [points_out(CaseRun("team", row={"mae": mae})) for mae in (25.0, 25.02, 26.0, None)] == [
        False,
        False,
        True,
        False,
    ]
    without = images_of(SCT, BODY)
    assert not points_out(CaseRun("team", row={"mae": 26.0}), without)  # nothing to tell it by
    assert points_out(CaseRun("team", row={"mae": 26.0}, other_scores=True), without)
    assert not points_out(CaseRun("team", other_scores=True))  # no scores are shown


def test_what_scores_are_of_is_said(tmp_path: Path) -> None:
    row = {"mae": 25.0, "nsd": 0.9, "nsd_tolerance_mm": 2.0}
    text = page(tmp_path / "page.html", BARE, CaseRun("team", row=row, judge="tissue"), viewer=None)
    assert "for this case alone. Structures were judged by tissue. NSD within 2 mm." in text
    assert "Official values" not in page(tmp_path / "none.html", BARE, viewer=None)
