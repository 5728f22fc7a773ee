"""CONTRACT 6.A.7: bad input, bad weights, and an end in the middle: one sentence, and nothing below /output/images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import files_below
from containers.ramp_cases import ramp_image, read_sct, save_input, save_ramp
from containers.running import MODEL, WALLS, Ended, bind, created, open_folder, run_container
from mounts import SMALL_DISK_BYTES, mounted_disk

pytestmark = pytest.mark.container

BIG = (100, 512, 512)
"""26 million voxels: 50 MiB as they are stored, 200 MiB as the numbers of their bins."""
HUGE_HEADER = (
    b"NDims = 3\nBinaryData = True\nDimSize = 4000 4000 4000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
"""101 bytes that announce 128 GB."""


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ramp(tmp_path_factory.mktemp("ramp") / "model")


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that takes seconds to write and hundreds of MiB to translate."""
    image = np.tile(ramp_image(0, (10, *BIG[1:])), (10, 1, 1))
    return save_input(tmp_path_factory.mktemp("big") / "input", image, np.ones(BIG, np.uint8), stem="1ABA001")


def require_refusal(ended: Ended, code: int, *words: str) -> None:
    """The last line is one sentence with these words, no traceback stands above it, and there is no image."""
    assert ended.code == code, ended.lines
    assert ended.reason.startswith("error: ")
    assert [word for word in words if word not in ended.reason] == []
    assert 20 < len(ended.reason) <= 1024
    assert not any(line.startswith("Traceback") for line in ended.lines)
    assert files_below(ended.output) == []


def test_a7_empty_input(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    ended = run_container(lookup_image, tmp_path / "input", tmp_path / "output", model=ramp)
    require_refusal(ended, 6, "/input: holds nothing", "no images/mri and no images/cbct")


def test_a7_missing_weights(lookup_image: str, tmp_path: Path) -> None:
    ended = run_container(lookup_image, save_input(tmp_path / "input"), tmp_path / "output", model=None)
    require_refusal(ended, 4, "no weights for lookup-table", "/opt/ml/model", "SYNTHCT_STARTER=1")


def test_a7_cone_beam_for_a_model_of_mr(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    ended = run_container(lookup_image, save_input(tmp_path / "input", task="cbct"), tmp_path / "output", model=ramp)
    require_refusal(ended, 4, "/opt/ml/model: this model is for task mri", "the case is cbct")


@pytest.mark.parametrize(
    ("folder", "spoil", "words"),
    [
        ("mri", lambda content: content[: len(content) // 2], "expected"),
        ("mri", lambda content: HUGE_HEADER, "4000"),
        ("body", lambda content: HUGE_HEADER, "4000"),
        ("body", lambda content: b"", "expected"),
    ],
    ids=["cut off", "101 bytes announce 128 GB", "101 bytes announce a mask of 128 GB", "empty mask"],
)
def test_a7_corrupt_image(
    lookup_image: str, ramp: Path, tmp_path: Path, folder: str, spoil: Callable[[bytes], bytes], words: str
) -> None:
    source = save_input(tmp_path / "input")
    (image,) = (source / "images" / folder).iterdir()
    image.write_bytes(spoil(image.read_bytes()))
    ended = run_container(lookup_image, source, tmp_path / "output", model=ramp)
    require_refusal(ended, 3, f"/input/images/{folder}/{image.name}: ", words)


def flip_last(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (flip_last, "weights.safetensors: sha256 is"),
        (lambda path: path.write_bytes(b"\x80\x04pickle..."), "pickles are never opened"),
        (lambda path: path.chmod(0o600), "weights.safetensors: cannot be read (Permission denied)"),
        (lambda path: path.unlink(), "weights.safetensors: no such file"),
    ],
    ids=["one bit", "pickle", "unreadable", "gone"],
)
def test_a7_corrupt_weights(lookup_image: str, tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    model = save_ramp(tmp_path / "model")
    spoil(model / "weights.safetensors")
    ended = run_container(lookup_image, save_input(tmp_path / "input"), tmp_path / "output", model=model)
    require_refusal(ended, 4, f"{MODEL}/weights.safetensors: ", words)


def written_images(folder: Path) -> list[Path]:
    """Every .mha below a folder in which another process makes and removes files meanwhile."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".mha")]


def test_killed_while_it_writes_and_run_again(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    """SIGKILL comes while the image is on its way to the disk; the next run clears what was left."""
    shape = (50, 512, 512)
    big = save_input(tmp_path / "big", ramp_image(0, shape), np.ones(shape, np.uint8), stem="1ABA001")
    output = open_folder(tmp_path / "output")
    mounts = [*bind(big, "/input", read_only=True), *bind(output, "/output"), *bind(ramp, MODEL, read_only=True)]
    user = ("--user=23456:23456",)
    with created(lookup_image, "--network=none", *WALLS, *user, *mounts) as container:
        container.start()
        container.wait_for_line("lookup-table: case 1ABA001")
        end = time.monotonic() + 60
        while not (writing := written_images(output)):
            assert time.monotonic() < end, container.lines()
        container.kill("KILL")
        assert container.wait() == 137
        assert not any("wrote" in line for line in container.lines())
    assert [".partial" in path.relative_to(output).parts for path in writing] == [True]
    assert files_below(output / "images") == []
    again = run_container(lookup_image, save_input(tmp_path / "input"), output, *user, model=ramp)
    assert again.code == 0, again.lines
    assert len(again.files) == 3
    read_sct(output)
    assert [name for name in files_below(output) if ".partial" in name] == []


@pytest.mark.parametrize(("memory", "started"), [("256m", False), ("500m", True)])
def test_out_of_memory_by_the_kernel(
    lookup_image: str, ramp: Path, big: Path, tmp_path: Path, memory: str, started: bool
) -> None:
    """The kernel leaves no time for a word: exit 137 is what the platform calls its memory limit."""
    limits = (f"--memory={memory}", f"--memory-swap={memory}")
    ended = run_container(lookup_image, big, tmp_path / "output", *limits, model=ramp)
    assert (ended.code, ended.out_of_memory) == (137, True)
    assert files_below(ended.output / "images") == []
    assert ended.files == []
    assert any("case 1ABA001" in line for line in ended.lines) or not started


@pytest.mark.parametrize(
    ("megabytes", "words", "started"),
    [
        (200, ("(RLIMIT_DATA) is 200 MiB", "expected at least"), False),
        (450, ("memory",), True),
    ],
)
def test_out_of_memory_by_the_limit_of_the_data_segment(
    lookup_image: str, ramp: Path, big: Path, tmp_path: Path, megabytes: int, words: tuple[str, ...], started: bool
) -> None:
    """As the platform limits memory (CONTRACT 2.2): exit 5, with a word."""
    limits = (f"--ulimit=data={megabytes << 20}", "--env=OMP_NUM_THREADS=1")
    ended = run_container(lookup_image, big, tmp_path / "output", *limits, model=ramp)
    assert ended.code == 5, ended.lines
    assert any("case 1ABA001" in line for line in ended.lines) is started
    assert [line for line in ended.lines if line.startswith("error: ")] == [ended.reason]
    assert [word for word in words if word not in ended.reason] == []
    assert files_below(ended.output) == []


def test_full_disk(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    """Noise does not compress: its sCT needs more than the disk of 64 KiB holds."""
    shape = (16, 128, 128)
    source = save_input(tmp_path / "input", ramp_image(0, shape), np.ones(shape, np.uint8), stem="1ABA001")
    with mounted_disk(tmp_path / "output", size=SMALL_DISK_BYTES) as disk:
        ended = run_container(lookup_image, source, disk, model=ramp)
        require_refusal(ended, 1, "/output/images/synthetic-ct/1ABA001.mha: cannot be written", "room for it")
        assert len([line for line in ended.lines if line.startswith("error: ")]) == 1
