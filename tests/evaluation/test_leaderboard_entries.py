"""Reading metrics.json files for a ranking: what they are called, and which may not be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.leaderboard import Entry, read_entries
from synthct.errors import InputError, UsageError

CASES = ("1ABA001", "1ABA002")


def save_metrics(folder: Path, *, cases: tuple[str, ...] = CASES, **more: Any) -> Path:
    """Write a metrics.json with a mean MAE and a DICE that is undefined."""
    content = {
        "results": [{"case": case} for case in cases],
        "aggregates": {"mae": {"mean": 50.0}, "DICE": {"mean": None}, "dice_bone": {"mean": 0.5}},
        "protocol": "synthrad2025",
        "segmenter": "tissue",
        "segmenter_weights": None,
        "registration": "none",
        "reference": "ct",
        "scoring_version": 2,
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def names(paths: list[Path], *more: str) -> list[str]:
    return [entry.name for entry in read_entries(paths, more)]


def test_entry_by_hand(tmp_path: Path) -> None:
    folder = save_metrics(tmp_path / "ours", cases=("1HNA001", "1ABA001"), simulated=True, starter=True)
    protocol = {
        "protocol": "synthrad2025",
        "scoring_version": 2,
        "segmenter": "tissue",
        "segmenter_weights": None,
        "registration": "none",
        "reference": "ct",
    }
    means = {"mae": 50.0, "DICE": None}
    counts = {"mae": 0, "DICE": 0}
    expected = Entry("ours", means, protocol, ("1ABA001", "1HNA001"), simulated=True, starter=True, counts=counts)
    assert read_entries([folder]) == read_entries([folder / "metrics.json"]) == [expected]


@pytest.mark.parametrize("flag", [None, False])
def test_what_is_not_said_is_not_marked(tmp_path: Path, flag: bool | None) -> None:
    entry = read_entries([save_metrics(tmp_path / "ours", starter=flag)])[0]
    assert (entry.simulated, entry.starter) == (False, flag)


def test_entries_are_named_after_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unique = save_metrics(tmp_path / "scores" / "lookup-table")
    first, second = save_metrics(tmp_path / "a" / "scores"), save_metrics(tmp_path / "b" / "scores")
    assert names([unique]) == ["lookup-table"]
    assert names([first, unique, second / "metrics.json"]) == ["a/scores", "lookup-table", "b/scores"]
    assert names([first, second], "mine", "theirs") == ["mine", "theirs"]
    monkeypatch.chdir(unique)
    assert names([Path("metrics.json")]) == names([Path()]) == ["lookup-table"]
    with pytest.raises(UsageError, match="1 names for 2 entries"):
        read_entries([first, second], ["mine"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol", "synthrad2023"),
        ("segmenter", "totalsegmentator"),
        ("segmenter_weights", "0123abcd"),
        ("registration", "rigid"),
        ("reference", "ct_def"),
        ("scoring_version", 1),
    ],
)
def test_entries_judged_otherwise_are_refused(tmp_path: Path, key: str, value: str) -> None:
    paths = [save_metrics(tmp_path / "a"), save_metrics(tmp_path / "b"), save_metrics(tmp_path / "c", **{key: value})]
    assert len(read_entries(paths[:2])) == 2
    with pytest.raises(InputError, match=rf"^c was scored with {key} {value}, a with "):
        read_entries(paths)


def test_entries_on_other_cases_are_refused(tmp_path: Path) -> None:
    ours = save_metrics(tmp_path / "ours")
    assert len(read_entries([ours, save_metrics(tmp_path / "order", cases=CASES[::-1])])) == 2
    fewer = save_metrics(tmp_path / "fewer", cases=CASES[:1])
    with pytest.raises(InputError, match=r"fewer was scored on 1 cases, ours on 2; .*1ABA002"):
        read_entries([ours, fewer])
    others = save_metrics(tmp_path / "others", cases=("1ABA001", "1ABA003"))
    with pytest.raises(InputError, match=r"others was scored on 2 cases, ours on 2; .*1ABA002, 1ABA003"):
        read_entries([ours, others])


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_counts_as_missing(tmp_path: Path, value: str) -> None:
    path = save_metrics(tmp_path / "ours") / "metrics.json"
    path.write_text(path.read_text().replace('{"mean": 50.0}', f'{{"mean": {value}}}'))
    assert read_entries([path])[0].means == {"mae": None, "DICE": None}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"aggregates": {}}',
        '{"aggregates": {"mae": 50.0}, "results": []}',
        '{"aggregates": {"mae": {"mean": "50"}}, "results": []}',
        '{"aggregates": {"mae": {"mean": true}}, "results": []}',
        '{"aggregates": {}, "results": [{"mae": 50.0}]}',
    ],
)
def test_what_is_no_metrics_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"metrics\.json: is no metrics\.json of synthct evaluate"):
        read_entries([path])


AGGREGATES = {
    "mae": {"mean": None},
    "mae_strict": {"mean": 60.0},
    "ssim": {"mean": 0.9},
    "DICE": {"mean": 0.5},
    "DICE_strict": {"mean": None},
    "HD95": {"mean": 0.0},
    "HD95_strict": {"mean": 45.0},
    "dice_bone": {"mean": 0.5},
}


def test_strict_scores_stand_under_the_official_names(tmp_path: Path) -> None:
    folder = save_metrics(tmp_path / "ours", aggregates=AGGREGATES)
    official = {"mae": None, "ssim": 0.9, "DICE": 0.5, "HD95": 0.0}
    assert read_entries([folder])[0].means == read_entries([folder], scores="official")[0].means == official
    # ssim has no strict value and keeps its own; a strict value that is null is not filled up with the official one.
    strict = {"mae": 60.0, "ssim": 0.9, "DICE": None, "HD95": 45.0}
    assert read_entries([folder], scores="strict")[0].means == strict


def test_metrics_with_failures_are_refused(tmp_path: Path) -> None:
    whole = save_metrics(tmp_path / "whole", failures=[])
    assert len(read_entries([whole])) == 1
    failures = [{"case": "1ABA003", "reason": "it has another size"}, {"case": None, "reason": "x.mha: no case id"}]
    partial = save_metrics(tmp_path / "partial", failures=failures)
    for scores in ("official", "strict"):
        with pytest.raises(InputError, match=r"partial/metrics\.json: has 2 failures \(1ABA003, a file without"):
            read_entries([whole, partial], scores=scores)


def test_flagged_geometry_is_refused_under_strict_alone(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"case": "1ABA001", "geometry_differs": None},
        {"case": "1ABA002", "geometry_differs": "origin (1, 2, 3)"},
    ]
    folder = save_metrics(tmp_path / "ours", results=rows)
    assert read_entries([folder])[0].cases == CASES
    with pytest.raises(InputError, match=r"ours/metrics\.json: the sCT of 1ABA002 lies on another grid than its CT"):
        read_entries([folder], scores="strict")
    rows[1]["geometry_differs"] = None
    assert read_entries([save_metrics(tmp_path / "ours", results=rows)], scores="strict")[0].cases == CASES


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read \(No such file"):
        read_entries([tmp_path])


def test_a_mean_over_fewer_cases_is_no_value(tmp_path: Path) -> None:
    honest = save_metrics(
        tmp_path / "honest", aggregates={"DICE_strict": {"mean": 0.4, "count": 2}, "DICE": {"mean": 0.4}}
    )
    spoilt = save_metrics(
        tmp_path / "spoilt", aggregates={"DICE_strict": {"mean": 0.9, "count": 1}, "DICE": {"mean": 0.9}}
    )
    entries = read_entries([honest, spoilt], scores="strict")
    assert [entry.means["DICE"] for entry in entries] == [0.4, None]


def test_structures_that_one_entry_alone_lacks_are_told_under_strict(tmp_path: Path) -> None:
    few, many = (
        save_metrics(tmp_path / name, aggregates={"mae": {"mean": 1.0}, "n_missed_small": {"mean": mean}})
        for name, mean in (("few", 0.5), ("many", 2.0))
    )
    assert [entry.excused for entry in read_entries([few, many])] == [0.5, 2.0]
    with pytest.warns(UserWarning, match="many lacks 2 small or cut structures per case, others fewer"):
        read_entries([few, many], scores="strict")


@pytest.mark.parametrize(
    "text", ['{"aggregates": ' + "[" * 100_000, '{"aggregates": {"mae": {"mean": 1' + "0" * 400 + "}}}"]
)
def test_numbers_and_nesting_without_bounds_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json: is no metrics\.json of synthct evaluate"):
        read_entries([tmp_path])


def test_values_that_no_measurement_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    rows = [{"case": "a", "mae": 1e308}, {"case": "b", "mae": 1e308}]
    path.write_text(json.dumps({"results": rows, "aggregates": {"mae": {"mean": 1e308, "count": 2}}}))
    with pytest.raises(InputError, match=r"mae is 1e\+308; expected a measurement of at most 1e\+09"):
        read_entries([path])
