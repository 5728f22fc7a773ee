"""Wilcoxon's test against scipy one pair at a time and by hand; Holm's correction by hand."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from evaluation.leaderboard.metrics import find_metrics
from evaluation.leaderboard.pairwise import choose_pairs, compare_pairs, holm, signed_rank_p, smallest_p
from evaluation.standings import Pair, Placing

NAN = math.nan


def test_small_samples_by_hand() -> None:
    # n differences of one sign and different sizes: 2 of 2^n sign patterns are as extreme.
    p = signed_rank_p(
        np.array(
            [
                [1.0, 2.0, 3.0, 4.0, 5.0],
                [-1.0, -2.0, -3.0, -4.0, NAN],
                [1.0, 2.0, 3.0, 0.0, 0.0],
                [7.0, NAN, NAN, NAN, NAN],
                [-1.0, 2.0, 3.0, 4.0, 5.0],
                [0.0, 0.0, NAN, 0.0, 0.0],
                [NAN, NAN, NAN, NAN, NAN],
            ]
        )
    )
    assert p[:6] == pytest.approx([2 / 32, 2 / 16, 2 / 8, 1.0, 4 / 32, 1.0])
    assert np.isnan(p[6])


def test_ties_by_hand() -> None:
    # |1, 1, 1, 1| all have rank 2.5: one sign is 2 of 16; three against one is 2 * (1 + 4) of 16.
    p = signed_rank_p(np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0]]))
    assert p == pytest.approx([2 / 16, 10 / 16])


@pytest.mark.parametrize("cases", [4, 12, 30, 50, 60])
def test_without_ties_each_pair_is_scipys(cases: int) -> None:
    differences = np.random.default_rng(cases).normal(0.3, size=(8, cases))
    assert signed_rank_p(differences) == pytest.approx([wilcoxon(row).pvalue for row in differences])


def test_ties_zeros_and_gaps_do_not_reach_other_pairs() -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(0.3, size=(3, 40))
    tied = np.round(rng.normal(0.3, size=(3, 40)), 1)
    gaps = np.where(rng.random((3, 40)) < 0.3, NAN, rng.normal(0.3, size=(3, 40)))
    p = signed_rank_p(np.concatenate([smooth, tied, gaps]))
    assert p[:3] == pytest.approx([wilcoxon(row).pvalue for row in smooth])
    assert p[3:6] == pytest.approx([wilcoxon(row[row != 0], method="asymptotic").pvalue for row in tied], abs=0.01)
    assert p[6:] == pytest.approx([wilcoxon(row[np.isfinite(row)]).pvalue for row in gaps])


def test_ties_count_all_patterns_of_signs() -> None:
    differences = np.random.default_rng(1).integers(-3, 4, size=(12, 8)).astype(float)
    for row, p in zip(differences, signed_rank_p(differences), strict=True):
        kept = row[row != 0]
        ranks = rankdata(np.abs(kept))
        away = abs(ranks[kept > 0].sum() - ranks.sum() / 2)
        sums = [np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(kept))]
        assert p == pytest.approx(np.mean([abs(total - ranks.sum() / 2) >= away for total in sums]))


def test_more_than_fifty_tied_differences_are_approximated() -> None:
    tied = np.round(np.random.default_rng(0).normal(0.3, size=(2, 60)), 1)
    expected = [wilcoxon(row[row != 0], method="asymptotic", correction=False).pvalue for row in tied]
    assert signed_rank_p(tied) == pytest.approx(expected)


def test_ties_of_many_pairs_take_no_minutes() -> None:
    began = time.perf_counter()
    signed_rank_p(np.random.default_rng(0).integers(-5, 6, size=(397, 12)).astype(float))
    assert time.perf_counter() - began < 20  # enumerated one by one it was 100 s


def test_rounding_is_no_difference() -> None:
    first = np.random.default_rng(0).normal(60, 10, size=8)
    values = np.stack([first, first * (1 + 1e-14), first + 1.0 + 1e-13 * np.arange(8)])[:, None]
    board = [placing(name, 1) for name in "abc"]
    same, apart, _ = compare_pairs(board, list("abc"), values, find_metrics(["mae"]))
    assert (same.p, same.median_difference) == (1.0, 0.0)
    assert apart.p == pytest.approx(2 / 256)  # all eight are equal, of one sign


def test_the_smallest_p_that_tests_allow() -> None:
    def pair(metric: str, n: int, p: float | None = 1.0) -> Pair:
        return Pair("a", "b", metric, p, p, None, n)

    assert smallest_p([pair("mae", 6)]) == 2 / 64
    assert smallest_p([pair("mae", 6)] * 3) == 6 / 64
    assert smallest_p([*[pair("mae", 6)] * 3, pair("DICE", 5)]) == 2 / 32
    assert smallest_p([pair("mae", 1)] * 2) == 1.0
    assert smallest_p([pair("mae", 0, None)]) == smallest_p([]) == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; a p never falls below the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]).size == 0


def test_what_was_not_tested_does_not_count() -> None:
    corrected = holm([NAN, 0.02, 0.03])
    assert np.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.04])


def test_few_entries_are_all_compared_and_many_are_not() -> None:
    assert choose_pairs(1) == []
    assert choose_pairs(3) == [(0, 1), (0, 2), (1, 2)]
    assert len(choose_pairs(20)) == 190
    many = choose_pairs(200)
    assert len(many) == len(set(many)) == 199 + 198
    assert {(0, 199), (0, 1), (1, 2), (198, 199)} <= set(many)
    assert (1, 3) not in many


def placing(entry: str, rank: int | None) -> Placing:
    return Placing(rank, entry, None, {}, {})


def test_pairs_are_corrected_within_their_metric() -> None:
    metrics = find_metrics(["mae", "DICE"])
    mae = [[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]]
    dice = [[0.9, NAN, NAN, NAN], [0.5, 0.5, NAN, NAN], [NAN, 0.7, NAN, NAN], [0.1, 0.1, 0.1, 0.1]]
    values = np.stack([np.array(mae), np.array(dice)], axis=1)
    board = [placing("a", 1), placing("c", 1), placing("b", 3), placing("invalid", None)]
    found = compare_pairs(board, ["a", "b", "c", "invalid"], values, metrics)
    assert [(pair.metric, pair.first, pair.second) for pair in found] == [
        (metric, *pair) for metric in ("mae", "DICE") for pair in (("a", "c"), ("a", "b"), ("c", "b"))
    ]
    # MAE: a equals c (p 1); both are below b by 1, 2, 3, 4 (p 2 of 16), of three tests: 3/8, then not below it.
    assert found[0] == Pair("a", "c", "mae", 1.0, 1.0, 0.0, 4)
    assert found[1] == Pair("a", "b", "mae", pytest.approx(0.125), pytest.approx(0.375), -2.5, 4)
    assert found[2] == Pair("c", "b", "mae", pytest.approx(0.125), pytest.approx(0.375), -2.5, 4)
    assert found[3] == Pair("a", "c", "DICE", None, None, None, 0)
    assert found[4] == Pair("a", "b", "DICE", 1.0, 1.0, pytest.approx(0.4), 1)


def test_nothing_to_compare() -> None:
    metrics = find_metrics(["mae"])
    assert compare_pairs([placing("a", 1)], ["a"], np.ones((1, 1, 3)), metrics) == ()
    assert compare_pairs([placing("a", 1), placing("b", 2)], ["a", "b"], np.ones((2, 1, 0)), metrics) == ()
