"""`synthct leaderboard`: JSON, CSV and Markdown say the same, and say what an entry was made with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from commands.command_line import files_below, synthct


def reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def save_metrics(folder: Path, means: dict[str, float | None], **more: Any) -> Path:
    content = {
        "results": [{"case": "1EXA001"}],
        "aggregates": {name: {"mean": mean} for name, mean in means.items()},
        "protocol": "synthrad2025",
        "segmenter": "tissue",
        "segmenter_weights": None,
        "registration": "none",
        **more,
    }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def metrics(tmp_path: Path) -> list[Path]:
    return [
        save_metrics(tmp_path / "worse", {"mae": 60.0, "DICE": 0.5, "HD95": None}, starter=True, simulated=True),
        save_metrics(tmp_path / "better", {"mae": 50.25, "DICE": 0.75, "HD95": None}, starter=False, simulated=True),
    ]


def test_three_files_and_the_terminal(metrics: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    outcome = synthct("leaderboard", *metrics, "--output", output, "--no-site")
    assert (outcome.code, outcome.err) == (0, "")
    assert files_below(output) == [
        *("entries", "entries/better", "entries/better/entry.json", "entries/better/metrics.json"),
        *("entries/worse", "entries/worse/entry.json", "entries/worse/metrics.json"),
        *("leaderboard.csv", "leaderboard.json", "leaderboard.md"),
    ]

    content = json.loads((output / "leaderboard.json").read_text(), parse_constant=reject_constant)
    better = {"rank": 1, "entry": "better", "score": 1.0, "mae": 50.25, "DICE": 0.75}
    worse = {"rank": 2, "entry": "worse", "score": 0.0, "mae": 60.0, "DICE": 0.5}
    said = {"cases": 1, "simulated": True, "random_features": False, "demonstration_only": False}
    drawn = {"rank_interval": None, "first_probability": None}
    assert content["entries"] == [
        {**better, **said, **drawn, "starter": False, "marks": ["simulated data"]},
        {**worse, **said, **drawn, "starter": True, "marks": ["starter", "simulated data"]},
    ]
    assert (content["ranking"], content["scores"]) == ("synthrad2025", "official")
    assert content["judged_by"]["segmenter"] == "tissue"
    assert content["note"].startswith("partial: 2 of 4 groups (image similarity, geometric fidelity; no photon dose")

    with (output / "leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, entry in zip(rows, content["entries"], strict=True):
        assert (row.pop("rank_low"), row.pop("rank_high")) == ("", "")
        del entry["rank_interval"]
        marks = "; ".join(entry["marks"])
        assert row == {key: str(value) for key, value in {**entry, "first_probability": "", "marks": marks}.items()}

    lines = (output / "leaderboard.md").read_text().splitlines()
    assert lines[:2] == ["Ranking: synthrad2025, official scores, judged by tissue", ""]
    head = "rank | entry | score | mae | DICE | cases | simulated | starter | random_features | demonstration_only"
    assert lines[2] == f"| {head} | rank_low | rank_high | first_probability | marks |"
    assert lines[4:6] == [
        "| 1 | better | 1 | 50.25 | 0.75 | 1 | True | False | False | False | - | - | - | simulated data |",
        "| 2 | worse | 0 | 60 | 0.5 | 1 | True | True | False | False | - | - | - | starter; simulated data |",
    ]
    assert f"- {content['note']}" in lines
    assert "judged by tissue" in outcome.out
    assert "better (simulated data)" in outcome.out
    assert "worse (starter, simulated data)" in outcome.out
    assert outcome.out.index("better") < outcome.out.index("worse")


def test_missing_value_on_the_platform(metrics: list[Path], tmp_path: Path) -> None:
    third = save_metrics(tmp_path / "third", {"mae": 40.0, "DICE": None}, starter=True)
    output = tmp_path / "output"
    names = [word for name in ("a", "b", "c|d") for word in ("--name", name)]
    outcome = synthct("leaderboard", third, *metrics, "--output", output, "--ranking", "platform", "--no-site", *names)
    assert outcome.code == 0, outcome.err
    assert outcome.err == "warning: a has a missing value and is invalid on the platform\n"
    content = json.loads((output / "leaderboard.json").read_text(), parse_constant=reject_constant)
    assert [(row["rank"], row["entry"], row["score"]) for row in content["entries"]] == [
        (1, "c|d", 1.0),
        (2, "b", 2.0),
        (None, "a", None),
    ]
    with (output / "leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["rank"], row["DICE"]) for row in rows] == [("1", "0.75"), ("2", "0.5"), ("", "")]
    lines = (output / "leaderboard.md").read_text().splitlines()
    assert (
        lines[4] == "| 1 | c\\|d | 1 | 50.25 | 0.75 | 1 | True | False | False | False | - | - | - | simulated data |"
    )
    assert lines[6] == "| - | a | - | 40 | - | 1 | False | True | False | False | - | - | - | starter |"
    assert content["invalid"] == [{"entry": "a", "reason": "no value for DICE"}]
    assert "a (starter)" in outcome.out


def test_what_cannot_be_ranked_leaves_no_output(metrics: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "output"
    other = save_metrics(tmp_path / "other", {"mae": 1.0}, segmenter="totalsegmentator")
    mixed = synthct("leaderboard", *metrics, other, "--output", output)
    assert mixed.code == 3
    assert mixed.reason == (
        "error: other was scored with segmenter totalsegmentator, worse with tissue; expected the same"
    )
    failures = [{"case": "1EXA002", "reason": "it has another size"}]
    partial = synthct("leaderboard", save_metrics(tmp_path / "p", {"mae": 1.0}, failures=failures), "--output", output)
    assert (partial.code, "p/metrics.json: has 1 failures (1EXA002)" in partial.reason) == (3, True)
    unknown = synthct("leaderboard", *metrics, "--output", output, "--scores", "severe")
    assert (unknown.code, "severe" in unknown.err) == (2, True)
    names = synthct("leaderboard", *metrics, "--output", output, "--name", "one")
    assert (names.code, "1 names for 2 entries" in names.reason) == (2, True)
    missing = synthct("leaderboard", tmp_path / "nothing", "--output", output)
    assert (missing.code, "nothing" in missing.reason) == (3, True)
    assert files_below(output) == []


def test_strict_scores_turn_the_ranking_round(tmp_path: Path) -> None:
    """An entry that finds nothing has the best official HD95; strictly it is the worse one."""
    lazy = save_metrics(tmp_path / "lazy", {"mae": 50.0, "HD95": 0.0, "mae_strict": 50.0, "HD95_strict": 46.0})
    honest = save_metrics(tmp_path / "honest", {"mae": 50.0, "HD95": 4.0, "mae_strict": 50.0, "HD95_strict": 4.0})
    ranked = {}
    for scores in ("official", "strict"):
        outcome = synthct("leaderboard", lazy, honest, "--output", tmp_path / scores, "--scores", scores, "--no-site")
        assert (outcome.code, outcome.err) == (0, "")
        content = json.loads((tmp_path / scores / "leaderboard.json").read_text(), parse_constant=reject_constant)
        assert content["scores"] == scores
        ranked[scores] = [(row["rank"], row["entry"], row["HD95"]) for row in content["entries"]]
    assert ranked == {
        "official": [(1, "lazy", 0.0), (2, "honest", 4.0)],
        "strict": [(1, "honest", 4.0), (2, "lazy", 46.0)],
    }
