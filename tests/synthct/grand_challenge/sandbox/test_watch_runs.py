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
    summarise_log([b"z"], tmp_path / "stderr.txt")
    assert (tmp_path / "stderr.txt").read_bytes() == copied


def test_a_later_piece_of_a_log_is_added_to_its_copy(tmp_path: Path) -> None:
    summarise_log([b"one\n"], tmp_path / "stderr.txt")
    summarise_log([b"two\n"], tmp_path / "stderr.txt")
    assert (tmp_path / "stderr.txt").read_text() == "one\ntwo\n"


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


NVIDIA = (
    "/usr/bin/nvidia-smi",
    "/usr/bin/nvidia-cuda-mps-control",
    "/usr/bin/nv-fabricmanager",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.535.129.03",
    "/usr/lib/x86_64-linux-gnu/libcuda.so",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/i386-linux-gnu/libnvidia-ptxjitcompiler.so.535.129.03",
    "/lib/x86_64-linux-gnu/libcudadebugger.so.1",
    "/usr/lib/x86_64-linux-gnu/vdpau/libvdpau_nvidia.so.535.129.03",
    "/usr/lib/x86_64-linux-gnu/libGLESv1_CM_nvidia.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvcuvid.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvoptix.so.1",
    "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so",
    "/usr/lib/firmware/nvidia/535.129.03/gsp_ga10x.bin",
    "/lib/firmware/nvidia/535.129.03/gsp_tu10x.bin",
    "/usr/lib/wsl/lib/libdxcore.so",
    "/run/nvidia-persistenced/socket",
    "/run/nvidia-fabricmanager/socket",
    "/etc/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/nvidia/nvoptix.bin",
    "/etc/OpenCL/vendors/nvidia.icd",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf.d/00-nvcr-2214378265.conf",
    "/var/cache/ldconfig/aux-cache",
)
NOT_NVIDIA = (
    "/home/user/.nv/ComputeCache/index",
    "/usr/bin/nvidia-smi/more",
    "/usr/bin/python3",
    "/usr/lib/libcudart.so.12",
    "/usr/lib/python3.11/site-packages/nvidia/cublas/lib/libnvidia-x.so",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/app/libcuda.so.1",
    "/run/other",
    "/etc/ld.so.conf",
    "/usr/share/other/notes.json",
)


@pytest.mark.parametrize("path", NVIDIA)
def test_the_mount_points_of_nvidias_runtime_count_only_without_a_gpu(path: str) -> None:
    folders = [str(parent) for parent in PurePosixPath(path).parents]
    assert written_outside(changes(*folders, path), gpu=True) == ()
    assert written_outside(changes(*folders, path)) == (path,)


@pytest.mark.parametrize("path", NOT_NVIDIA)
def test_a_gpu_excuses_no_other_writes(path: str) -> None:
    assert written_outside(changes("/etc/ld.so.cache", path), gpu=True) == (path,)


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
