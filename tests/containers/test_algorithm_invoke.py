"""CONTRACT 6.A.10: one container that serves, and through it what lines 3 and 4 ask of masks and regions."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders import Array
from commands.command_line import files_below
from containers.ramp_cases import expected_sct, ramp_image, ramp_mask, read_sct, save_input, save_ramp
from containers.running import Server, link_input, run_container, running_server

pytestmark = pytest.mark.container

STOP_LIMIT = 5.0
"""Seconds from SIGTERM to the platform's SIGKILL."""
BIG = (50, 512, 512)
REGIONS = {
    "AB": ("Abdomen", "abdomen", "ab"),
    "HN": ("Head and Neck", "head and neck", "HEAD AND NECK", "hn"),
    "TH": ("Thorax", "thorax", "th"),
    "B": ("Brain", "brain", "b"),
    "P": ("Pelvis", "pelvis", "p"),
}
"""Every spelling of CONTRACT 1.2."""


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ramp(tmp_path_factory.mktemp("ramp") / "model")


@pytest.fixture(scope="module")
def linked(lookup_invoke_image: str) -> str:
    """The invoke image with /input as a link, as on the platform's machines."""
    return link_input(lookup_invoke_image)


@pytest.fixture(scope="module")
def shared(linked: str, ramp: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(linked, tmp_path_factory.mktemp("server"), model=ramp) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def server(shared: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The shared server with an empty /output; it must have survived the test."""
    yield shared
    shared.clear_output()
    assert shared.request("GET", "/health")[0] == 200


def voxels_of(output: Path) -> Array:
    return sitk.GetArrayFromImage(read_sct(output))


def job(server: Server) -> Path:
    """A new place for inputs, beside those before."""
    return server.data / f"{uuid.uuid4()}-input"


def test_a10_healthy_once_loaded_and_gone_on_sigterm(linked: str, ramp: Path, tmp_path: Path) -> None:
    """503, then 200; all of it without an /input, and no file is left."""
    with running_server(linked, tmp_path, model=ramp) as server:
        assert server.wait_until_ready() == [503, 200]
        assert (server.lines()[0], len(server.lines())) == ("invoke: listening on port 4743, loading", 2)
        began = time.monotonic()
        server.kill("TERM")
        assert server.wait() == 143
        assert time.monotonic() - began < STOP_LIMIT
        assert server.lines()[-1] == "ended by SIGTERM"
        assert files_below(server.output) == []


def test_a10_sigterm_in_the_middle_of_a_call(linked: str, ramp: Path, tmp_path: Path) -> None:
    """`docker stop` asks by SIGTERM and would kill after 10 s; the call ends without an answer or an image."""
    with running_server(linked, tmp_path, model=ramp) as server:
        source = save_input(server.data / "job", ramp_image(0, BIG), np.ones(BIG, np.uint8), stem="1ABA001")
        server.wait_until_ready()
        refused: list[Exception] = []

        def call() -> None:
            try:
                server.invoke(source)
            except (OSError, EOFError) as error:
                refused.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        server.wait_for_line("lookup-table: case 1ABA001")
        began = time.monotonic()
        subprocess.run(["docker", "stop", "--time", "10", server.name], check=True, capture_output=True)
        seconds = time.monotonic() - began
        caller.join()
        assert seconds < STOP_LIMIT
        assert server.state()["ExitCode"] == 143
        assert server.lines()[-1] == "ended by SIGTERM"
        assert len(refused) == 1
        assert files_below(server.output / "images") == []


def test_a10_three_calls_are_equal_to_three_runs(server: Server, lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    for number, shape in enumerate([(7, 33, 29), (5, 40, 31), (9, 24, 24)]):
        image, mask = ramp_image(number, shape), ramp_mask(shape)
        source = save_input(job(server), image, mask)
        assert server.invoke(source) == (201, "done")
        served = voxels_of(server.output)
        np.testing.assert_array_equal(served, expected_sct(image, mask))
        ended = run_container(lookup_image, source, tmp_path / f"exec-{number}", model=ramp)
        assert ended.code == 0, ended.lines
        assert voxels_of(ended.output).tobytes() == served.tobytes()
        assert ended.files == [name for name in files_below(server.output) if "." in name]
        server.clear_output()


def test_a10_bad_input_is_500_and_the_next_call_is_served(server: Server) -> None:
    bad = job(server)
    (bad / "images" / "mri").mkdir(parents=True)
    assert server.invoke(bad) == (500, "/input/images/mri: holds 0 images (none); expected exactly one")
    assert server.lines()[-1] == "error: /input/images/mri: holds 0 images (none); expected exactly one"
    status, reason = server.invoke(None)
    assert (status, reason.partition(":")[0]) == (500, "/input")
    cut = save_input(job(server))
    (image,) = (cut / "images" / "mri").iterdir()
    image.write_bytes(image.read_bytes()[:-9])
    status, reason = server.invoke(cut)
    assert (status, reason.partition(":")[0]) == (500, f"/input/images/mri/{image.name}")
    assert [name for name in files_below(server.output) if "." in name] == []
    assert server.invoke(save_input(job(server))) == (201, "done")
    np.testing.assert_array_equal(voxels_of(server.output), expected_sct(ramp_image(), ramp_mask()))


@pytest.mark.parametrize("level", [1, 255])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a3_mask_of_each_type_and_level(server: Server, kind: type, level: int) -> None:
    mask: Array = (ramp_mask().astype(np.int64) * level).astype(kind)
    assert server.invoke(save_input(job(server), mask=mask)) == (201, "done")
    np.testing.assert_array_equal(voxels_of(server.output), expected_sct(ramp_image(), ramp_mask()))


def region_of(server: Server, source: Path) -> str | None:
    """The region that a run on an input ended up with."""
    assert server.invoke(source) == (201, "done")
    (row,) = json.loads((server.output / "manifest.json").read_text())["cases"]
    server.clear_output()
    found: str | None = row["region"]
    return found


def test_a4_every_spelling_of_a_region(server: Server) -> None:
    source = save_input(job(server))
    found = {}
    for region, spellings in REGIONS.items():
        for spelling in spellings:
            (source / "region.json").write_text(json.dumps(spelling))
            found[spelling] = (region_of(server, source), region)
    assert {spelling: pair for spelling, pair in found.items() if pair[0] != pair[1]} == {}
    assert len(found) == sum(map(len, REGIONS.values()))


@pytest.mark.parametrize("content", ['"Left Foot"', None, "", "{}", '["Abdomen"]', "\x00", '"' + "x" * 70_000 + '"'])
def test_a4_without_a_region_the_upload_s_name_tells(server: Server, content: str | None) -> None:
    source = save_input(job(server), region=content, upload="mr_1THB012.mha")
    assert region_of(server, source) == "TH"
    (source / "inputs.json").unlink()
    assert region_of(server, source) is None
