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
        "demonstration_only": False,
    }
    assert rows[1]["starter"] is False


def test_directions_are_those_of_the_contract() -> None:
    higher = {"psnr", "ssim", "ms_ssim", "DICE", "gamma"}
    lower = {"mae", "HD95", "mae_target", "dvh"}
    told = {**dict.fromkeys(higher, True), **dict.fromkeys(lower, False)}
    dose = ("mae_target", "dvh", "gamma")
    told |= {f"{name}_{beam}": told[name] for name in dose for beam in ("photon", "proton")}
    assert told == HIGHER_IS_BETTER


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
    rows = ranked({"worse": worse, "better": BETTER}, ranking)
    assert [row[:2] for row in rows] == [(1, "better"), (2, "worse")]
    if ranking == "synthrad2023":  # mae, psnr and HD95 equal, 0.5 each; the official script: better 1.5, worse 3.5
        assert [row[2] for row in rows] == [3.5, 1.5]


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
    with pytest.raises(InputError, match="no entry has a value of HD95; expected one to rank by"):
        rank_entries(entries(THREE), metrics=["mae", "HD95"])


def test_unknown_ranking_and_metric() -> None:
    with pytest.raises(UsageError, match="'synthrad2024' is unknown; expected synthrad2023, synthrad2025, platform or"):
        rank_entries(entries(THREE), "synthrad2024")
    with pytest.raises(UsageError, match="metric 'dice_bone' is unknown; expected one of mae, psnr, "):
        rank_entries(entries(THREE), metrics=["mae", "dice_bone"])


def test_ranked_by_the_metrics_that_are_asked_for() -> None:
    rows = rank_entries(entries(THREE), "synthrad2023", metrics=["psnr"])
    assert [(row["entry"], row["score"]) for row in rows] == [("B", 1.0), ("A", 0.5), ("C", 0.0)]
    assert "mae" not in rows[0]


def test_dose_groups_weigh_as_much_as_the_others() -> None:
    # By hand: image A 1, B 0; photon dose (two metrics) A 0, B 1; proton dose A 0, B 1. Means 1/3 and 2/3.
    table: dict[str, Means] = {
        "A": {"mae": 40.0, "gamma_photon": 90.0, "dvh_photon": 0.2, "mae_target_proton": 0.3},
        "B": {"mae": 60.0, "gamma_photon": 95.0, "dvh_photon": 0.1, "mae_target_proton": 0.1},
    }
    assert ranked(table, "synthrad2025") == [(1, "B", 2 / 3), (2, "A", 1 / 3)]
    assert ranked(table, "synthrad2023") == [(1, "B", 3.0), (2, "A", 1.0)]
    table["A"] = {**table["A"], "gamma": 90.0}
    with (
        pytest.warns(UserWarning, match="B has no value for gamma"),
        pytest.raises(InputError, match=r"with a beam .* and without one"),
    ):
        rank_entries(entries(table), "synthrad2025")


def test_median_of_ranks_on_the_platform() -> None:
    # Ranks of A 1, 2, 1: mean 4/3, median 1; of B 2, 1, 2; of C 3, 3, 2 (shared).
    assert ranked(THREE, "platform-median") == [(1, "A", 1.0), (2, "B", 2.0), (3, "C", 3.0)]
    # Two good ranks and a bad one win by the median, and lose by the mean.
    table: dict[str, Means] = {
        "bold": {"mae": 1.0, "psnr": 40.0, "DICE": 0.1},
        "even": {"mae": 2.0, "psnr": 39.0, "DICE": 0.9},
        "third": {"mae": 3.0, "psnr": 38.0, "DICE": 0.8},
        "fourth": {"mae": 4.0, "psnr": 37.0, "DICE": 0.7},
    }
    assert [row[1:] for row in ranked(table, "platform-median")][:2] == [("bold", 1.0), ("even", 2.0)]
    assert [row[1:] for row in ranked(table, "platform")][:2] == [("even", 5 / 3), ("bold", 2.0)]


def test_values_that_differ_by_rounding_are_equal() -> None:
    table: dict[str, Means] = {"A": {"mae": 0.1 + 0.2}, "B": {"mae": 0.3}}
    for ranking, score in (("synthrad2023", 0.5), ("synthrad2025", 0.5), ("platform", 1.0)):
        assert ranked(table, ranking) == [(1, "A", score), (1, "B", score)]


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        # MAE scaled: A 1, B 0, C 0, D has none: 0; Dice scaled: A 0, B 1, C 0, D 1.
        ("synthrad2023", [("A", 1, 1.0), ("B", 1, 1.0), ("D", 1, 1.0), ("C", 4, 0.0)]),
        ("synthrad2025", [("A", 1, 0.5), ("B", 1, 0.5), ("D", 1, 0.5), ("C", 4, 0.0)]),
        # D is dropped before ranks are given: MAE A 1, B 2, C 2; Dice B 1, A 2, C 2.
        ("platform", [("A", 1, 1.5), ("B", 1, 1.5), ("C", 3, 2.0), ("D", None, None)]),
    ],
)
@pytest.mark.filterwarnings("ignore:D has")
def test_four_entries_with_ties_and_a_gap_by_hand(
    ranking: str, expected: list[tuple[str, int | None, float | None]]
) -> None:
    table: dict[str, Means] = {
        "A": {"mae": 50.0, "DICE": 0.8},
        "B": {"mae": 60.0, "DICE": 0.9},
        "C": {"mae": 60.0, "DICE": 0.8},
        "D": {"mae": None, "DICE": 0.9},
    }
    rows = rank_entries(entries(table), ranking)
    assert [(row["entry"], row["rank"], row["score"]) for row in rows] == expected
