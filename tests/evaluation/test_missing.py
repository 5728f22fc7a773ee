"""The two policies on scores made by hand: every status, both means, every empty case."""

from __future__ import annotations

import dataclasses

import pytest

from evaluation.metrics import StructureScore
from evaluation.missing import POLICIES, SMALLEST_MISSED_ML, Status, Summary, status_of, summarise
from synthct.errors import UsageError

DIAGONAL = 500.0


def score(label: int, status: Status, ml: float = 10.0) -> StructureScore:
    """A found structure has Dice 0.8, HD95 4 mm, NSD 0.9 by area and 0.7 by voxels."""
    dice, hd95, nsd_surfel, nsd_voxel = {
        "found": (0.8, 4.0, 0.9, 0.7),
        "absent": (None, None, None, None),
    }.get(status, (0.0, None, 0.0, 0.0))
    in_reference = 0.0 if status in ("absent", "spurious") else ml
    in_prediction = ml if status in ("found", "spurious") else 0.0
    return StructureScore(
        label, dice, hd95, nsd_surfel, nsd_voxel, in_reference, in_prediction, status == "missed_cut", status
    )


def summary_of(policy: str, *statuses: Status) -> Summary:
    return summarise({n: score(n, status) for n, status in enumerate(statuses, 1)}, policy, DIAGONAL)


def means(summary: Summary) -> tuple[float | None, ...]:
    assert summary.nsd == summary.nsd_surfel
    return summary.dice, summary.hd95, summary.nsd_surfel, summary.nsd_voxel


def counts(summary: Summary) -> tuple[int, ...]:
    return summary.n_structures, summary.n_missed, summary.n_missed_small, summary.n_spurious


def test_all_found_is_the_same_under_both() -> None:
    official, strict = (summary_of(policy, "found", "found") for policy in POLICIES)
    assert means(official) == means(strict) == pytest.approx((0.8, 4.0, 0.9, 0.7))
    assert counts(official) == counts(strict) == (2, 0, 0, 0)
    assert (official.policy, strict.policy) == ("parity", "strict")


def test_one_missed() -> None:
    official, strict = (summary_of(policy, "found", "missed") for policy in POLICIES)
    assert means(official) == pytest.approx((0.4, 4.0, 0.45, 0.35))
    assert means(strict) == pytest.approx((0.4, (4.0 + DIAGONAL) / 2, 0.45, 0.35))
    assert counts(official) == counts(strict) == (2, 1, 0, 0)


def test_all_missed_is_perfect_by_the_official_hd95_alone() -> None:
    official, strict = (summary_of(policy, "missed", "missed") for policy in POLICIES)
    assert means(official) == (0.0, 0.0, 0.0, 0.0)
    assert means(strict) == (0.0, DIAGONAL, 0.0, 0.0)


@pytest.mark.parametrize("status", ["missed_small", "missed_cut"])
def test_a_small_or_cut_one_counts_officially_and_is_listed_apart(status: Status) -> None:
    official, strict = (summary_of(policy, "found", status) for policy in POLICIES)
    assert means(official) == pytest.approx((0.4, 4.0, 0.45, 0.35))
    assert means(strict) == pytest.approx((0.8, 4.0, 0.9, 0.7))
    assert counts(official) == counts(strict) == (2, 0, 1, 0)
    assert means(summary_of("strict", status)) == (None, None, None, None)
    assert means(summary_of("parity", status)) == (0.0, 0.0, 0.0, 0.0)


def test_a_spurious_one_costs_nothing_and_is_counted() -> None:
    structures = {1: score(1, "found"), 2: score(2, "spurious", 3.5), 3: score(3, "spurious", 1.25)}
    for policy in POLICIES:
        summary = summarise(structures, policy, DIAGONAL)
        assert means(summary) == pytest.approx((0.8, 4.0, 0.9, 0.7))
        assert counts(summary) == (1, 0, 0, 2)
        assert summary.spurious_ml == 4.75


@pytest.mark.parametrize("statuses", [(), ("absent",), ("spurious", "absent")])
def test_nothing_in_the_reference(statuses: tuple[Status, ...]) -> None:
    official, strict = (summary_of(policy, *statuses) for policy in POLICIES)
    assert means(official) == (0.0, 0.0, None, None)
    assert means(strict) == (None, None, None, None)
    assert counts(official) == counts(strict) == (0, 0, 0, statuses.count("spurious"))


def test_the_limit_of_what_is_small() -> None:
    assert SMALLEST_MISSED_ML == 0.5
    assert status_of(0.5, 0.0, cut=False) == "missed"
    assert status_of(0.499, 0.0, cut=False) == "missed_small"
    assert status_of(500_000 * (0.1 * 0.1 * 0.1) / 1000, 0.0, cut=False) == "missed"
    assert status_of(0.5 - 1e-12, 0.0, cut=False) == "missed"  # what rounding may leave of 0.5


def test_every_status() -> None:
    assert status_of(0.001, 0.001, cut=True) == "found"
    assert status_of(0.0, 0.001, cut=False) == "spurious"
    assert status_of(0.0, 0.0, cut=False) == "absent"
    assert status_of(2.0, 0.0, cut=True) == "missed_cut"
    assert status_of(0.2, 0.0, cut=True) == "missed_small"


def test_unknown_policy() -> None:
    with pytest.raises(UsageError, match="policy 'lenient' is unknown; expected one of parity, strict"):
        summarise({}, "lenient", DIAGONAL)


def test_a_summary_cannot_be_changed() -> None:
    summary = summary_of("strict", "found")
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.dice = 1.0  # type: ignore[misc]
