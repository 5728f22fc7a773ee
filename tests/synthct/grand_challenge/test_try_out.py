"""The platform seen through gcapi: which sockets a case goes into, and every way in which it can go wrong there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import save_case, save_image
from platform_server import BODY, MR, REGION, SCT, TOKEN, PlatformServer, make_certificate, running_platform, socket_of

from synthct.anatomy import Region, Task
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import ContractError, InputError, SynthCTError, UsageError
from synthct.grand_challenge.api_client import UnreachableError
from synthct.grand_challenge.try_out import Platform, Sockets, connect, match_sockets

SOCKETS = Sockets("mri-image", "body", "region")
CBCT = socket_of("cbct-image", "images/cbct")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[PlatformServer]:
    with running_platform(*certificate) as running:
        running.sct = save_image(tmp_path / "made-there.mha").read_bytes()
        running.statuses = ["Succeeded"]
        yield running


@pytest.fixture
def platform(server: PlatformServer, certificate: tuple[Path, Path]) -> Iterator[Platform]:
    with connect(TOKEN, server.url, certificate[0]) as connected:
        yield connected


@pytest.fixture
def case(tmp_path: Path) -> CaseFiles:
    return find_cases(save_case(tmp_path / "1ABA001"))[0]


def algorithm(*interfaces: list[dict[str, Any]]) -> Any:
    """What gcapi makes of an algorithm's description, as far as the matching reads it."""
    described = [SimpleNamespace(inputs=[SimpleNamespace(**entry) for entry in inputs]) for inputs in interfaces]
    return SimpleNamespace(slug="our-sct", interfaces=described)


def wait(platform: Platform, pk: str, **options: Any) -> Any:
    """Wait as the command does; what it would tell its user is dropped."""
    return platform.wait(
        pk, of=platform.algorithm("our-sct"), **{"limit": 5, "again": "AGAIN", "notice": lambda *_: None, **options}
    )


@pytest.mark.parametrize(
    ("interfaces", "task", "with_region", "expected"),
    [
        ([[MR, BODY, REGION]], Task.MRI, True, SOCKETS),
        ([[REGION, BODY, CBCT]], Task.CBCT, True, Sockets("cbct-image", "body", "region")),
        ([[MR, BODY]], Task.MRI, True, Sockets("mri-image", "body", None)),
        ([[MR, BODY], [MR, BODY, REGION]], Task.MRI, True, SOCKETS),
        ([[MR, BODY, REGION], [MR, BODY]], Task.MRI, False, Sockets("mri-image", "body", None)),
        ([[CBCT, BODY], [MR, BODY]], Task.MRI, True, Sockets("mri-image", "body", None)),
        # other paths: the slug's words tell
        (
            [[socket_of("t1-mr", "images/scan"), socket_of("body-mask-mr", "images/outline"), REGION]],
            Task.MRI,
            True,
            Sockets("t1-mr", "body-mask-mr", "region"),
        ),
        # the path goes before the slug: this one is named after the other task
        ([[socket_of("cbct-image", "images/mri"), BODY]], Task.MRI, True, Sockets("cbct-image", "body", None)),
    ],
)
def test_a_case_goes_into_the_interface_that_fits(
    interfaces: list[list[dict[str, Any]]], task: Task, with_region: bool, expected: Sockets
) -> None:
    assert match_sockets(algorithm(*interfaces), task, with_region=with_region) == expected


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [MR],
        [MR, REGION],
        [CBCT, BODY],
        [MR, BODY, REGION, socket_of("age", "age.json", "Value", "Integer")],
        [MR, socket_of("second-mr", "images/second"), BODY],
        [socket_of("mri-image", "images/mri", kind="DICOM Image Set"), BODY],
        [MR, BODY, socket_of("region-map", "images/region-map")],
    ],
)
def test_an_interface_that_does_not_fit_is_described(inputs: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError) as caught:
        match_sockets(algorithm(inputs), Task.MRI, with_region=True)
    for entry in inputs:
        assert f"{entry['slug']} ({entry['relative_path']}, {entry['super_kind']})" in str(caught.value)
    assert str(caught.value).endswith("expected images/mri, images/body and, at will, region.json")


def test_an_unknown_region_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"wants a region.*expected --region"):
        match_sockets(algorithm([MR, BODY, REGION]), Task.MRI, with_region=False)


def test_a_large_file_arrives_whole_in_its_parts(platform: Platform, server: PlatformServer, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(2 * 66 * 512 * 512)  # cannot be compressed below one part of 32 MiB
    image = save_image(tmp_path / "mr.mha", np.frombuffer(noise, np.int16).reshape(66, 512, 512))
    mask = save_image(tmp_path / "mask.mha")
    pk = platform.start(platform.algorithm("our-sct"), CaseFiles("x", Task.MRI, Region.HEAD_NECK, image, mask), SOCKETS)
    name, content = server.jobs[pk]["mri-image"]
    parts = [sorted(parts) for upload, parts in server.uploads.values() if upload == "mr.mha"]
    assert parts == [[1, 2]]
    assert (name, content == image.read_bytes()) == ("mr.mha", True)
    assert server.jobs[pk]["region"] == "Head and Neck"


def test_a_job_is_watched_to_its_end_and_its_sct_fetched(
    platform: Platform, server: PlatformServer, case: CaseFiles, tmp_path: Path
) -> None:
    server.statuses = ["Queued", "Queued", "Succeeded"]
    told: list[str] = []
    pk = platform.start(platform.algorithm("our-sct"), case, SOCKETS)
    job = wait(platform, pk, notice=lambda status, seconds: told.append(status))
    assert told == ["Queued", "Succeeded"]
    sct = platform.download(job, tmp_path / "1ABA001.mha")
    assert (sct.path, sct.geometry.size) == (tmp_path / "1ABA001.mha", (5, 4, 3))
    assert (tmp_path / "1ABA001.mha").read_bytes() == server.sct


@pytest.mark.parametrize(
    ("request_line", "answer", "error", "message"),
    [
        ("GET .*/algorithms/", (401, {"detail": "Invalid token."}), SynthCTError, "refuses the token \\(401: Invalid"),
        ("POST .*/jobs/", (403, {"detail": "No permission."}), SynthCTError, "refuses the token \\(403: No permission"),
        (
            "POST .*/jobs/",
            (400, {"non_field_errors": ["A result for these inputs with the current image and model already exists."]}),
            SynthCTError,
            "has a job of this image with the same inputs .*--job PK",
        ),
        (
            "POST .*/jobs/",
            (400, {"x": ["You have run out of algorithm credits"]}),
            SynthCTError,
            "run out of algorithm",
        ),
        ("POST .*/uploads/", (500, b"<html>"), UnreachableError, "cannot answer now \\(500\\)"),
        ("GET .*/interfaces/", (404, {"detail": "Not found."}), UsageError, "a socket of our-sct is unknown"),
        ("PUT /storage/.*", (403, b"<Error>AccessDenied</Error>"), SynthCTError, "its storage refused a file"),
        ("GET .*/algorithms/", (200, {"count": 1, "results": [{"pk": 1}]}), SynthCTError, "gcapi does not understand"),
    ],
)
def test_a_refusal_is_one_line_without_the_token(
    request_line: str,
    answer: tuple[int, Any],
    error: type[SynthCTError],
    message: str,
    platform: Platform,
    server: PlatformServer,
    case: CaseFiles,
) -> None:
    server.refusals[request_line] = answer
    with pytest.raises(error, match=message) as caught:
        platform.start(platform.algorithm("our-sct"), case, SOCKETS)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert server.jobs == {}


def test_an_unknown_slug_and_an_unknown_job(platform: Platform) -> None:
    with pytest.raises(UsageError, match=r"algorithm 'other' is unknown to this token's user; expected the last part"):
        platform.algorithm("other")
    with pytest.raises(UsageError, match="job '1-2' is unknown to this token's user"):
        wait(platform, "1-2")


def test_a_short_failure_is_outlived_and_a_long_one_is_not(
    platform: Platform, server: PlatformServer, case: CaseFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = platform.algorithm("our-sct")
    pk = platform.start(algorithm, case, SOCKETS)
    usual = server.answer
    failures = [502, 503, 500]  # gcapi asks again after the first two; the third ends that look

    def answer(request: Any) -> Any:
        return (failures.pop(0), b"") if failures and pk in request.path else usual(request)

    monkeypatch.setattr(server, "answer", answer)
    assert wait(platform, pk).pk == pk
    assert failures == []
    server.refusals["GET .*/jobs/.*"] = (500, b"")
    with pytest.raises(UnreachableError, match=f"cannot answer now.*job {pk} goes on; fetch it with: AGAIN"):
        wait(platform, pk, patience=0.2)
    with pytest.raises(SynthCTError, match=f"job {pk} is unknown after 0 s and goes on; fetch it with: AGAIN"):
        wait(platform, pk, limit=0)


def test_a_server_that_asks_to_come_back_much_later_is_not_waited_for(
    platform: Platform, server: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda _: (503, b"", {"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"cannot answer now \(503\)"):
        platform.algorithm("our-sct")
    assert time.monotonic() - began < 5


def test_outputs_that_are_no_sct(platform: Platform, server: PlatformServer, case: CaseFiles, tmp_path: Path) -> None:
    pk = platform.start(platform.algorithm("our-sct"), case, SOCKETS)
    target = tmp_path / "out" / "1ABA001.mha"
    server.sct = server.sct[:-9]
    with pytest.raises(ContractError, match="its sCT cannot be read: it: ") as caught:
        platform.download(wait(platform, pk), target)
    assert ".partial" not in str(caught.value)
    server.sct_name = "output.tif"
    with pytest.raises(ContractError, match=re.escape("its sCT is output.tif; expected one .mha")):
        platform.download(wait(platform, pk), target)
    server.outputs = [socket_of("a", "images/a"), socket_of("b", "images/b")]
    with pytest.raises(ContractError, match=r"has outputs a \(images/a\), b \(images/b\); expected one image"):
        platform.download(wait(platform, pk), target)
    server.outputs = [REGION]
    with pytest.raises(ContractError, match=r"has outputs region \(region.json\); expected one image"):
        platform.download(wait(platform, pk), target)
    assert not target.exists()


@pytest.mark.parametrize(
    "outputs", [[socket_of("spread", "images/spread"), SCT], [socket_of("ct", "images/ct"), REGION]]
)
def test_the_sct_is_found_by_its_path_or_as_the_only_image(
    outputs: list[dict[str, Any]], platform: Platform, server: PlatformServer, case: CaseFiles, tmp_path: Path
) -> None:
    server.outputs = outputs
    pk = platform.start(platform.algorithm("our-sct"), case, SOCKETS)
    assert platform.download(wait(platform, pk), tmp_path / "sct.mha").geometry.size == (5, 4, 3)
