"""`synthct try-out`: the real command in a real process, against a platform that listens on this machine."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_volume, save_case
from commands.command_line import PROGRAM, Outcome, files_below, synthct
from commands.limb_cases import limb, save_limb, save_platform_input
from platform_server import TOKEN, PlatformServer, make_certificate, running_platform, socket_of

from synthct.cli.try_out import try_out as command
from synthct.errors import ContractError, InputError, UsageError
from synthct.volume import read_volume, write_volume


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def platform(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[PlatformServer]:
    with running_platform(*certificate) as running:
        running.sct = write_volume(limb().reference, tmp_path / "made-there.mha").read_bytes()
        yield running


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return save_limb(tmp_path / "data" / "1EXA001", suffix=".nii.gz")


@pytest.fixture
def options(platform: PlatformServer, certificate: tuple[Path, Path], tmp_path: Path) -> list[str | Path]:
    return ["--output", tmp_path / "out", "--url", platform.url, "--ca-certificate", certificate[0]]


@pytest.fixture
def here(
    platform: PlatformServer, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The options of a command that runs in this process; its jobs are done at the first look."""
    monkeypatch.setenv("GRAND_CHALLENGE_AUTHORIZATION", TOKEN)
    platform.statuses = ["Succeeded"]
    return {"output": tmp_path / "out", "url": platform.url, "ca_certificate": certificate[0], "yes": True}


def try_out(*arguments: str | Path, token: str = TOKEN) -> Outcome:
    return synthct("try-out", "our-sct", *arguments, GRAND_CHALLENGE_AUTHORIZATION=token)


def test_a_case_goes_there_and_its_sct_comes_back(
    platform: PlatformServer, case: Path, options: list[str | Path], tmp_path: Path
) -> None:
    outcome = try_out(case, *options, "--yes")
    assert outcome.code == 0, outcome.err
    (pk, inputs), *others = platform.jobs.items()
    assert others == []
    assert inputs == {
        "mri-image": ("mr.nii.gz", (case / "mr.nii.gz").read_bytes()),
        "body": ("mask.nii.gz", (case / "mask.nii.gz").read_bytes()),
        "region": "Extremity",
    }
    path = tmp_path / "out" / "1EXA001.mha"
    assert path.read_bytes() == platform.sct
    assert files_below(tmp_path / "out") == ["1EXA001.mha"]
    first, second = outcome.out.splitlines()
    assert first == f"{path}: sCT of 1EXA001 by our-sct"
    job_url = re.escape(f"{platform.origin}/algorithms/our-sct/jobs/{pk}/")
    assert re.fullmatch(rf"{job_url}: \d+ s in all \(exec PT1M30S\)", second)
    said = outcome.err.splitlines()
    assert said[0].startswith("leaving this machine, file names and headers included: mr.nii.gz (")
    assert re.search(r"mr\.nii\.gz \(\d+\.\d kB\), mask\.nii\.gz \(\d+\.\d kB\), the region", said[0])
    assert said[0].endswith(f"the region 'Extremity' of case 1EXA001, to algorithm our-sct (Our sCT) at {platform.url}")
    assert said[1] == f"job {pk} is started"
    assert [line.split(" (")[0] for line in said[2:]] == ["Queued", "Started", "Succeeded"]
    assert TOKEN not in outcome.out + outcome.err
    keyed = [request for request in platform.requests if "/api/v1/gcapi/" not in request.path]
    assert {request.authorization for request in keyed if request.method != "PUT"} == {f"BEARER {TOKEN}"}
    assert [request.authorization for request in platform.told("PUT", "^/storage/")] == [None, None]


def test_a_platform_folder_with_a_token_file_and_a_region_of_its_own(
    platform: PlatformServer, options: list[str | Path], tmp_path: Path
) -> None:
    platform.statuses = ["Succeeded"]
    source = save_platform_input(tmp_path / "input", region=None)
    token = tmp_path / "token"
    token.write_text(f"Bearer {TOKEN}\n")
    outcome = try_out(source, *options, "--yes", "--region", "HN", "--token-file", token, token="other")  # noqa: S106
    assert outcome.code == 0, outcome.err
    (inputs,) = platform.jobs.values()
    assert inputs["region"] == "Head and Neck"
    assert inputs["mri-image"] == ("scan-of-mri.mha", (source / "images/mri/scan-of-mri.mha").read_bytes())
    assert files_below(tmp_path / "out") == ["scan-of-mri.mha"]


def test_an_earlier_job_is_fetched_and_nothing_is_sent(
    platform: PlatformServer, case: Path, options: list[str | Path], tmp_path: Path
) -> None:
    platform.statuses = ["Started"]
    outcome = try_out(case, *options, "--yes", "--wait", "0.1")
    (pk,) = platform.jobs
    assert outcome.code == 1
    assert outcome.reason.startswith(
        f"error: job {pk} is Started after 0.1 s and goes on; fetch it with: synthct try-out"
    )
    again = outcome.reason.partition("fetch it with: synthct ")[2].split()
    assert again[-2:] == ["--job", pk]
    assert files_below(tmp_path / "out") == []
    platform.statuses = ["Succeeded"]
    sent = len(platform.told("POST"))
    fetched = synthct(*again, GRAND_CHALLENGE_AUTHORIZATION=TOKEN)
    assert fetched.code == 0, fetched.err
    assert (tmp_path / "out" / "1EXA001.mha").read_bytes() == platform.sct
    assert len(platform.told("POST")) == sent


def test_ctrl_c_says_that_the_job_goes_on(platform: PlatformServer, case: Path, options: list[str | Path]) -> None:
    platform.statuses = ["Started"]
    words = [sys.executable, "-c", PROGRAM, "try-out", "our-sct", *map(str, [case, *options]), "--yes"]
    environment = {**os.environ, "GRAND_CHALLENGE_AUTHORIZATION": TOKEN}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        end = time.monotonic() + 60
        while not platform.looks and time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=30)
    (pk,) = platform.jobs
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith(
        f"error: interrupted; job {pk} goes on; fetch it with: synthct try-out our-sct"
    )
    assert err.splitlines()[-1].endswith(f"--job {pk}")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("reply", "code", "jobs"), [(b"n\n", 1, 0), (b"y\n", 0, 1)])
def test_a_user_at_a_terminal_is_asked(
    reply: bytes, code: int, jobs: int, platform: PlatformServer, case: Path, options: list[str | Path]
) -> None:
    platform.statuses = ["Succeeded"]
    terminal, inner = pty.openpty()
    words = [sys.executable, "-c", PROGRAM, "try-out", "our-sct", *map(str, [case, *options])]
    environment = {**os.environ, "GRAND_CHALLENGE_AUTHORIZATION": TOKEN}
    os.write(terminal, reply)
    result = subprocess.run(
        words, stdin=inner, capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    os.close(terminal)
    os.close(inner)
    assert (result.returncode, len(platform.jobs)) == (code, jobs), result.stderr
    assert "May these data be sent there? [y/N]" in result.stderr
    assert ("error: nothing was sent" in result.stderr) == (code == 1)
    assert len(platform.uploads) == 2 * jobs


def test_nobody_to_ask_and_no_yes_sends_nothing(
    platform: PlatformServer, case: Path, options: list[str | Path]
) -> None:
    outcome = try_out(case, *options)
    assert (outcome.code, platform.requests) == (2, [])
    assert outcome.reason.endswith("nobody can be asked here; expected --yes")


def test_a_failed_job_says_where_its_error_stands(
    platform: PlatformServer, case: Path, options: list[str | Path], tmp_path: Path
) -> None:
    platform.statuses = ["Failed"]
    outcome = try_out(case, *options, "--yes")
    (pk,) = platform.jobs
    page = f"{platform.origin}/algorithms/our-sct/jobs/{pk}/"
    assert outcome.code == 1
    assert outcome.reason == f"error: job {pk} ended as Failed (exec PT1M30S); its error stands at {page}"
    assert files_below(tmp_path / "out") == []


def test_a_sct_of_another_size_is_kept_and_refused(
    platform: PlatformServer, case: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    small = make_volume(np.zeros((12, 40, 39), np.int16), spacing=limb().image.geometry.spacing)
    platform.sct = write_volume(small, tmp_path / "small.mha").read_bytes()
    with pytest.raises(ContractError, match=r"size \(39, 40, 12\) against \(40, 40, 12\).*expected the input's grid"):
        command("our-sct", case, **here)
    assert read_volume(tmp_path / "out" / "1EXA001.mha").geometry.size == (39, 40, 12)


def test_a_sct_that_lies_elsewhere_is_kept_with_a_warning(
    platform: PlatformServer, case: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    made = limb().reference
    moved = make_volume(made.voxels, spacing=made.geometry.spacing, origin=(5.0, 6.0, 7.0))
    platform.sct = write_volume(moved, tmp_path / "moved.mha").read_bytes()
    with pytest.warns(UserWarning, match=r"lies on another grid than .*mr\.nii\.gz: origin \(5, 6, 7\) against"):
        command("our-sct", case, **here)
    assert (tmp_path / "out" / "1EXA001.mha").read_bytes() == platform.sct


def test_what_is_wrong_here_is_said_before_anything_is_asked_there(
    platform: PlatformServer, case: Path, here: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = tmp_path / "two"
    save_case(two / "1EXA002")
    save_case(two / "1EXA003")
    two_files = save_case(tmp_path / "pair" / "1EXA004", suffix=".mhd")
    no_mask = save_case(tmp_path / "bare" / "1EXA005")
    (no_mask / "mask.mha").unlink()
    certificate = {"ca_certificate": case / "mr.nii.gz"}
    wanted: list[tuple[Path, dict[str, Any], type[Exception], str]] = [
        (case, {"url": "http://localhost/"}, UsageError, "is no plain https address"),
        (case, {"region": "knee"}, UsageError, "region 'knee' is unknown"),
        (case, {"job": "../x"}, UsageError, "--job '../x' is no key of a job"),
        (two, {}, InputError, "holds 2 cases; expected the folder of one, such as 1EXA002"),
        (two_files, {}, InputError, "mr.mhd: is one of two files; expected a format of one file"),
        (no_mask, {}, InputError, "case 1EXA005 has no mask"),
        (case, certificate, InputError, "mr.nii.gz: cannot be read .* expected a certificate in PEM"),
    ]
    for source, options, error, reason in wanted:
        with pytest.raises(error, match=reason):
            command("our-sct", source, **{**here, **options})
    monkeypatch.delenv("GRAND_CHALLENGE_AUTHORIZATION")
    with pytest.raises(UsageError, match="holds no token; expected one there or in --token-file: make one on"):
        command("our-sct", case, **here)
    assert platform.requests == []


def test_a_bad_token_is_refused_and_never_shown(
    platform: PlatformServer, case: Path, options: list[str | Path]
) -> None:
    outcome = try_out(case, *options, "--yes", token="s3cret-of-another")  # noqa: S106
    assert outcome.code == 1
    assert (
        "refuses the token (401: Invalid token.); expected a valid one: make one on grand-challenge.org"
        in outcome.reason
    )
    assert "s3cret" not in outcome.out + outcome.err
    assert (platform.uploads, platform.jobs) == ({}, {})


def test_an_algorithm_of_the_other_task_is_refused_before_anything_is_sent(
    platform: PlatformServer, case: Path, here: dict[str, Any]
) -> None:
    platform.interfaces = [[socket_of("cbct-image", "images/cbct"), socket_of("body", "images/body")]]
    with pytest.raises(InputError, match="no interface takes a case"):
        command("our-sct", case, **here)
    assert platform.told("POST") == []


def test_a_job_of_another_algorithm_is_not_fetched(
    platform: PlatformServer, case: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    pk = str(uuid.uuid4())
    platform.jobs[pk] = {}
    platform.job_algorithm = "another"
    with pytest.raises(UsageError, match=f"job {pk} is of another algorithm"):
        command("our-sct", case, **here, job=pk)
    assert files_below(tmp_path / "out") == []
