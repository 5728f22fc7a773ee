"""`synthct run --api invoke`: the same sCTs as exec gives, from one process that has loaded its weights once."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.command_line import PROGRAM, files_below, synthct
from commands.limb_cases import limb
from invoke_process import InvokeProcess, started

from synthct.phantom import make_phantom
from synthct.volume import write_volume

OUTPUT = ["images", "images/synthetic-ct", "images/synthetic-ct/mri.mha", "manifest.json", "results.json"]


def save_input(folder: Path, seed: int, size: tuple[int, int, int] = (40, 40, 12)) -> Path:
    case = limb(seed=seed) if size == (40, 40, 12) else make_phantom("limb", task="mri", seed=seed, size=size)
    for name, volume in (("mri", case.image), ("body", case.mask)):
        (folder / "images" / name).mkdir(parents=True)
        write_volume(volume, folder / "images" / name / f"{name}.mha")
    (folder / "region.json").write_text('"Extremity"')
    return folder


def sct_hash(output: Path) -> str:
    return hashlib.sha256((output / "images" / "synthetic-ct" / "mri.mha").read_bytes()).hexdigest()


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        save_input(tmp_path / f"case-{seed}", seed)
    (tmp_path / "bad" / "images" / "mri").mkdir(parents=True)
    (tmp_path / "output").mkdir()
    return tmp_path


def point_to(root: Path, name: str) -> None:
    """Make /input anew, as the platform does for each task: a link to the job's folder."""
    (root / "input").unlink(missing_ok=True)
    (root / "input").symlink_to(root / name)


def serve(root: Path, algorithm: str = "lookup-table", starter: str = "1") -> list[str]:
    (root / "environment.json").write_text(
        json.dumps(
            {
                "INPUT_FOLDER": str(root / "input"),
                "OUTPUT_FOLDER": str(root / "output"),
                "SYNTHCT_STARTER": starter,
                "OMP_NUM_THREADS": "1",
            }
        )
    )
    return ["-c", PROGRAM, "run", algorithm, "--api", "invoke", "--port", "0"]


@pytest.fixture
def server(root: Path) -> Iterator[InvokeProcess]:
    arguments = serve(root)
    with started(arguments, environment=json.loads((root / "environment.json").read_text()), cwd=root) as process:
        statuses = process.wait_until_ready()  # there is no /input yet
        assert statuses[0] == 503
        assert files_below(root / "output") == []
        yield process


def test_three_calls_give_what_three_processes_give(server: InvokeProcess, root: Path) -> None:
    hashes = []
    for seed in (1, 2, 3):
        point_to(root, f"case-{seed}")
        assert server.invoke() == (201, "done")
        assert files_below(root / "output") == OUTPUT
        (row,) = json.loads((root / "output" / "manifest.json").read_text())["cases"]
        assert row["case"] == "mri"
        hashes.append(sct_hash(root / "output"))
        clear(root / "output")
    assert len(set(hashes)) == 3
    for seed, expected in zip((1, 2, 3), hashes, strict=True):
        out = root / f"exec-{seed}"
        outcome = synthct(
            *("run", "lookup-table"),
            INPUT_FOLDER=str(root / f"case-{seed}"),
            OUTPUT_FOLDER=str(out),
            SYNTHCT_STARTER="1",
            OMP_NUM_THREADS="1",
        )
        assert (outcome.code, sct_hash(out)) == (0, expected)


def test_bad_input_in_between(server: InvokeProcess, root: Path) -> None:
    point_to(root, "case-1")
    assert server.invoke()[0] == 201
    first = sct_hash(root / "output")
    point_to(root, "bad")  # and the caller has not cleared /output
    status, reason = server.invoke()
    assert status == 500
    assert "images/mri: holds 0 images" in reason
    server.wait_for_last_line(f"error: {reason}")
    assert any(line.startswith("removed the result of the run before: ") for line in server.lines)
    assert [name for name in files_below(root / "output") if "." in name] == []
    point_to(root, "case-1")
    assert server.invoke()[0] == 201
    assert sct_hash(root / "output") == first


def test_file_of_another_is_never_removed(server: InvokeProcess, root: Path) -> None:
    point_to(root, "case-1")
    assert server.invoke()[0] == 201
    image = root / "output" / "images" / "synthetic-ct" / "mri.mha"
    other = image.with_name("other.mha")
    image.rename(other)
    status, reason = server.invoke()
    assert status == 500
    assert "other.mha: another image is in the output" in reason
    assert [name for name in files_below(root / "output") if "." in name] == ["images/synthetic-ct/other.mha"]


def test_stopped_in_the_middle_of_a_case(tmp_path: Path) -> None:
    """The network is at work on 1.3 million voxels."""
    save_input(tmp_path / "input", 1, (128, 128, 80))
    (tmp_path / "output").mkdir()
    arguments = serve(tmp_path, "pix2pix-pelvis")
    environment = json.loads((tmp_path / "environment.json").read_text())
    with started(arguments, environment=environment, cwd=tmp_path) as process:
        process.wait_until_ready()

        def call() -> None:
            with pytest.raises(OSError, match=r"reset|closed|Remote"):
                process.invoke()

        caller = threading.Thread(target=call)
        caller.start()
        process.wait_for_line("pix2pix-pelvis: case")
        time.sleep(0.3)
        assert process.stop() < 3
        caller.join()
        assert process.process.returncode == 143
        assert files_below(tmp_path / "output") == []


def test_no_weights_are_exit_4(root: Path) -> None:
    arguments = serve(root, starter="")
    with started(arguments, environment=json.loads((root / "environment.json").read_text()), cwd=root) as process:
        assert process.wait() == 4
        assert process.lines[-1].startswith("error: no weights for lookup-table")
