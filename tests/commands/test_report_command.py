"""`synthct report` as a user calls it: pages, options, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from browser.report_folders import make_predictions
from commands.limb_cases import save_limb
from report_builders import metrics_of
from typer.testing import CliRunner, Result

from evaluation.commands.report import report
from evaluation.report import niivue
from evaluation.report.case_images import find_report_cases, load_images
from synthct.errors import GeometryError, InputError, SynthCTError, UsageError
from synthct.grand_challenge.flat import find_flat_predictions
from synthct.volume import Geometry, Volume, read_volume, write_volume
from synthct.weights import file_sha256

APP = typer.Typer()
APP.command()(report)
VIEWER = "class Niivue{};export{Niivue};"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_predictions(tmp_path_factory.mktemp("made"))


@pytest.fixture
def viewer(tmp_path: Path) -> Path:
    path = tmp_path / "index.js"
    path.write_text(VIEWER)
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(APP, [str(each) for each in arguments])


def refusal(result: Result, kind: type[SynthCTError] = InputError) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_a_page_per_case_and_one_that_lists_them(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    result = call(*made, tmp_path / "out", "--viewer", viewer)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1EXA001.html", "1EXA002.html", "index.html"]
    assert "2 case pages" in result.output
    text = (tmp_path / "out" / "index.html").read_text()
    assert ('<a href="1EXA001.html">1EXA001</a>' in text, '<td class="left">none</td>' in text) == (True, True)
    assert "1 of 2 cases has no CT." in text
    page = (tmp_path / "out" / "1EXA001.html").read_text()
    assert ("simulated data</span>" in page, "weights unknown</span>" in page) == (True, True)
    assert 'id="volume-spread"' in page


def test_pages_of_an_entry_lead_back_to_its_board(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    link = '<a href="../../../index.html">Leaderboard</a>'
    entry = tmp_path / "board" / "entries" / "mine"
    for place, linked in ((entry / "report", True), (entry / "other", False), (tmp_path / "report", False)):
        result = call(*made, place, "--cases", "1EXA001", "--viewer", viewer)
        assert result.exit_code == 0, result.output
        assert (link in (place / "index.html").read_text()) is linked
        assert '<a href="index.html">All cases of' in (place / "1EXA001.html").read_text()


def test_chosen_cases_with_scores(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    metrics = metrics_of(["1EXA001"], {"mae": 77.7}, starter=True, random_features=True)
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    options = ("--cases", "1EXA001", "--metrics", tmp_path, "--name", "My team", "--viewer", viewer)
    result = call(*made, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1EXA001.html", "index.html"]
    page = (tmp_path / "out" / "1EXA001.html").read_text()
    assert "My team" in page
    assert ">77.7 " in page
    assert "Judged by tissue" in page
    assert ("starter</span>" in page, "random features</span>" in page) == (True, True)


def test_scores_of_other_predictions_are_pointed_out(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    shutil.copytree(made[0], predictions)
    sha256 = file_sha256(predictions / "1EXA001.mha")
    rows = [{"case": "1EXA001", "model": "m", "sct_sha256": sha256}]
    (predictions / "manifest.json").write_text(json.dumps({"models": {"m": {"starter": False}}, "cases": rows}))
    other = {"prediction": {"cases": [{"case": "1EXA001", "sct_sha256": "0"}]}}
    (tmp_path / "metrics.json").write_text(
        json.dumps(metrics_of(["1EXA001"], {"mae": 1.0}, manifest=other, starter=False))
    )
    options = ("--cases", "1EXA001", "--metrics", tmp_path / "metrics.json", "--viewer", viewer)
    with pytest.warns(UserWarning, match="was made of other predictions"):
        assert call(predictions, made[1], tmp_path / "out", *options).exit_code == 0
    page = (tmp_path / "out" / "1EXA001.html").read_text()
    assert ("starter</span>" in page, "weights unknown</span>" in page) == (False, False)  # the manifest describes it
    for name in ("1EXA001.html", "index.html"):
        assert "Scores of other images." in (tmp_path / "out" / name).read_text()


def test_a_model_card_tells_the_training_intensities(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"config": {"image": {"low": 0, "high": 5}}}))
    result = call(*made, tmp_path / "out", "--cases", "1EXA002", "--model", tmp_path, "--viewer", viewer)
    assert result.exit_code == 0, result.output
    assert "of the body outside 0 to 5; median" in (tmp_path / "out" / "1EXA002.html").read_text()


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "is no JSON"), ("[]", "holds a list; expected an object"), (None, "cannot be read")]
)
def test_broken_metrics_are_refused(
    text: str | None, reason: str, made: tuple[Path, Path], viewer: Path, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    result = call(*made, tmp_path / "out", "--metrics", tmp_path, "--viewer", viewer)
    assert reason in refusal(result)
    assert not (tmp_path / "out").exists()


def test_unknown_cases_and_foreign_data_are_refused(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    result = call(*made, tmp_path / "out", "--cases", "1EXA009", "--viewer", viewer)
    assert "--cases 1EXA009 has no prediction and data; expected one of 1EXA001, 1EXA002" in refusal(result)
    save_limb(tmp_path / "other" / "1EXA050")
    result = call(made[0], tmp_path / "other", tmp_path / "out", "--viewer", viewer)
    assert "holds none of the predicted cases (1EXA001, 1EXA002)" in refusal(result)


def test_one_bad_case_does_not_lose_the_others(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    shutil.copytree(made[0], predictions)
    write_volume(Volume(np.zeros((3, 3, 3), dtype=np.int16), Geometry((3, 3, 3))), predictions / "1EXA001.mha")
    result = call(predictions, made[1], tmp_path / "out", "--viewer", viewer)
    assert refusal(result).startswith("1 of 2 cases have no page; first: case 1EXA001: ")
    assert "1 case page;" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1EXA002.html", "index.html"]
    assert "Cases without a page." in (tmp_path / "out" / "index.html").read_text()


def test_without_the_template_engine_the_extra_is_named(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("evaluation.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    text = refusal(call(*made, tmp_path / "out"), UsageError)
    assert text == "jinja2 is not installed; expected pip install 'synthct[report]'"
    assert not (tmp_path / "out").exists()


def test_without_niivue_the_pages_hold_pictures_and_the_user_is_told(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(niivue, "PACKAGE", "no-such-package")
    result = call(*made, tmp_path / "out", "--cases", "1EXA001")
    assert result.exit_code == 0, result.output
    assert "warning: NiiVue is not at hand, the pages hold pictures only" in result.output
    assert "octet-stream" not in (tmp_path / "out" / "1EXA001.html").read_text()
    missing = call(*made, tmp_path / "out", "--viewer", tmp_path / "none.js")
    assert "none.js: cannot be read" in refusal(missing)


def test_a_ground_truth_folder_serves_too(made: tuple[Path, Path], viewer: Path, tmp_path: Path) -> None:
    source = made[1] / "Task1" / "EX" / "1EXA001"
    for kind in ("ct", "mask"):
        (tmp_path / "truth" / kind).mkdir(parents=True)
        shutil.copy(source / f"{kind}.mha", tmp_path / "truth" / kind / "1EXA001.mha")
    result = call(made[0], tmp_path / "truth", tmp_path / "out", "--viewer", viewer)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "1EXA001.html").read_text()
    assert ('id="volume-ct"' in page, 'id="volume-image"' in page) == (True, False)
    assert "hold no input image" in page


def test_volumes_of_a_case(made: tuple[Path, Path]) -> None:
    found, problems = find_flat_predictions(made[0])
    assert problems == ()
    with_ct, without = find_report_cases(found, made[1], made[0] / "spread", reference="ct")
    images = load_images(with_ct)
    assert images.difference is not None
    ct, sct = (read_volume(path).voxels.astype(float) for path in (with_ct.ct, with_ct.sct) if path is not None)
    assert np.array_equal(images.difference, np.where(images.inside, sct - ct, 0))
    assert (without.ct, without.spread, load_images(without).difference) == (None, None, None)


def test_without_a_mask_the_outline_of_the_image_is_taken(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "1EXA001"
    shutil.copytree(made[1] / "Task1" / "EX" / "1EXA001", folder)
    known = load_images(find_report_cases(find_flat_predictions(made[0])[0], folder, tmp_path, reference="ct")[0])
    (folder / "mask.mha").unlink()
    case = find_report_cases(find_flat_predictions(made[0])[0], folder, tmp_path, reference="ct")[0]
    images = load_images(case)
    assert images.mask_source == "outline of the image (no mask file)"
    overlap = 2 * (images.inside & known.inside).sum() / (images.inside.sum() + known.inside.sum())
    assert overlap > 0.85


def test_a_spread_that_leads_out_of_the_predictions_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    shutil.copytree(made[0], predictions)
    spread = predictions / "spread" / "1EXA001.mha"
    spread.rename(tmp_path / "elsewhere.mha")
    spread.symlink_to(tmp_path / "elsewhere.mha")
    with pytest.raises(InputError, match=r"1EXA001\.mha: is a link that leads out of"):
        find_report_cases(find_flat_predictions(predictions)[0], made[1], predictions / "spread", reference="ct")


def test_volumes_on_two_grids_are_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "1EXA001"
    shutil.copytree(made[1] / "Task1" / "EX" / "1EXA001", folder)
    mr = read_volume(folder / "mr.mha")
    moved = Geometry(mr.geometry.size, mr.geometry.spacing, (0.0, 0.0, 0.0))
    write_volume(Volume(mr.voxels, moved), folder / "mr.mha")
    case = find_report_cases(find_flat_predictions(made[0])[0], folder, tmp_path, reference="ct")[0]
    with pytest.raises(GeometryError, match="another grid"):
        load_images(case)
