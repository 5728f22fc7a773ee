"""`synthct check` ended from outside while a container runs: nothing of it stays, and the last line says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import docker
import pytest
from containers.checks import NOTHING, engine_contents, stand_in_image

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]

PATIENCE = 60.0
COMMAND = """
import signal
signal.signal(signal.SIGHUP, signal.{hangup})
signal.signal(signal.SIGINT, signal.default_int_handler)
from synthct.cli import main; main()
"""
"""What a shell may have ignored is as a user's terminal has it."""


def wait_until_it_sleeps(image: str) -> None:
    client = docker.from_env()
    try:
        label = {"label": f"synthct-check={client.images.get(image).id}", "status": "running"}
        deadline = time.monotonic() + PATIENCE
        while not client.containers.list(filters=label, sparse=True):
            assert time.monotonic() < deadline, "no container was started"
            time.sleep(0.1)
    finally:
        client.close()


def sleeping_check(
    folder: Path, script: str = "algorithm.py", hangup: str = "SIG_DFL"
) -> tuple[subprocess.Popen[str], str]:
    """Start a check of an image that sleeps, with its temporary files in a folder; return when a container runs."""
    image = stand_in_image(script, ENTRYPOINT='["sleep", "600"]', ENV=f"TESTED_BY={uuid.uuid4()}")  # nobody else's
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(hangup=hangup), "check", image, "--memory", "4g"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    wait_until_it_sleeps(image)
    return process, image


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "error: ended by SIGTERM"),
        (signal.SIGHUP, 129, "error: ended by SIGHUP"),
        (signal.SIGINT, 130, "error: interrupted"),
    ],
)
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, code: int, line: str) -> None:
    process, image = sleeping_check(tmp_path)
    assert engine_contents(image)["volumes"]
    assert list(tmp_path.iterdir())
    process.send_signal(number)
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert (process.returncode, stderr.splitlines()[-1]) == (code, line)
    assert "Traceback" not in stderr
    assert engine_contents(image) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_a_server_and_its_network_go_too_though_the_signal_comes_until_the_end(tmp_path: Path) -> None:
    process, image = sleeping_check(tmp_path, "server.py")
    assert engine_contents(image)["networks"]
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline
        process.terminate()
        time.sleep(0.01)
    assert process.communicate()[1].splitlines()[-1] == "error: ended by SIGTERM"
    assert process.returncode == 143
    assert engine_contents(image) == NOTHING


def test_under_nohup_the_check_goes_on(tmp_path: Path) -> None:
    process, image = sleeping_check(tmp_path, hangup="SIG_IGN")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.5)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert engine_contents(image) == NOTHING
