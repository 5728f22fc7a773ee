"""Rankings worked out by hand: ties, missing values, three rules, and the table that the official script turns over."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from evaluation.leaderboard import HIGHER_IS_BETTER, Entry, rank_entries
from synthct.errors import InputError, UsageError

Means = Mapping[str, float | None]
RANKINGS = ("synthrad2023", "synthrad2025", "platform")

# Normalised, 0 worst to 1 best: mae A 1, B 0.5, C 0; psnr A 0.5, B 1, C 0; DICE A 1, B 0, C 0.
THREE: dict[str, Means] = {
    "C": {"mae": 80.0, "psnr": 28.0, "DICE": 0.8},
    "A": {"mae": 40.0, "psnr": 30.0, "DICE": 0.9},
    "B": {"mae": 60.0, "psnr": 32.0, "DICE": 0.8},
}
BETTER: Means = {"mae": 50.0, "psnr": 30.0, "ms_ssim": 0.95, "DICE": 0.9, "HD95": 3.0}
WORSE: Means = {"mae": 60.0, "psnr": 29.0, "ms_ssim": 0.90, "DICE": 0.8, "HD95": 5.0}


def entries(table: Mapping[str, Means], starter: str = "") -> list[Entry]:
    return [
        Entry(name, means, {}, ("1ABA001", "1ABA002"), simulated=False, starter=name == starter)
        for name, means in table.items()
    ]


def ranked(table: Mapping[str, Means], ranking: str) -> list[tuple[int | None, str, float | None]]:
    rows = rank_entries(entries(table), ranking)
    return [(row["rank"], row["entry"], row["score"] and pytest.approx(row["score"])) for row in rows]


@pytest.mark.parametrize(
    ("ranking", "scores"),
    [
        ("synthrad2023", (1 + 0.5 + 1, 0.5 + 1 + 0, 0.0)),
        ("synthrad2025", ((0.75 + 1) / 2, (0.75 + 0) / 2, 0.0)),
        ("platform", ((1 + 2 + 1) / 3, (2 + 1 + 2) / 3, (3 + 3 + 2) / 3)),
    ],
)
def test_three_entries_by_hand(ranking: str, scores: tuple[float, float, float]) -> None:
    assert ranked(THREE, ranking) == [(1, "A", scores[0]), (2, "B", scores[1]), (3, "C", scores[2])]


def test_rows_carry_the_values_and_what_the_entry_says_of_itself() -> None:
    rows = rank_entries(entries({"A": {**THREE["A"], "HD95": None}, "C": THREE["C"]}, starter="A"))
    assert rows[0] == {
        "rank": 1,
        "entry": "A",
        "score": 1.0,
        "mae": 40.0,
        "psnr": 30.0,
        "DICE": 0.9,
        "cases": 2,
        "simulated": False,
        "starter": True,
        "random_features": False,
    }
    assert rows[1]["starter"] is False


def test_directions_are_those_of_the_contract() -> None:
    higher = {"psnr", "ssim", "ms_ssim", "DICE", "gamma"}
    lower = {"mae", "HD95", "mae_target", "dvh"}
    assert {**dict.fromkeys(higher, True), **dict.fromkeys(lower, False)} == HIGHER_IS_BETTER


@pytest.mark.parametrize("ranking", ["synthrad2023", "platform"])
@pytest.mark.parametrize("metric", HIGHER_IS_BETTER)
def test_each_metric_is_ranked_in_its_direction(metric: str, ranking: str) -> None:
    best = "high" if HIGHER_IS_BETTER[metric] else "low"
    assert rank_entries(entries({"low": {metric: 1.0}, "high": {metric: 2.0}}), ranking)[0]["entry"] == best


def test_better_in_all_five_wins_outright() -> None:
    # The official script gives 3.0 and 2.0 here: it counts ms_ssim and DICE for the wrong side (CONTRACT 3.9).
    assert ranked({"worse": WORSE, "better": BETTER}, "synthrad2023") == [(1, "better", 5.0), (2, "worse", 0.0)]
    assert ranked({"worse": WORSE, "better": BETTER}, "synthrad2025") == [(1, "better", 1.0), (2, "worse", 0.0)]
    assert ranked({"worse": WORSE, "better": BETTER}, "platform") == [(1, "better", 1.0), (2, "worse", 2.0)]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_better_in_ms_ssim_and_dice_alone_wins(ranking: str) -> None:
    # Equal elsewhere: the official script ranks these two upside down.
    worse = {**BETTER, "ms_ssim": WORSE["ms_ssim"], "DICE": WORSE["DICE"]}
    assert [row[:2] for row in ranked({"worse": worse, "better": BETTER}, ranking)] == [(1, "better"), (2, "worse")]


def test_groups_weigh_equally_only_in_2025() -> None:
    table = {"image": {**WORSE, "mae": 50.0, "psnr": 30.0, "ms_ssim": 0.95}, "shape": {**BETTER, "mae": 60.0}}
    table["shape"] |= {"psnr": 29.0, "ms_ssim": 0.90}
    assert ranked(table, "synthrad2023") == [(1, "image", 3.0), (2, "shape", 2.0)]
    assert ranked(table, "synthrad2025") == [(1, "image", 0.5), (1, "shape", 0.5)]
    assert ranked(table, "platform") == [(1, "image", 7 / 5), (2, "shape", 8 / 5)]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_ties_share_the_lower_rank(ranking: str) -> None:
    table = {"d": THREE["C"], "b": THREE["A"], "a": THREE["A"], "c": THREE["A"], "e": THREE["C"]}
    assert [row[:2] for row in ranked(table, ranking)] == [(1, "a"), (1, "b"), (1, "c"), (4, "d"), (4, "e")]


@pytest.mark.parametrize(("ranking", "score"), [("synthrad2023", 1.5), ("synthrad2025", 0.5), ("platform", 1.0)])
def test_equal_values_count_half(ranking: str, score: float) -> None:
    assert ranked({"only": THREE["A"]}, ranking) == [(1, "only", score)]
    assert ranked({"a": THREE["A"], "b": THREE["A"]}, ranking) == [(1, "a", score), (1, "b", score)]


@pytest.mark.parametrize("missing", [{"DICE": None}, {}])
@pytest.mark.parametrize(("ranking", "score"), [("synthrad2023", 0.5 + 1), ("synthrad2025", 0.75 / 2)])
def test_missing_value_counts_as_the_worst(ranking: str, score: float, missing: Means) -> None:
    table = {**THREE, "B": {"mae": 60.0, "psnr": 32.0, **missing}}
    with pytest.warns(UserWarning, match="B has no value for DICE; it counts as the worst"):
        rows = ranked(table, ranking)
    assert rows[1] == (2, "B", score)


def test_missing_value_is_worse_than_the_one_value_there_is() -> None:
    with pytest.warns(UserWarning, match="b has no value for DICE"):
        assert ranked({"b": {"mae": 1.0}, "a": {"mae": 1.0, "DICE": 0.1}}, "synthrad2023") == [
            (1, "a", 1.0),
            (2, "b", 0.5),
        ]


def test_missing_value_is_invalid_on_the_platform() -> None:
    table = {"A": {**THREE["A"], "DICE": None}, "B": THREE["B"], "C": THREE["C"]}
    with pytest.warns(UserWarning, match="A has a missing value and is invalid"):
        rows = rank_entries(entries(table, starter="A"), "platform")
    assert [(row["rank"], row["entry"]) for row in rows] == [(1, "B"), (2, "C"), (None, "A")]
    assert [row["score"] for row in rows] == [1.0, pytest.approx((2 + 2 + 1) / 3), None]
    assert list(rows[2]) == list(rows[0])
    assert (rows[2]["mae"], rows[2]["DICE"], rows[2]["starter"]) == (40.0, None, True)


def test_platform_that_would_rank_none() -> None:
    table: dict[str, Means] = {"A": {"mae": 1.0}, "B": {"DICE": 0.9}}
    with pytest.warns(UserWarning, match="invalid"), pytest.raises(InputError, match="would rank none"):
        rank_entries(entries(table), "platform")


def test_nothing_to_rank_by() -> None:
    for table in ({}, {"A": {}}, {"A": {"mae": None}, "B": {"n_missed": 3.0}}):
        with pytest.raises(InputError, match="no entry has a value"):
            rank_entries(entries(table))
    with pytest.raises(InputError, match="image similarity or geometric fidelity"):
        rank_entries(entries({"A": {"gamma": 99.0}, "B": {"gamma": 98.0}}), "synthrad2025")


def test_unknown_ranking() -> None:
    with pytest.raises(UsageError, match="'synthrad2024' is unknown; expected synthrad2023, synthrad2025 or platform"):
        rank_entries(entries(THREE), "synthrad2024")
