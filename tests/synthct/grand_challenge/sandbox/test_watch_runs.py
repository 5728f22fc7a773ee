"""What is read from a log, from the engine's figures and its list of changes, and what a failure must say."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from synthct.grand_challenge.sandbox.algorithm_checks import check_run, judge_failure
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.parcel import Entry, Output
from synthct.grand_challenge.sandbox.runs import RunResult, written_outside
from synthct.grand_challenge.sandbox.verdict import Verdict
from synthct.grand_challenge.sandbox.watch import LogSummary, memory_in_use, summarise_log

RULE = "failure.corrupt-image"


def changes(*paths: str) -> list[dict[str, object]]:
    return [{"Path": path, "Kind": 1} for path in paths]


def verdict_of(result: RunResult) -> tuple[Verdict, str]:
    findings = Findings()
    judge_failure(RULE, result, "corrupt-image, strict", findings)
    (finding,) = findings.of_rule(RULE)
    return finding.verdict, finding.found


def failed(line: str, *entries: Entry, succeeded: bool = False) -> RunResult:
    log = LogSummary(line[:1024], len(line), len(line))
    return RunResult(succeeded, "exit 0 in 1 s" if succeeded else "exit 3", log, 1.0, Output(Path(), entries))


@pytest.mark.parametrize(
    ("chunks", "last", "longest"),
    [
        ([], "", 0),
        ([b"one\ntwo\n"], "two", 3),
        ([b"one\ntw", b"o\n\n  \n"], "two", 3),
        ([b"no end"], "no end", 6),
        ([b"a" * 70_000 + b"\nend"], "end", 70_000),
        ([b"a" * 50_000, b"a" * 50_000 + b"\n"], "a" * 1024, 100_000),
        ([b"caf\xc3\xa9 \xff\n"], "café �", 7),
        ([b"  spread \t out \r\n"], "spread out", 16),
    ],
)
def test_a_log_in_two_numbers(chunks: list[bytes], last: str, longest: int) -> None:
    found = summarise_log(chunks)
    assert (found.last_line, found.longest) == (last, longest)


def test_the_length_of_the_last_line_is_known_though_it_is_cut() -> None:
    assert summarise_log([b"x" * 2000]).last_length == 2000


def test_a_log_is_copied_up_to_a_mebibyte(tmp_path: Path) -> None:
    summarise_log([b"x" * (900 << 10), b"y" * (900 << 10)], tmp_path / "stderr.txt")
    copied = (tmp_path / "stderr.txt").read_bytes()
    assert (len(copied), copied[:1], copied[-1:]) == (1 << 20, b"x", b"y")


@pytest.mark.parametrize(
    ("stats", "used"),
    [
        ({}, None),
        ({"memory_stats": {}}, None),
        ({"memory_stats": {"usage": 1000}}, 1000),
        ({"memory_stats": {"usage": 1000, "stats": {"total_inactive_file": 300, "inactive_file": 9}}}, 700),
        ({"memory_stats": {"usage": 1000, "stats": {"inactive_file": 200}}}, 800),
        ({"memory_stats": {"usage": 100, "stats": {"inactive_file": 200}}}, 0),
    ],
)
def test_memory_without_the_cache_that_can_be_dropped(stats: dict[str, object], used: int | None) -> None:
    assert memory_in_use(stats) == used


def test_what_the_engine_makes_itself_is_not_counted() -> None:
    own = changes(
        "/usr", "/usr/sbin", "/usr/sbin/docker-init", "/opt", "/opt/ml", "/opt/ml/input", "/etc/hosts", "/etc"
    )
    assert written_outside(own) == ()


def test_output_tmp_and_pycache_are_allowed() -> None:
    paths = ("/output", "/tmp", "/tmp/cache/x", "/app", "/app/__pycache__", "/app/__pycache__/a.pyc")  # noqa: S108
    assert written_outside(changes(*paths)) == ()


def test_everything_else_is_named_by_its_innermost_path() -> None:
    found = written_outside(
        changes("/home", "/home/user", "/home/user/.cache", "/home/user/.cache/a", "/var/x", "/outputs")
    )
    assert found == ("/home/user/.cache/a", "/outputs", "/var/x")


@pytest.mark.parametrize(
    "line",
    [
        "error: mri.mha: holds 5 bytes; expected 9",
        "ValueError: file is truncated",
        "cannot read the image",
        "word " * 204,
    ],
)
def test_a_failure_that_says_why_is_what_is_wanted(line: str) -> None:
    verdict, found = verdict_of(failed(line))
    assert verdict is Verdict.PASS
    assert found == line[:200].strip()


@pytest.mark.parametrize(
    "line", ["", "ValueError", "ValueError:", "torch.cuda.OutOfMemoryError", "SystemExit", "x" * 1025]
)
def test_a_failure_that_says_nothing_is_a_fault(line: str) -> None:
    verdict, found = verdict_of(failed(line))
    assert verdict is Verdict.FAIL
    assert "says nothing" in found


def test_a_run_on_a_corrupt_image_must_not_succeed() -> None:
    verdict, found = verdict_of(failed("a line", succeeded=True))
    assert (verdict, found) == (Verdict.FAIL, "exit 0 in 1 s although it must fail")


def test_a_failed_run_must_leave_no_image() -> None:
    left = Entry(PurePosixPath("images/synthetic-ct/half.mha"), "file", 0o644)
    assert verdict_of(failed("a line", left)) == (Verdict.FAIL, "leaves images/synthetic-ct/half.mha")
    empty = Entry(PurePosixPath("images/synthetic-ct"), "folder", 0o755)
    assert verdict_of(failed("a line", empty))[0] is Verdict.PASS


@pytest.mark.parametrize(("longest", "verdict"), [(65_536, Verdict.PASS), (65_537, Verdict.FAIL)])
def test_lines_that_the_platform_drops(longest: int, verdict: Verdict) -> None:
    findings = Findings()
    result = RunResult(True, "exit 0", LogSummary("end", 3, longest), 1.0, Output(Path()))
    assert check_run("run.platform", result, "plain", findings)
    assert [finding.verdict for finding in findings.of_rule("run.log-lines")] == [verdict]
