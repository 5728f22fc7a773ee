"""`synthct check` on algorithm images: a sound one passes, each broken one is called by its fault and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from containers.checks import NOTHING, engine_contents, run_check, stand_in_image

from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.algorithm_checks import check_run
from synthct.grand_challenge.sandbox.cases import write_case
from synthct.grand_challenge.sandbox.engine import connect, read_passwd
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.flags import GIBIBYTE, Phase
from synthct.grand_challenge.sandbox.output_checks import check_output
from synthct.grand_challenge.sandbox.runs import ExecRunner
from synthct.grand_challenge.sandbox.stage import Limits, Stage
from synthct.grand_challenge.sandbox.verdict import Verdict

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]


def test_a_sound_image_passes_and_leaves_nothing_behind() -> None:
    image = stand_in_image(LABEL="tested-by=itself")
    outcome = run_check(image, as_json=False)
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    assert lines[0].split()[:3] == ["verdict", "check", "found"]
    assert {line.split("  ")[0] for line in lines[1:]} == {"pass", "not checked"}
    assert [line for line in lines if line.startswith("not checked")] == [
        line for line in lines if "case.largest" in line
    ]
    assert all("[CONTRACT " in line for line in lines[1:])
    assert "39 pass, 0 fail, 0 would be refused, 1 not checked" in outcome.stderr.splitlines()[-1]
    assert "plain, platform" in outcome.stderr
    assert "oblique, strict" in outcome.stderr
    assert engine_contents(image) == NOTHING


def plain_run(image: str, work: Path) -> dict[str, Verdict]:
    """Run one case in one container; return the verdicts that are not a pass."""
    client, findings = connect(), Findings()
    try:
        limits = Limits(4 * GIBIBYTE, 60.0, gpu=False, uid=65532)
        with Stage(client, client.images.get(image), limits) as stage:
            grid = write_case("plain", Task.MRI, Region.ABDOMEN, work / "input")
            result = ExecRunner(stage, Phase.PLATFORM).run(work / "input", work / "output")
        if check_run("run.platform", result, "plain", findings):
            check_output(result.output, grid, "plain", findings)
    finally:
        client.close()
    return {finding.id: finding.verdict for finding in findings.all() if finding.verdict is not Verdict.PASS}


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("", {}),
        ("float", {"output.type": Verdict.FAIL}),
        ("wrong-size", {"output.size": Verdict.REFUSED}),
        ("no-output", {"output.one-image": Verdict.REFUSED}),
        ("constant", {"output.content": Verdict.FAIL}),
        ("bright-outside", {"output.outside-mask": Verdict.FAIL}),
        ("link", {"output.links": Verdict.REFUSED}),
        ("private", {"output.readable": Verdict.FAIL}),
        ("long-line", {"run.log-lines": Verdict.FAIL}),
        ("hard-link", {}),
        ("odd-name", {"output.readable": Verdict.FAIL}),
    ],
)
def test_each_fault_shows_in_one_run(tmp_path: Path, fault: str, broken: dict[str, Verdict]) -> None:
    assert plain_run(stand_in_image(fault=fault), tmp_path) == broken


def test_faults_that_only_odd_cases_show() -> None:
    outcome = run_check(stand_in_image(fault="needs-inputs-json"))
    assert outcome.code == 6
    assert outcome.broken == {"case.no-inputs-json": "fail", "case.nii-gz": "fail"}
    assert outcome.report["verdict"] == "fail"
    assert outcome.found("case.no-inputs-json").startswith("exit 1: cannot translate: [Errno 2]")
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("37 pass, 2 fail, 0 would be refused, 1 not checked (case.no-inputs-json, case.nii-gz)")


def test_a_failure_without_a_word_is_a_fault() -> None:
    outcome = run_check(stand_in_image(fault="mute"))
    assert (outcome.code, outcome.broken) == (
        6,
        {"failure.empty-input": "fail", "failure.corrupt-image": "fail"},
    )


def test_an_image_that_runs_and_is_not_taken() -> None:
    outcome = run_check(stand_in_image(USER="root", ENV="GRAND_CHALLENGE_MAX_WORKERS=2"))
    assert outcome.code == 6
    assert outcome.broken == {"image.user": "would be refused", "image.environment": "fail"}
    assert outcome.report["verdict"] == "would be refused"
    assert outcome.unchecked == ["case.largest"]


@pytest.mark.parametrize("label", ["rest"])
def test_another_label_is_refused_and_nothing_is_run(label: str) -> None:
    outcome = run_check(stand_in_image(LABEL=f"org.grand-challenge.api-method={label}"))
    assert (outcome.code, outcome.broken) == (6, {"image.api-method": "would be refused"})
    assert outcome.unchecked == ["run.platform"]
    assert label in outcome.found("image.api-method")


def test_a_user_that_the_image_does_not_know() -> None:
    outcome = run_check(stand_in_image(USER="stranger"))
    assert outcome.broken == {"image.passwd": "would be refused", "run.platform": "fail"}
    assert "stranger" in outcome.found("run.platform")


def test_a_volume_over_input_is_no_link_but_works() -> None:
    outcome = run_check(stand_in_image(VOLUME="/input"))
    assert (outcome.code, outcome.broken) == (0, {})
    assert outcome.unchecked == ["image.volumes", "case.largest"]


def test_input_is_a_link_into_a_read_only_place(tmp_path: Path) -> None:
    code = (
        "import os, sys; link = os.path.islink('/input'); place = os.path.realpath('/input').rpartition('/')[0]; "
        "open_to = [p for p in ('/input', '/output', '/tmp', '/opt/ml/model', '/') if os.access(p, os.W_OK)]; "
        "model = os.listdir('/opt/ml/model'); sys.exit(f'{link} {place} {open_to} {os.getuid()} {model}')"
    )
    (tmp_path / "model").mkdir(mode=0o700)
    (tmp_path / "model" / "weights").write_text("x")
    (tmp_path / "model" / "weights").chmod(0o600)
    image = stand_in_image(CMD=f"[{', '.join(map(_quoted, ['-c', code]))}]", ENTRYPOINT='["python3"]')
    outcome = run_check(image, "--model", tmp_path / "model")
    places = "['/output', '/tmp', '/opt/ml/model']"
    assert outcome.found("run.platform") == f"exit 1: True /opt/ml/input/data {places} 1000 ['weights']"


@pytest.mark.parametrize("packed", [False, True])
def test_a_model_is_the_users_own_and_new_for_each_platform_run(tmp_path: Path, packed: bool) -> None:
    """Each run lists the model, runs a tool of it, and tries to leave a file there."""
    code = (
        "import os, pathlib, subprocess, sys; model = pathlib.Path('/opt/ml/model'); "
        "names = sorted(p.name for p in model.iterdir()); owner = (model / 'tool').stat().st_uid; "
        "said = subprocess.run([model / 'tool'], capture_output=True, text=True).stdout; "
        "may = os.access(model, os.W_OK) and (model / 'left').touch() is None; "
        "sys.exit(f'{names} {owner} {said} {may}')"
    )
    model = tmp_path / "model"
    model.mkdir()
    (model / "tool").write_text("#!/bin/sh\nprintf runs")
    (model / "tool").chmod(0o700)
    if packed:
        with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
            archive.add(model, ".")
        model = tmp_path / "model.tar.gz"
    image = stand_in_image(CMD=f"[{', '.join(map(_quoted, ['-c', code]))}]", ENTRYPOINT='["python3"]')
    client = connect()
    try:
        limits = Limits(4 * GIBIBYTE, 60.0, gpu=False, uid=65532)
        (tmp_path / "input").mkdir()
        with Stage(client, client.images.get(image), limits, owner=(1000, 1000), model=model) as stage:
            phases = (Phase.PLATFORM, Phase.STRICT, Phase.PLATFORM)
            runs = [
                ExecRunner(stage, phase).run(tmp_path / "input", tmp_path / f"output-{number}").outcome
                for number, phase in enumerate(phases)
            ]
    finally:
        client.close()
    assert runs == [f"exit 1: ['tool'] 1000 runs {may}" for may in (True, False, True)]
    assert engine_contents(image) == NOTHING


@pytest.mark.parametrize("user", ["someone", "someone:users", "1000", "4321"])
def test_the_model_belongs_to_the_images_user(tmp_path: Path, user: str) -> None:
    code = "import os, sys; place = os.stat('/opt/ml/model'); sys.exit(f'{place.st_uid} {os.getuid()}')"
    (tmp_path / "model").mkdir()
    image = stand_in_image(CMD=f"[{', '.join(map(_quoted, ['-c', code]))}]", ENTRYPOINT='["python3"]', USER=user)
    number = "4321" if user == "4321" else "1000"
    assert run_check(image, "--model", tmp_path / "model").found("run.platform") == f"exit 1: {number} {number}"


@pytest.mark.parametrize("target", ["../store/passwd", "/store/link"])
def test_a_passwd_that_is_a_link_is_read(target: str) -> None:
    """Images made by Nix link it into the store."""
    move = f"mkdir /store && mv /etc/passwd /store/passwd && ln -s passwd /store/link && ln -s {target} /etc/passwd"
    image = stand_in_image(USER=f"root\nRUN {move}\nUSER 1000")
    client = connect()
    try:
        passwd = read_passwd(client, client.images.get(image))
    finally:
        client.close()
    assert passwd is not None
    assert "\nsomeone:x:1000:" in passwd


def test_a_passwd_that_leads_nowhere_is_none() -> None:
    image = stand_in_image(USER="root\nRUN ln -sf /absent /etc/passwd\nUSER 1000")
    client = connect()
    try:
        assert read_passwd(client, client.images.get(image)) is None
    finally:
        client.close()


def test_an_output_named_like_its_input_is_a_fault_only_where_the_input_is_nifti() -> None:
    outcome = run_check(stand_in_image(fault="named-like-input"))
    assert (outcome.code, outcome.broken) == (6, {"output.format": "fail", "output.decodable": "fail"})
    assert outcome.report["verdict"] == "fail"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_run_that_takes_too_long_is_killed() -> None:
    image = stand_in_image(CMD='["-c", "import time; time.sleep(600)"]', ENTRYPOINT='["python3"]')
    started = time.monotonic()
    outcome = run_check(image, "--budget", "2")
    assert time.monotonic() - started < 30
    assert outcome.broken == {"run.platform": "fail"}
    assert outcome.found("run.platform") == "took longer than 2 s, nothing on stderr"


def test_memory_is_walled_in() -> None:
    code = "x = bytearray(3500 << 20)"
    image = stand_in_image(CMD=f'["-c", "{code}"]', ENTRYPOINT='["python3"]')
    outcome = run_check(image)
    assert outcome.found("run.platform") == "exit 1: MemoryError"


def test_inputs_and_outputs_are_kept_where_asked(tmp_path: Path) -> None:
    outcome = run_check(stand_in_image(), "--keep", tmp_path / "runs")
    assert outcome.code == 0, outcome.stderr
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert {"platform-plain", "strict-plain", "strict-corner-mask", "strict-corrupt-image"} <= names
    kept = tmp_path / "runs" / "strict-plain"
    assert len(list(kept.glob("input/images/mri/*.mha"))) == 1
    assert len(list(kept.glob("output/images/synthetic-ct/*.mha"))) == 1
    assert "cannot translate" in (tmp_path / "runs" / "strict-corrupt-image" / "stderr.txt").read_text()
    again = run_check(stand_in_image(), "--keep", tmp_path / "runs")
    assert again.code == 2
    assert "is not empty" in again.stderr


def test_ctrl_c_leaves_nothing_behind() -> None:
    image = stand_in_image(CMD='["-c", "import time; time.sleep(601)"]', ENTRYPOINT='["python3"]')
    code = "from synthct.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "check", image, "--memory", "4g"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not engine_contents(image)["containers"] and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)  # until it runs
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "plain, platform" in stderr
    assert engine_contents(image) == NOTHING
