"""A run over a few tiny cases on a real crew: no row is lost or mixed up, and the exit code tells the reason."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import save_image

from benchmarks.random_network import write_random_checkpoint
from evaluation.executor import Crew, open_crew
from evaluation.rows import ScoredCase
from evaluation.run import make_metrics, refuse_failures, score_all, write_metrics
from evaluation.scoring import ScoringSettings
from evaluation.segmenters.registry import describe_segmenter
from evaluation.submission import Problem, ScoringCase
from synthct.anatomy import CaseId
from synthct.errors import (
    ContractError,
    InputError,
    MemoryLimitError,
    SynthCTError,
    UsageError,
    WeightsError,
)

CASES = ("1ABA001", "1ABA002", "1HNA001")
SHAPE = (8, 9, 10)
TISSUE = ScoringSettings()
NOTES: dict[str, Any] = {
    "simulated": True,
    "starter": None,
    "registration": "none",
    "reference": "ct",
    "extractors": [],
    "random_features": False,
    "demonstration_only": False,
    "dataset": {"kind": "boxes"},
    "prediction": {"algorithm": "x"},
}
CT = (np.arange(np.prod(SHAPE)) % 997).reshape(SHAPE).astype(np.int16)


@pytest.fixture
def cases(tmp_path: Path) -> list[ScoringCase]:
    """Three cases; the sCT of case n is n x 10 HU too bright everywhere."""
    return [
        ScoringCase(
            CaseId.parse(name),
            ct=save_image(tmp_path / "ct" / f"{name}.mha", CT),
            mask=save_image(tmp_path / "mask" / f"{name}.mha", np.ones(SHAPE, np.uint8)),
            prediction=save_image(tmp_path / "sct" / f"{name}.mha", (CT + 10 * number).astype(np.int16)),
        )
        for number, name in enumerate(CASES, start=1)
    ]


@pytest.fixture
def crew() -> Iterator[Crew]:
    with ThreadPoolExecutor(2) as threads:
        yield Crew(threads, threads=1)


def failures(finished: list[ScoredCase]) -> dict[str, tuple[str, int]]:
    return {each.case: (each.failure, each.exit_code) for each in finished if each.failure is not None}


def test_all_cases_are_scored_in_their_order_and_kept(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    seen = []
    finished = score_all(cases, TISSUE, tmp_path, crew, on_case=lambda case, scored: seen.append((case, scored)))
    assert [(each.case, each.row and each.row["mae"]) for each in finished] == [
        ("1ABA001", 10.0),
        ("1ABA002", 20.0),
        ("1HNA001", 30.0),
    ]
    assert sorted(str(case.id) for case, _ in seen) == list(CASES)
    assert [scored.case for _, scored in seen] == [str(case.id) for case, _ in seen]
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [f"{name}.json" for name in CASES]
    refuse_failures(finished, [])


def test_one_bad_case_does_not_lose_the_others(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    save_image(tmp_path / "sct" / "1ABA002.mha", CT[1:])
    finished = score_all(cases, TISSUE, tmp_path, crew)
    assert [each.case for each in finished] == list(CASES)
    assert list(failures(finished)) == ["1ABA002"]
    reason, code = failures(finished)["1ABA002"]
    assert code == 3
    assert "sct/1ABA002.mha" in reason
    assert "ct/1ABA002.mha" in reason
    assert "\n" not in reason
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["1ABA001.json", "1HNA001.json"]
    with pytest.raises(InputError, match=r"^1 of 3 cases could not be scored; case 1ABA002: .*sct/1ABA002\.mha"):
        refuse_failures(finished, [])


def test_a_file_that_has_gone_is_named(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    (tmp_path / "sct" / "1ABA001.mha").unlink()
    reason, code = failures(score_all(cases, TISSUE, tmp_path, crew))["1ABA001"]
    assert code == 3
    assert "sct/1ABA001.mha: cannot be read (No such file or directory)" in reason


def test_what_nobody_foresaw_is_the_failure_of_its_case(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    finished = score_all(cases[:1], replace(TISSUE, protocol="synthrad2099"), tmp_path, crew)
    reason = "unexpected KeyError: 'synthrad2099' (SYNTHCT_TRACEBACK=1 shows where)"
    assert failures(finished) == {"1ABA001": (reason, 1)}
    with pytest.raises(SynthCTError, match="1 of 1 cases could not be scored; case 1ABA001: unexpected") as caught:
        refuse_failures(finished, [])
    assert caught.value.exit_code == 1


def test_a_second_run_takes_rows_and_warnings_over(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    save_image(tmp_path / "sct" / "1ABA001.mha", CT)
    first = score_all(cases, TISSUE, tmp_path, crew)
    assert first[0].warnings == ("case 1ABA001: psnr is undefined (null), and so is its mean over the cases",)
    row = tmp_path / "rows" / "1ABA001.json"
    row.write_text(row.read_text().replace('"mae": 0.0', '"mae": 777.0'))  # what is taken over carries the mark
    second = score_all(cases, TISSUE, tmp_path, crew)
    assert second[0].row is not None
    assert second[0].row["mae"] == 777.0
    assert second[0].warnings == first[0].warnings
    assert [replace(scored, taken_over=False) for scored in second[1:]] == first[1:]
    assert [scored.taken_over for scored in (*first, *second)] == [False] * len(first) + [True] * len(second)
    other = score_all(cases, replace(TISSUE, nsd_tolerance_mm=3.0), tmp_path, crew)
    assert other[0].row is not None
    assert (other[0].row["mae"], other[0].row["nsd_tolerance_mm"]) == (0.0, 3.0)


def test_a_label_map_that_changes_is_scored_again(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    liver = np.full(SHAPE, 5, np.uint8)
    case = replace(cases[0], segmentation=save_image(tmp_path / "segmentation" / "1ABA001.mha", liver))
    labels = save_image(tmp_path / "labels" / "1ABA001.mha", liver)
    settings = replace(TISSUE, segmenters=(f"precomputed:{labels.parent}",))
    (first,) = score_all([case], settings, tmp_path, crew)
    save_image(labels, liver * 0)
    (second,) = score_all([case], settings, tmp_path, crew)
    assert first.row is not None
    assert second.row is not None
    assert (first.row["DICE"], second.row["DICE"]) == (1.0, 0.0)


def test_processes_give_the_rows_of_threads(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    with open_crew(1) as processes:
        apart = score_all(cases, TISSUE, tmp_path / "a", processes)
    assert apart == score_all(cases, TISSUE, tmp_path / "b", crew)


def test_a_judge_without_weights_ends_the_run_before_it_begins(
    cases: list[ScoringCase], crew: Crew, tmp_path: Path
) -> None:
    settings = replace(TISSUE, segmenters=(f"totalsegmentator:{tmp_path / 'nothing'}",))
    with pytest.raises(WeightsError, match="nothing"):
        score_all(cases, settings, tmp_path / "o", crew)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("code", "kind"), [(2, UsageError), (3, InputError), (4, WeightsError), (5, MemoryLimitError), (6, ContractError)]
)
def test_the_exit_code_is_that_of_the_first_failure(code: int, kind: type[SynthCTError]) -> None:
    finished = [
        ScoredCase("1ABA001", row={"case": "1ABA001"}),
        ScoredCase("1ABA002", failure="it broke", exit_code=code),
        ScoredCase("1ABA003", failure="it broke too", exit_code=1),
    ]
    with pytest.raises(kind) as caught:
        refuse_failures(finished, [])
    assert caught.value.exit_code == code
    assert str(caught.value) == "2 of 3 cases could not be scored; first: case 1ABA002: it broke"


def test_problems_come_first_and_are_input_errors() -> None:
    finished = [ScoredCase("1ABA001", row={}), ScoredCase("1ABA002", failure="no memory", exit_code=5)]
    with pytest.raises(InputError) as caught:
        refuse_failures(finished, [Problem("1ABA003", "case 1ABA003 has no prediction")])
    assert str(caught.value) == "2 of 3 cases could not be scored; first: case 1ABA003 has no prediction"


def test_a_case_counts_once_and_a_nameless_file_by_itself() -> None:
    finished = [ScoredCase("1ABA001", row={}), ScoredCase("1ABA002", row={})]
    twice = [Problem("1ABA003", "job 1 failed"), Problem("1ABA003", "job 2 failed")]
    with pytest.raises(InputError, match=r"^1 of 3 cases could not be scored; first: job 1 failed$"):
        refuse_failures(finished, twice)
    nameless = [Problem(None, "x.mha: no case id"), Problem(None, "y.mha: no case id")]
    with pytest.raises(InputError, match=r"^2 of 4 cases could not be scored; first: x\.mha"):
        refuse_failures(finished, nameless)
    beside_a_row = [Problem("1ABA002", "another job of it failed")]
    with pytest.raises(InputError, match=r"^1 of 2 cases could not be scored; another job of it failed$"):
        refuse_failures(finished, beside_a_row)


def rows(*maes: float | None) -> list[ScoredCase]:
    names = ("1ABA001", "1ABA002", "1HNA001")
    return [
        ScoredCase(name, row={"case": name, "region": name[1:3], "task": "mri", "mae": mae})
        for name, mae in zip(names, maes, strict=False)
    ]


def test_keys_of_metrics() -> None:
    finished = [*rows(10.0, 30.0, 50.0), ScoredCase("1HNA002", failure="it broke", exit_code=3)]
    metrics = make_metrics(finished, [Problem("1HNA003", "no prediction")], TISSUE, NOTES)
    assert list(metrics) == [
        "results", "aggregates", "aggregates_by_region", "protocol",
        "scoring_version", "segmenter", "segmenter_weights", "segmenters",
        "judge_is_extractor", "nsd_tolerance_mm", "registration", "reference", "simulated", "starter",
        "random_features",
        "demonstration_only",
        "failures",
        "manifest",
    ]  # fmt: skip
    assert [row["case"] for row in metrics["results"]] == ["1ABA001", "1ABA002", "1HNA001"]
    assert metrics["aggregates"]["mae"]["mean"] == 30.0
    means = {region: columns["mae"]["mean"] for region, columns in metrics["aggregates_by_region"].items()}
    assert means == {"AB": 20.0, "HN": 50.0}
    assert (metrics["segmenter"], metrics["segmenter_weights"], metrics["protocol"]) == ("tissue", None, "synthrad2025")
    assert metrics["segmenters"] == [{"name": "tissue", "weights": None, "kind": "tissue"}]
    assert (metrics["judge_is_extractor"], metrics["nsd_tolerance_mm"]) == (False, "twice the in-plane voxel")
    assert (metrics["registration"], metrics["reference"]) == ("none", "ct")
    assert (metrics["simulated"], metrics["starter"]) == (True, None)
    assert metrics["failures"] == [
        {"case": "1HNA003", "reason": "no prediction"},
        {"case": "1HNA002", "reason": "it broke"},
    ]
    assert metrics["manifest"]["dataset"] == {"kind": "boxes"}
    assert metrics["manifest"]["prediction"] == {"algorithm": "x"}
    given = make_metrics(finished, [], replace(TISSUE, nsd_tolerance_mm=1.5, protocol="synthrad2023"), NOTES)
    assert (given["nsd_tolerance_mm"], given["protocol"]) == (1.5, "synthrad2023")


def test_several_judges_are_named_in_their_order(tmp_path: Path) -> None:
    judges = (f"precomputed:{tmp_path}", "tissue")
    metrics = make_metrics(rows(1.0), [], replace(TISSUE, segmenters=judges), NOTES)
    assert [judge["name"] for judge in metrics["segmenters"]] == ["precomputed", "tissue"]
    assert (
        metrics["segmenters"][0]["kind"] == metrics["segmenter"] == "precomputed"
    )  # not the path: it differs by machine


def test_a_judge_that_trained_the_model_is_told(tmp_path: Path) -> None:
    settings = replace(TISSUE, segmenters=("tissue", f"nnunet:{write_random_checkpoint(tmp_path, small=True)}"))
    name, weights = describe_segmenter(settings.segmenters[1])
    assert weights is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = make_metrics(rows(1.0), [], settings, {**NOTES, "extractors": ["0123"]})
    assert other["judge_is_extractor"] is False
    assert other["segmenters"][1] == {"name": name, "weights": weights, "kind": "nnunet"}
    with pytest.warns(
        UserWarning, match=f"judge's weights \\({weights[:12]}...\\) are also those of the feature extractor"
    ):
        same = make_metrics(rows(1.0), [], settings, {**NOTES, "extractors": ["0123", weights]})
    assert same["judge_is_extractor"] is True


def test_references_judged_by_other_weights_are_told(tmp_path: Path) -> None:
    spec = f"totalsegmentator:{write_random_checkpoint(tmp_path, small=True)}"
    settings, (_, weights) = replace(TISSUE, segmenters=(spec,)), describe_segmenter(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_metrics(rows(1.0), [], settings, {**NOTES, "dataset": {"segmented_by": [weights]}})
        make_metrics(rows(1.0), [], TISSUE, {**NOTES, "dataset": {"segmented_by": ["f" * 64]}})
    with pytest.warns(UserWarning, match="segmented by weights ffffffffffff, the sCTs are by"):
        make_metrics(rows(1.0), [], settings, {**NOTES, "dataset": {"segmented_by": ["f" * 64]}})


def test_the_file_is_strict_json(cases: list[ScoringCase], crew: Crew, tmp_path: Path) -> None:
    broken = CT.astype(np.float32)
    broken[4, 4, 4] = np.nan
    save_image(tmp_path / "sct" / "1ABA001.mha", CT)
    save_image(tmp_path / "sct" / "1ABA002.mha", broken)
    finished = score_all(cases, TISSUE, tmp_path, crew)
    path = write_metrics(tmp_path, make_metrics(finished, [], TISSUE, NOTES))
    constants: list[str] = []
    content = json.loads(path.read_text(), parse_constant=constants.append)
    assert constants == []
    assert [row["psnr"] is None for row in content["results"]] == [True, True, False]
    assert content["aggregates"]["psnr"]["count"] == 1
    assert content["aggregates"]["psnr_strict"]["count"] == 3
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(tmp_path, {"mae": float("nan")})
    assert json.loads(path.read_text()) == content
