"""Standings of small boards whose answers are known: means, marks, strata, invalid entries, one case, none at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_files import entry_file, result_rows

from evaluation.leaderboard.metrics import find_metrics
from evaluation.leaderboard.strata import stratum_means
from evaluation.standings import Pair, Stratum, build_standings
from synthct.errors import InputError, UsageError


def board(tmp_path: Path, **entries: dict[str, list[float | None]]) -> list[Path]:
    return [entry_file(tmp_path / name, result_rows(values)) for name, values in entries.items()]


def test_a_board_by_hand(tmp_path: Path) -> None:
    paths = board(
        tmp_path,
        worse={"mae": [50.0, 60.0, 70.0], "DICE": [0.5, 0.6, 0.7]},
        better={"mae": [40.0, 50.0, 60.0], "DICE": [0.6, 0.7, 0.8]},
    )
    standings = build_standings(paths, draws=100, seed=5)
    first, second = standings.entries
    assert (first.rank, first.entry, first.score) == (1, "better", 1.0)
    assert first.per_metric == {"mae": 50.0, "DICE": pytest.approx(0.7)}
    assert (first.metric_ranks, second.metric_ranks) == ({"mae": 1, "DICE": 1}, {"mae": 2, "DICE": 2})
    assert (first.rank_interval, first.first_probability) == ((1, 1), 1.0)
    assert (second.rank_interval, second.first_probability) == ((2, 2), 0.0)
    assert first.folder == tmp_path / "better"
    assert first.values("mae") == [40.0, 50.0, 60.0]
    assert [row["case"] for row in first.cases] == ["1ABA001", "1ABA002", "1ABA003"]
    assert standings.pairwise[0] == Pair("better", "worse", "mae", 0.25, 0.25, -10.0, 3)
    assert (standings.by_region, standings.by_task, standings.by_region_and_task) == ((), (), ())
    assert standings.notes[0].startswith("partial: 2 of 4 groups (image similarity, geometric fidelity; no photon dose")
    assert "3 cases" in standings.notes[1]
    assert standings.judged_by["segmenter"] == "tissue"
    assert (standings.bootstrap.draws, standings.bootstrap.seed) == (100, 5)


def test_marks_say_what_an_entry_was_made_with(tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = {
        "plain": {},
        "unknown": {"starter": None},
        "all": {"starter": True, "simulated": True, "random_features": True, "demonstration_only": True},
    }
    paths = [entry_file(tmp_path / name, result_rows({"mae": [1.0]}), **more) for name, more in said.items()]
    marks = {standing.entry: standing.marks for standing in build_standings(paths).entries}
    assert marks == {
        "plain": (),
        "unknown": ("weights unknown",),
        "all": ("starter", "simulated data", "random features", "demonstration only"),
    }


def two_tasks(mae: list[float]) -> list[dict[str, Any]]:
    """Six cases: two of MR abdomen, two of CBCT abdomen, two of CBCT head."""
    kinds = (("AB", "mri"), ("AB", "cbct"), ("HN", "cbct"))
    names = ["1ABA001", "1ABA002", "2ABA001", "2ABA002", "2HNA001", "2HNA002"]
    return [
        {"case": name, "region": kinds[index // 2][0], "task": kinds[index // 2][1], "mae": mae[index]}
        for index, name in enumerate(names)
    ]


def test_regions_and_tasks_are_ranked_by_themselves(tmp_path: Path) -> None:
    paths = [
        entry_file(tmp_path / "abdomen", two_tasks([10.0, 10.0, 30.0, 30.0, 60.0, 60.0])),
        entry_file(tmp_path / "head", two_tasks([20.0, 22.0, 20.0, 20.0, 10.0, 12.0])),
    ]
    standings = build_standings(paths, draws=50)
    assert [standing.entry for standing in standings.entries] == ["head", "abdomen"]

    def summary(strata: tuple[Stratum, ...]) -> list[tuple[Any, ...]]:
        return [
            (stratum.region, stratum.task, stratum.cases, [(p.entry, p.per_metric["mae"]) for p in stratum.placings])
            for stratum in strata
        ]

    assert summary(standings.by_region) == [
        ("AB", None, 4, [("abdomen", 20.0), ("head", 20.5)]),
        ("HN", None, 2, [("head", 11.0), ("abdomen", 60.0)]),
    ]
    assert summary(standings.by_task) == [
        (None, "cbct", 4, [("head", 15.5), ("abdomen", 45.0)]),
        (None, "mri", 2, [("abdomen", 10.0), ("head", 21.0)]),
    ]
    assert [(s.region, s.task, s.cases, s.placings[0].entry) for s in standings.by_region_and_task] == [
        ("AB", "cbct", 2, "head"),
        ("AB", "mri", 2, "abdomen"),
        ("HN", "cbct", 2, "head"),
    ]
    heads = standings.by_region[1]
    assert heads.placings[0].rank_interval == (1, 1)
    assert heads.pairwise == (Pair("head", "abdomen", "mae", 0.5, 0.5, -49.0, 2),)


def test_a_missing_value_counts_in_its_region_alone(tmp_path: Path) -> None:
    good, gap = two_tasks([20.0] * 6), two_tasks([10.0] * 6)
    gap[5] = {**gap[5], "mae": None}
    paths = [entry_file(tmp_path / "good", good), entry_file(tmp_path / "gap", gap)]
    with pytest.warns(UserWarning, match="gap has no value for mae; it counts as the worst"):
        standings = build_standings(paths, draws=20)
    assert [(s.entry, s.rank, s.first_probability) for s in standings.entries] == [("good", 1, 1.0), ("gap", 2, 0.0)]
    assert [stratum.placings[0].entry for stratum in standings.by_region] == ["gap", "good"]
    assert "gap has no value for mae; it counts as the worst" in standings.notes
    with pytest.warns(UserWarning, match="invalid on the platform"):
        platform = build_standings(paths, ranking="platform", draws=20)
    assert platform.invalid == (("gap", "no value for mae"),)
    assert [(s.entry, s.rank, s.rank_interval) for s in platform.entries] == [("good", 1, (1, 1)), ("gap", None, None)]
    assert platform.pairwise == ()
    assert [(p.entry, p.rank) for p in platform.by_region[1].placings] == [("good", 1), ("gap", None)]


def test_strict_means_over_the_cases_that_all_have(tmp_path: Path) -> None:
    # Nobody has a strict HD95 of the third case: no structure is there. The other two count.
    values = {"HD95": [1.0, 2.0, 3.0], "HD95_strict": [4.0, 6.0, None]}
    paths = board(tmp_path, a=values, b={**values, "HD95_strict": [5.0, 7.0, None]})
    standings = build_standings(paths, scores="strict", draws=2000)
    # The third case alone is drawn once in 27 times: both are first then.
    assert [(s.entry, s.per_metric["HD95"], s.rank_interval) for s in standings.entries] == [
        ("a", 5.0, (1, 1)),
        ("b", 6.0, (1, 2)),
    ]
    assert standings.entries[1].first_probability == pytest.approx(1 / 54, abs=0.008)
    assert standings.metrics[0].column == "HD95_strict"
    assert standings.entries[0].values("HD95_strict") == [4.0, 6.0, None]
    assert standings.pairwise[0].n == 2


def test_one_case_has_ranks_and_no_certainty(tmp_path: Path) -> None:
    standings = build_standings(board(tmp_path, a={"mae": [1.0]}, b={"mae": [2.0]}))
    assert [(s.rank, s.rank_interval, s.first_probability) for s in standings.entries] == [
        (1, None, None),
        (2, None, None),
    ]
    assert standings.pairwise == (Pair("a", "b", "mae", 1.0, 1.0, -1.0, 1),)
    assert any("one case" in note for note in standings.notes)
    assert standings.bootstrap.draws == 0


def test_one_entry_is_first(tmp_path: Path) -> None:
    (only,) = build_standings(board(tmp_path, a={"mae": [1.0, 2.0]})).entries
    assert (only.rank, only.score, only.rank_interval, only.first_probability) == (1, 0.5, (1, 1), 1.0)


def test_values_that_are_all_missing(tmp_path: Path) -> None:
    nothing: dict[str, list[float | None]] = {"mae": [None, None], "DICE": [None, None]}
    with pytest.raises(InputError, match="no entry has a value in any metric"):
        build_standings(board(tmp_path, a=nothing, b=nothing))
    half: dict[str, list[float | None]] = {**nothing, "mae": [1.0, 2.0]}
    paths = board(tmp_path, a=half, b=nothing)
    with pytest.warns(UserWarning, match="b has no value for mae"):
        standings = build_standings(paths)
    assert [metric.name for metric in standings.metrics] == ["mae"]
    assert [(s.entry, s.score, s.first_probability) for s in standings.entries] == [("a", 0.5, 1.0), ("b", 0.0, 0.0)]
    assert (standings.pairwise[0].p, standings.pairwise[0].n) == (None, 0)


def test_means_without_their_cases_are_ranked_and_no_more(tmp_path: Path) -> None:
    for name, mean in (("a", 1.0), ("b", 2.0)):
        path = entry_file(tmp_path / name, [{"case": "x"}, {"case": "y"}]) / "metrics.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "aggregates": {"mae": {"mean": mean}}}))
    standings = build_standings([tmp_path / "a", tmp_path / "b"])
    assert [(s.rank, s.rank_interval) for s in standings.entries] == [(1, None), (2, None)]
    assert (standings.pairwise, standings.bootstrap.draws) == ((), 0)
    assert any("no values" in note for note in standings.notes)


def test_a_mean_that_is_not_its_cases(tmp_path: Path) -> None:
    folder = entry_file(tmp_path / "a", result_rows({"mae": [10.0, 20.0]}))
    text = (folder / "metrics.json").read_text().replace('"mean": 15.0', '"mean": 12.0')
    (folder / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"its mean mae is 12, that of its cases 15; expected the same"):
        build_standings([folder])


def test_metrics_by_name(tmp_path: Path) -> None:
    paths = board(tmp_path, a={"mae": [1.0], "psnr": [20.0]}, b={"mae": [2.0], "psnr": [30.0]})
    assert build_standings(paths, metrics=["psnr"]).entries[0].entry == "b"
    with pytest.raises(UsageError, match="metric 'nsd' is unknown"):
        build_standings(paths, metrics=["nsd"])
    with pytest.raises(UsageError, match="ranking 'best' is unknown"):
        build_standings(paths, ranking="best")


@pytest.mark.parametrize(("cases", "told"), [(3, "0.25 or more"), (5, "0.062 or more"), (6, "")])
def test_too_few_cases_for_any_test_are_told(tmp_path: Path, cases: int, told: str) -> None:
    mae = [float(number) for number in range(cases)]
    notes = build_standings(board(tmp_path, a={"mae": mae}, b={"mae": [9.0 + each for each in mae]}), draws=10).notes
    found = [note for note in notes if "no test can tell entries apart" in note]
    assert found == (
        [f"{cases} cases: no test can tell entries apart, p after the correction is {told}"] if told else []
    )


def test_strict_values_that_are_not_there_are_told(tmp_path: Path) -> None:
    values: dict[str, list[float | None]] = {"mae": [1.0, 2.0], "mae_strict": [1.0, 3.0], "psnr": [30.0, 31.0]}
    paths = board(tmp_path, a=values, b=values)
    told = "no strict values of psnr: the official ones are ranked"
    assert told in build_standings(paths, scores="strict", draws=0).notes
    assert told not in build_standings(paths, draws=0).notes


def test_means_over_different_cases_are_not_compared(tmp_path: Path) -> None:
    # As many strict values each, but not of the same cases: who lacks the hard one would win.
    values = {"mae": [1.0, 1.0, 1.0], "HD95": [1.0, 1.0, 1.0]}
    paths = board(
        tmp_path,
        a={**values, "HD95_strict": [2.0, 3.0, None]},
        b={**values, "HD95_strict": [None, 3.0, 90.0]},
    )
    with pytest.warns(UserWarning, match="HD95 is not ranked: each entry lacks a case of which another has a value"):
        standings = build_standings(paths, scores="strict", draws=0)
    assert [metric.name for metric in standings.metrics] == ["mae"]
    third = entry_file(tmp_path / "c", result_rows({**values, "HD95_strict": [4.0, 4.0, 4.0]}))
    with pytest.warns(UserWarning, match="has no value for HD95; it counts as the worst"):
        whole = build_standings([*paths, third], scores="strict", draws=0)
    assert [(s.entry, s.per_metric["HD95"]) for s in whole.entries] == [("c", 4.0), ("a", None), ("b", None)]


def test_a_stratum_compares_the_same_cases_too() -> None:
    metrics = find_metrics(["HD95"])
    strict = [replace(metrics[0], column="HD95_strict")]
    values = np.array([[[2.0, np.nan, 3.0]], [[np.nan, 5.0, 3.0]], [[2.0, 5.0, 3.0]]])
    assert np.isnan(stratum_means(values, strict)[:, 0]).tolist() == [True, True, False]
    assert stratum_means(values[:2, :, 2:], strict).tolist() == [[3.0], [3.0]]
