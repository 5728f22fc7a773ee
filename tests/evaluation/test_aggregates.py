"""The summary of a few numbers, by hand."""

from __future__ import annotations

import math

import pytest

from evaluation.aggregates import aggregate


def test_aggregates_by_hand() -> None:
    rows = [
        {"case": "1ABA001", "region": "AB", "task": "mri", "mae": 10.0, "dice": 4.0, "HD95": None},
        {"case": "1ABA002", "region": "AB", "task": "mri", "mae": 60.0, "dice": None, "HD95": None},
        {"case": "1HNA001", "region": "HN", "task": "mri", "mae": 20.0, "dice": 8.0, "HD95": None},
    ]
    columns = aggregate(rows)
    assert list(columns) == ["mae", "dice", "HD95"]
    assert columns["mae"] == {
        "mean": 30.0,
        "max": 60.0,
        "min": 10.0,
        "std": pytest.approx(math.sqrt((20**2 + 30**2 + 10**2) / 3)),
        "25pc": 15.0,
        "50pc": 20.0,
        "75pc": 40.0,
        "count": 3,
    }
    assert columns["dice"] == {
        "mean": 6.0, "max": 8.0, "min": 4.0, "std": 2.0, "25pc": 5.0, "50pc": 6.0, "75pc": 7.0, "count": 2,
    }  # fmt: skip
    assert columns["HD95"] == {**dict.fromkeys(["mean", "max", "min", "std", "25pc", "50pc", "75pc"]), "count": 0}


def test_first_row_without_a_value_hides_no_column() -> None:
    columns = aggregate([{"case": "a", "nsd": None}, {"case": "b", "nsd": 30.0}])
    assert (columns["nsd"]["mean"], columns["nsd"]["std"], columns["nsd"]["count"]) == (30.0, 0.0, 1)


def test_no_rows_have_no_aggregates() -> None:
    assert aggregate([]) == {}


def test_names_flags_and_nested_values_are_no_columns() -> None:
    rows = [
        {"case": "a", "geometry_differs": None, "structures": {"t": {}}, "nsd_tolerance_mm": 2.0, "n_missed": 1},
        {"case": "b", "geometry_differs": "origin", "structures": {}, "nsd_tolerance_mm": 2.0, "n_missed": 0},
    ]
    columns = aggregate(rows)
    assert list(columns) == ["n_missed"]
    assert columns["n_missed"]["mean"] == 0.5


def test_column_that_the_first_row_lacks_is_summarised_too() -> None:
    assert aggregate([{"case": "a"}, {"case": "b", "mae": 3.0}])["mae"]["count"] == 1


def test_one_case_without_a_number_leaves_an_official_column_without_any() -> None:
    rows = [{"mae": 10.0, "mae_strict": 10.0}, {"mae": None, "mae_strict": 3000.0}]
    columns = aggregate(rows)
    assert columns["mae"] == {**dict.fromkeys(["mean", "max", "min", "std", "25pc", "50pc", "75pc"]), "count": 1}
    assert (columns["mae_strict"]["mean"], columns["mae_strict"]["count"]) == (1505.0, 2)


def test_a_summary_beyond_float64_is_null() -> None:
    column = aggregate([{"mae": 1e200}, {"mae": 3e200}])["mae"]
    assert (column["mean"], column["std"], column["count"]) == (2e200, None, 2)
