"""`synthct run evaluation --api invoke`: one process, several submissions, each as if it were the only one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands.command_line import PROGRAM, files_below, synthct
from commands.evaluation_phase import OFFSETS, TISSUE, evaluate, read_metrics, run_evaluation, save_flat, save_truth

pytestmark = pytest.mark.slow


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve with /input, /output and the ground truth below `root`; yields the address once it is healthy."""
    folders = {
        "INPUT_FOLDER": str(root / "input"),
        "OUTPUT_FOLDER": str(root / "output"),
        "GROUND_TRUTH_FOLDER": str(root / "truth"),
        "NPROCS": "1",
    }
    with (root / "log").open("w") as log:
        command = [sys.executable, "-c", PROGRAM, "run", "evaluation", "--api", "invoke", "--port", "0"]
        process = subprocess.Popen(command, stderr=log, env={**os.environ, **folders})
    try:
        address = f"http://127.0.0.1:{port_in(root / 'log')}"
        end = time.monotonic() + 60
        while call(f"{address}/health")[0] != 200 and time.monotonic() < end:
            time.sleep(0.05)
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 143
    finally:
        process.kill()
        process.wait()


def port_in(log: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if "listening on port " in line:
                return int(line.partition("listening on port ")[2].partition(",")[0])
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def call(address: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(address, data=b"" if method == "POST" else None, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310  # our own server
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_several_submissions_in_one_process(tmp_path: Path) -> None:
    truth = save_truth(tmp_path / "truth", TISSUE)
    good, bad = save_flat(tmp_path / "good"), save_flat(tmp_path / "bad")
    (bad / "1EXA002.mha").unlink()
    expected = evaluate(good, truth, tmp_path / "evaluated", "--segmenter", "tissue")
    output = tmp_path / "output"
    with served(tmp_path) as address:
        assert not output.exists()  # and there was no input when it said that it is healthy
        for source, status in ((good, 201), (bad, 500), (good, 201)):
            (tmp_path / "input").unlink(missing_ok=True)
            (tmp_path / "input").symlink_to(source, target_is_directory=True)
            found, body = call(f"{address}/invoke", "POST")
            assert (found, files_below(output)) == (status, ["metrics.json"] if status == 201 else []), body
            if status == 201:
                assert (output / "metrics.json").read_bytes() == expected
            else:
                assert body.startswith("1 of 3 cases could not be scored; case 1EXA002 has no prediction")
    assert (tmp_path / "log").read_text().count("scoring ") == 3


def test_an_exec_run_scores_the_same(tmp_path: Path) -> None:
    truth, flat = save_truth(tmp_path / "truth", TISSUE), save_flat(tmp_path / "input")
    with served(tmp_path) as address:
        assert call(f"{address}/invoke", "POST")[0] == 201
    served_bytes = (tmp_path / "output" / "metrics.json").read_bytes()
    outcome = run_evaluation(flat, truth, tmp_path / "exec")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "exec" / "metrics.json").read_bytes() == served_bytes
    assert {row["case"]: row["mae"] for row in read_metrics(tmp_path / "exec")["results"]} == OFFSETS


def test_settings_that_cannot_be_used_end_the_server(tmp_path: Path) -> None:
    truth = save_truth(tmp_path / "truth", None)
    (truth / "evaluation.json").write_text(json.dumps({"segmenters": []}))
    arguments = ("run", "evaluation", "--api", "invoke", "--port", "0")
    outcome = synthct(*arguments, GROUND_TRUTH_FOLDER=str(truth), NPROCS="")
    assert outcome.code == 3
    assert "evaluation.json: segmenters: " in outcome.reason
    assert outcome.reason.startswith("error: ")
