"""What a stage stands on: the one before, of the same settings; --resume does what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ldm_runs import SETTINGS, config_of, training_run

from algorithms.ldm_brain.recipe import train
from synthct.errors import WeightsError


def test_resume_does_what_is_missing(heads: Path, copied: Path) -> None:
    """Nothing where all is there; the last stage where it is not; and the whole alone where a kill left that out."""
    before = (copied / "weights.safetensors").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in copied.rglob("*.safetensors")}
    assert train(training_run(heads, copied, SETTINGS, resume=True)).path == copied
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*.safetensors")} == times
    (copied / "model.json").unlink()
    train(training_run(heads, copied, SETTINGS, resume=True))
    assert (copied / "weights.safetensors").read_bytes() == before
    shutil.rmtree(copied / "controlnet")
    (copied / "model.json").unlink()
    train(training_run(heads, copied, SETTINGS, resume=True))
    assert (copied / "weights.safetensors").read_bytes() == before
    assert (copied / "autoencoder" / "weights.safetensors").stat().st_mtime_ns == times[
        copied / "autoencoder" / "weights.safetensors"
    ]


def test_a_stage_of_tiles_will_do_for_whole_heads(heads: Path, copied: Path) -> None:
    """Training draws the same patches for both; only prediction differs, and the model says so."""
    (copied / "model.json").unlink()
    settings = SETTINGS | {"sampling": {"steps": 2, "layout": "whole"}}
    folder = train(training_run(heads, copied, settings, stage="controlnet", resume=True))
    assert folder.card.config["sampling"]["layout"] == "whole"
    assert [config_of(copied / stage)["layout"] for stage in ("autoencoder", "controlnet")] == ["tiles", "tiles"]
    assert len(list((copied / "cache").glob("*/image.npy"))) == 3  # nothing was normalised anew


def test_a_stage_does_not_start_without_the_one_before(heads: Path, copied: Path) -> None:
    shutil.rmtree(copied / "diffusion")
    with pytest.raises(
        WeightsError, match=r"diffusion/model\.json: no such file; expected stage diffusion before"
    ) as no:
        train(training_run(heads, copied, SETTINGS, stage="controlnet"))
    assert f"synthct train ldm-brain DATA {copied} --stage diffusion" in str(no.value)
    fold = copied / "fold_2"
    shutil.copytree(copied / "autoencoder", fold / "autoencoder")
    with pytest.raises(WeightsError, match=r"DATA .*copied --stage diffusion --fold 2\)"):
        train(training_run(heads, fold, SETTINGS, stage="controlnet", fold=2))


@pytest.mark.parametrize(
    ("stage", "changes", "reason"),
    [
        (
            "diffusion",
            {"spacing": [12.0, 12.0, 10.0]},
            r"autoencoder: was trained with spacing \[12\.0, 12\.0, 12\.0\]",
        ),
        (
            "diffusion",
            {"ct": {"low": -1024, "high": 2000}},
            r"autoencoder: was trained with ct\.high 3071\.0, this call has 2000\.0",
        ),
        (
            "controlnet",
            {"noise": {"prediction": "epsilon"}},
            r"diffusion: was trained with noise\.prediction v_prediction, this call has epsilon;",
        ),
        ("controlnet", {"image": {"upper": 98.0}}, r"diffusion: was trained with image\.upper 99\.5, this call has 98"),
        ("controlnet", {"sampling": {"layout": "fit"}}, "autoencoder: was trained with layout tiles"),
    ],
)
def test_a_stage_does_not_start_on_other_settings(
    heads: Path, trained: Path, stage: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        train(training_run(heads, trained, SETTINGS | changes, stage=stage))


def test_a_stage_does_not_start_on_two_that_do_not_belong_together(heads: Path, copied: Path) -> None:
    """The autoencoder was trained anew, the UNet was not."""
    other = SETTINGS | {"autoencoder": SETTINGS["autoencoder"] | {"learning_rate": 0.1}}
    train(training_run(heads, copied / "other", other, stage="autoencoder"))
    shutil.rmtree(copied / "autoencoder")
    (copied / "other" / "autoencoder").rename(copied / "autoencoder")
    calls: list[dict[str, Any]] = [{"stage": "controlnet"}, {"stage": "diffusion", "resume": True}, {"resume": True}]
    for call in calls:
        with pytest.raises(WeightsError, match="diffusion: stands on another stage autoencoder than the one that lies"):
            train(training_run(heads, copied, SETTINGS, **call))
    shutil.rmtree(copied / "autoencoder")
    with pytest.raises(WeightsError, match="diffusion: stands on stage autoencoder, which is not there; expected both"):
        train(training_run(heads, copied, SETTINGS, resume=True))
    assert not (copied / "autoencoder").exists()
