"""Draws over cases whose answer is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.leaderboard.bootstrap import draw_ranks, first_probabilities, rank_intervals
from evaluation.leaderboard.metrics import find_metrics

MAE = find_metrics(["mae"])
BOTH = find_metrics(["mae", "DICE"])
RANKINGS = ("synthrad2023", "synthrad2025", "platform", "platform-median")


def drawn(*entries: list[float], ranking: str = "synthrad2025", draws: int = 2000, seed: int = 3) -> np.ndarray:
    """Ranks of entries that have one MAE per case."""
    return draw_ranks(np.array(entries)[:, None, :], MAE, ranking, draws=draws, seed=seed)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_who_is_better_in_every_case_is_first_in_every_draw(ranking: str) -> None:
    ranks = drawn([11.0, 21.0, 31.0], [10.0, 20.0, 30.0], [12.0, 22.0, 32.0], ranking=ranking, draws=200)
    assert ranks.shape == (200, 3)
    assert (ranks == [2, 1, 3]).all()
    assert rank_intervals(ranks) == [(2, 2), (1, 1), (3, 3)]
    assert first_probabilities(ranks).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_the_same_cases_share_every_rank(ranking: str) -> None:
    ranks = drawn([0.1, 0.7, 0.3], [0.1, 0.7, 0.3], [0.1, 0.7, 0.3], ranking=ranking, draws=300)
    assert (ranks == 1).all()
    assert first_probabilities(ranks) == pytest.approx([1 / 3] * 3)


def test_two_cases_won_by_one_each() -> None:
    # Drawn: both the first case (1/4), one of each (1/2, equal means), both the second (1/4).
    ranks = drawn([10.0, 20.0], [20.0, 10.0], draws=20_000)
    shared = (ranks == 1).all(axis=1).mean()
    assert shared == pytest.approx(0.5, abs=0.02)
    assert first_probabilities(ranks) == pytest.approx([0.5, 0.5], abs=0.02)
    assert rank_intervals(ranks) == [(1, 2), (1, 2)]


def test_one_case_in_three_decides() -> None:
    # The second is better only where the third case is never drawn: (2/3)^3 = 8/27.
    ranks = drawn([10.0, 10.0, 10.0], [9.0, 9.0, 40.0], draws=20_000)
    assert first_probabilities(ranks)[1] == pytest.approx(8 / 27, abs=0.015)


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = ([10.0, 20.0, 15.0, 9.0], [20.0, 10.0, 14.0, 10.0])
    first = drawn(*entries, draws=100, seed=1)
    assert (first == drawn(*entries, draws=100, seed=1)).all()
    assert (first != drawn(*entries, draws=100, seed=2)).any()
    monkeypatch.setattr("evaluation.leaderboard.bootstrap.BLOCK", 6)
    assert (first == drawn(*entries, draws=100, seed=1)).all()


def test_an_entry_without_a_mean_has_none_in_any_draw() -> None:
    # Equal in MAE; the second lacks the Dice of one case, so that its others count in no draw either.
    values = np.array([[[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]], [[1.0, 1.0, 1.0], [0.9, 0.9, np.nan]]])
    missing = np.array([[False, False], [False, True]])
    ranks = draw_ranks(values, BOTH, "synthrad2023", draws=50, seed=0, missing=missing)
    assert (ranks == [1, 2]).all()


def test_draws_in_which_nobody_has_a_value_tell_nothing() -> None:
    # Dice exists for the first case alone; where it is not drawn, MAE decides, and there the second is better.
    values = np.array([[[2.0, 2.0], [0.9, np.nan]], [[1.0, 1.0], [0.1, np.nan]]])
    ranks = draw_ranks(values, BOTH, "synthrad2023", draws=4000, seed=0)
    outcomes = {tuple(row) for row in ranks.tolist()}
    assert outcomes == {(1, 1), (2, 1)}
    assert (ranks[:, 0] == 2).mean() == pytest.approx(0.25, abs=0.03)


def test_intervals_hold_the_central_part() -> None:
    ranks = np.array([[1]] * 3 + [[2]] * 94 + [[5]] * 3)
    assert rank_intervals(ranks) == [(1, 5)]
    assert rank_intervals(ranks, 0.9) == [(2, 2)]


def test_many_entries_are_a_matter_of_seconds() -> None:
    values = np.random.default_rng(0).normal(size=(200, 5, 60))
    metrics = find_metrics(["mae", "psnr", "ms_ssim", "DICE", "HD95"])
    ranks = draw_ranks(values, metrics, "synthrad2025", draws=200, seed=0)
    assert ranks.shape == (200, 200)
    assert first_probabilities(ranks).sum() == pytest.approx(1.0)
