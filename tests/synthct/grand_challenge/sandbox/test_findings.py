"""From single findings to a table, JSON and one verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from synthct.grand_challenge.sandbox.cases import CASE_NAMES
from synthct.grand_challenge.sandbox.findings import Findings, LargestCase, Report
from synthct.grand_challenge.sandbox.rules import RULES
from synthct.grand_challenge.sandbox.table import HEADINGS, table_lines, table_rows
from synthct.grand_challenge.sandbox.verdict import Verdict

ROOT = Path(__file__).resolve().parents[4]


def report(findings: Findings, largest: LargestCase | None = None) -> Report:
    return Report("image:tag", "algorithm", "exec", findings.all(), largest)


def test_passes_of_many_runs_are_one_line() -> None:
    findings = Findings()
    for case in ("plain", "oblique", "largest"):
        findings.passed("output.type", "int16", case)
    assert [finding.found for finding in findings.all()] == ["int16 (3 runs)"]


def test_one_broken_run_outweighs_all_that_passed() -> None:
    findings = Findings()
    findings.passed("output.type", "int16", "plain")
    findings.broken("output.type", "float64", "oblique")
    findings.skipped("output.type", "not looked at", "largest")
    (finding,) = findings.all()
    assert (finding.verdict, finding.case) == (Verdict.FAIL, "oblique")


def test_findings_stand_in_the_order_of_the_rules() -> None:
    findings = Findings()
    for rule in reversed(RULES):
        findings.passed(rule, "seen")
    assert [finding.id for finding in findings.all()] == list(RULES)


def test_the_rule_decides_between_fault_and_refusal() -> None:
    findings = Findings()
    assert not findings.judge("output.size", "other", kept=False)
    assert not findings.judge("output.geometry", "other", kept=False)
    assert findings.judge("output.type", "int16", kept=True)
    found = {finding.id: finding.verdict for finding in findings.all()}
    assert found == {
        "output.size": Verdict.REFUSED,
        "output.geometry": Verdict.FAIL,
        "output.type": Verdict.PASS,
    }


def test_a_view_without_refusals_gathers_faults_into_the_same_findings() -> None:
    findings = Findings()
    view = findings.without_refusals()
    view.broken("output.size", "in the view", "nii-gz")
    view.passed("output.type", "int16", "nii-gz")
    findings.broken("output.format", ".nii")
    found = {finding.id: finding.verdict for finding in findings.all()}
    assert found == {"output.format": Verdict.REFUSED, "output.size": Verdict.FAIL, "output.type": Verdict.PASS}


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    findings = Findings()
    findings.broken("output.readable", "caf\udce9.mha é (600)")
    (finding,) = findings.all()
    assert finding.found == "caf\\udce9.mha é (600)"
    assert "\n".join(table_lines(report(findings))).encode("utf-8")


def test_an_unknown_rule_is_no_rule() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        Findings().passed("nonsense", "x")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ((), Verdict.PASS),
        (("output.geometry",), Verdict.FAIL),
        (("output.geometry", "output.size"), Verdict.REFUSED),
        (("image.user",), Verdict.REFUSED),
    ],
)
def test_the_worst_verdict_counts(rules: tuple[str, ...], verdict: Verdict) -> None:
    findings = Findings()
    findings.passed("run.platform", "exit 0")
    findings.skipped("case.largest", "left out")
    for rule in rules:
        findings.broken(rule, "broken")
    assert report(findings).verdict is verdict


def test_the_summary_counts_rules_and_names_the_broken_ones() -> None:
    findings = Findings()
    findings.passed("run.platform", "exit 0")
    findings.broken("output.geometry", "a", "plain")
    findings.broken("output.geometry", "b", "oblique")
    findings.broken("image.user", "root")
    findings.skipped("case.largest", "left out")
    text = report(findings).summary()
    assert text == "image:tag: 1 pass, 1 fail, 1 would be refused, 1 not checked (image.user, output.geometry)"


def test_a_row_names_the_first_run_and_a_few_others() -> None:
    findings = Findings()
    for number in range(6):
        findings.broken("output.geometry", f"origin {number}", f"case-{number}")
    ((verdict, rule, found, expected, reason),) = table_rows(report(findings))
    assert (verdict, rule) == ("fail", "output.geometry")
    assert found == "case-0: origin 0; also case-1; case-2; case-3 and 2 more"
    assert expected == RULES[rule].expected
    assert reason.startswith("CONTRACT 1.5")


def test_plain_lines_are_aligned_and_give_the_reason() -> None:
    findings = Findings()
    findings.passed("image.user", "USER someone")
    findings.broken("output.one-image", "2 images", "plain")
    head, first, second = table_lines(report(findings))
    assert head.split()[:3] == list(HEADINGS[:3])
    assert first.index("image.user") == second.index("output.one-image") == head.index("check")
    assert first.endswith("[CONTRACT 2.1: USER]")
    assert "(expected exactly one image below images/synthetic-ct)" in second
    assert "expected" not in first


def test_json_has_the_shape_that_is_promised() -> None:
    findings = Findings()
    findings.broken("output.type", "float64\nand more", "plain, strict")
    content = report(findings, LargestCase(12.0, 3 << 30, None, 600.0, 16 << 30)).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == {
        "image": "image:tag",
        "kind": "algorithm",
        "api": "exec",
        "checks": [
            {
                "id": "output.type",
                "verdict": "fail",
                "found": "float64 and more",
                "expected": "int16",
                "reason": "CONTRACT 1.5: MET_SHORT",
                "case": "plain, strict",
            }
        ],
        "largest": {
            "seconds": 12.0,
            "peak_memory_bytes": 3 << 30,
            "peak_gpu_memory_bytes": None,
            "share_of_budget": 0.02,
            "share_of_memory": 0.1875,
        },
        "verdict": "fail",
    }


def test_memory_that_was_never_seen_has_no_share() -> None:
    content = LargestCase(1.0, None, None, 600.0, 1 << 30).to_json()
    assert (content["peak_memory_bytes"], content["share_of_memory"]) == (None, None)


def test_every_case_has_its_rule() -> None:
    of_cases = {rule.removeprefix("case.") for rule in RULES if rule.startswith("case.")}
    assert of_cases == {*CASE_NAMES, "largest"}


def test_the_guide_lists_every_rule_with_its_reason() -> None:
    text = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9.-]+)` \|.*\| (CONTRACT [^|]+) \|$", text, re.MULTILINE))
    assert rows == {rule.id: rule.reason for rule in RULES.values()}
