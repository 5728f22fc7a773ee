"""The report of the ablation program, from rows that are made up."""

from __future__ import annotations

from typing import Any

from benchmarks.ablation_arms import ARMS
from benchmarks.ablation_report import BEGIN, COMPARISONS, END, METRICS, make_report, put_between_marks

CASES = [f"1EXA{number:03d}" for number in range(8)]
RECORD: dict[str, Any] = {
    "iterations": 500,
    "folds": 2,
    "threads": 1,
    "patch": [16, 64, 64],
    "features": [8, 16],
    "cases": CASES,
    "extractor": {"sha256": "abc", "random": False, "trained_on": "3 phantoms", "layers": ["encoder.0"]},
}


def run(arm: str, fold: int, seconds: float | None = 60.0, digest: str | None = None, **values: Any) -> dict[str, Any]:
    rows = []
    for number, case in enumerate(CASES[4 * fold : 4 * fold + 4]):
        row: dict[str, Any] = {metric.name: 1.0 + number for metric in METRICS}
        rows.append({"case": case, **row, **values})
    return {"arm": arm, "fold": fold, "seconds": seconds, "extractors": [digest] if digest else [], "rows": rows}


def both(arm: str, **values: Any) -> list[dict[str, Any]]:
    return [run(arm, fold, **values) for fold in (0, 1)]


def lines_of(report: str, start: str) -> list[str]:
    return [line for line in report.splitlines() if line.startswith(start)]


def test_means_and_budget() -> None:
    report = make_report(RECORD, [run("l1", 0, seconds=50), run("l1", 1, seconds=70)])
    assert report.startswith(
        "8 cases, 2 folds, 2 runs; 500 iterations a run, batch 1, patch 16 x 64 x 64, features 8 x 16, AdamW, "
        "one seed; 1 CPU thread.\nExtractor: sha256 `abc`, trained on 3 phantoms; layers encoder.0."
    )
    # values 1 to 4 in both folds
    assert lines_of(report, "| l1:") == [
        "| l1: L1 (residual, trilinear) | 8 | 2.5 | 2.500 | 2.50 | 2.500 | 2.5 | 2.5 | 2.500 | 2.500 | 2.500 | 60 |"
    ]
    assert "less" not in report.partition("† ")[0]  # nothing to compare with


def test_verdicts_follow_the_metric() -> None:
    """One unit less everywhere: good for distances, bad for overlap, neither for the index."""
    less = [run("plain", fold) for fold in (0, 1)]
    for part in less:
        part["rows"] = [row | {metric.name: row[metric.name] - 1 for metric in METRICS} for row in part["rows"]]
    report = make_report(RECORD, both("l1") + less)
    assert "**plain less l1** (L1, plain U-Net, against: L1 (residual, trilinear))" in report
    assert "| MAE, HU | -1.0 | -1.0 to -1.0 | 8 | better |" in report
    assert "| Dice of bone † | -1.000 | -1.000 to -1.000 | 8 | worse |" in report
    assert "| HD95 of bone, mm | -1.00 | -1.00 to -1.00 | 8 | better |" in report
    assert "| nsd_surfel of bone | -1.000 | -1.000 to -1.000 | 8 | worse |" in report
    assert "| checkerboard index ‡ | -1.000 | -1.000 to -1.000 | 8 | lower |" in report


def test_equal_arms_show_no_difference() -> None:
    report = make_report(RECORD, both("l1") + both("l1-again"))
    assert len(lines_of(report, "| ")) == 1 + 2 + 1 + len(METRICS)
    assert report.count("| no difference shown |") == len(METRICS)


def test_one_fold_alone_is_too_few_for_a_verdict() -> None:
    report = make_report(RECORD, [run("l1", 0, mae=10.0), run("afp", 0, mae=5.0, digest="abc")])
    assert "| MAE, HU | -5.0 | -5.0 to -5.0 | 4 | no difference shown |" in report


def test_null_values_are_counted() -> None:
    lacking = run("l1", 0, hd95_bone=None)
    report = make_report(RECORD, [lacking, run("l1", 1), *both("hybrid")])
    assert "2.50 (4 without)" in lines_of(report, "| l1:")[0]
    assert "| HD95 of bone, mm | +0.00 | +0.00 to +0.00 | 4 (4 left out) | no difference shown |" in report
    nothing = make_report(RECORD, both("l1", hd95_bone=None, seconds=None) + both("hybrid"))
    assert "| HD95 of bone, mm | - | - | 0 (8 left out) | no difference shown |" in nothing
    assert lines_of(nothing, "| l1:")[0].endswith("| - |")


def test_the_arms_of_spade_are_said_to_be_another_system() -> None:
    words = "Arms spade-*: networks, losses (10 L1) and Adam of spade-afp's preset starter; no plan"
    assert words not in make_report(RECORD, both("l1"))
    report = make_report(RECORD, both("spade-l1") + both("spade-l1-afp", mae=9.0))
    assert words in report
    assert "**spade-l1-afp less spade-l1** (SPADE GAN, L1 + AFP, against: SPADE GAN, L1)" in report


def test_random_extractors_are_named_everywhere() -> None:
    runs = both("l1") + both("afp", digest="abc") + both("afp-random", digest="f00")
    trained = make_report(RECORD, runs)
    assert "The RANDOM extractor has the same shape: sha256 `f00`." in trained
    assert "| afp-random: 5 L1 + AFP from scratch, RANDOM extractor |" in trained
    assert "| afp: 5 L1 + AFP from scratch |" in trained
    title = "(5 L1 + AFP from scratch, against: 5 L1 + AFP from scratch, RANDOM extractor)"
    assert f"**afp less afp-random** {title}" in trained
    untrained = make_report(RECORD | {"extractor": RECORD["extractor"] | {"random": True}}, runs)
    assert "sha256 `abc`, RANDOM weights" in untrained
    assert "| afp: 5 L1 + AFP from scratch, RANDOM extractor |" in untrained
    assert "RANDOM extractor, RANDOM" not in untrained
    assert "RANDOM" not in make_report(RECORD | {"extractor": None}, both("l1"))


def test_every_arm_is_compared() -> None:
    compared = {arm for arm, _ in COMPARISONS}
    assert compared == set(ARMS) - {"l1"}
    assert ("spade-l1-afp", "spade-l1") in COMPARISONS
    runs = [one for arm in ARMS for one in both(arm)]
    assert make_report(RECORD, runs).count(" less ") == len(COMPARISONS)


def test_the_page_around_the_figures_is_kept() -> None:
    page = f"# Title\n\nWords.\n\n{BEGIN}\nold\n{END}\nMore words.\n"
    once = put_between_marks(page, "new\n")
    assert once == f"# Title\n\nWords.\n\n{BEGIN}\n\nnew\n\n{END}\nMore words.\n"
    assert put_between_marks(once, "new") == once
    assert put_between_marks("", "new") == put_between_marks("other words", "new") == f"{BEGIN}\n\nnew\n\n{END}\n"
