"""`synthct check` on images that serve: health, one case after the other in one process, survival and end."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest
from containers.checks import NOTHING, engine_contents, engine_over_tcp, run_check, stand_in_image

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]


LOWER_HEALTH = "import synthct.grand_challenge.sandbox.invoke as invoke; invoke.START_BUDGET = 3"


def test_a_sound_server_passes_and_leaves_nothing_behind() -> None:
    image = stand_in_image("server.py", ENV="TESTED_BY=itself")
    outcome = run_check(image)
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
    assert outcome.report["api"] == "invoke"
    assert outcome.unchecked == ["case.largest"]
    assert outcome.found("run.strict").startswith("status 201")
    assert outcome.found("invoke.survives").endswith("(2 runs)")
    assert outcome.found("invoke.stop").startswith("ended after")
    assert engine_contents(image) == NOTHING


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("redirects", {"invoke.health": "fail"}),
        ("says-200", {"run.platform": "fail"}),
        ("stays", {"invoke.stop": "fail"}),
        ("mute", {"failure.empty-input": "fail", "failure.corrupt-image": "fail"}),
        ("always-201", {"failure.empty-input": "fail", "failure.corrupt-image": "fail"}),
    ],
)
def test_each_fault_is_named(fault: str, broken: dict[str, str]) -> None:
    outcome = run_check(stand_in_image("server.py", fault, ENV='GREETING="the model is loaded"'), "--quick")
    assert (outcome.code, outcome.broken) == (6, broken)


def test_a_server_that_dies_of_bad_input_does_not_survive() -> None:
    outcome = run_check(stand_in_image("server.py", "dies"))
    assert (outcome.code, outcome.broken) == (6, {"invoke.survives": "fail"})
    assert outcome.found("invoke.survives").startswith("the server ended with exit 1: ")
    assert outcome.unchecked == ["case.largest", "failure.corrupt-image"]


def test_a_server_that_never_listens_is_told_by_its_health() -> None:
    image = stand_in_image("server.py", CMD='["-c", "import time; time.sleep(600)"]', ENTRYPOINT='["python3"]')
    outcome = run_check(image, before=LOWER_HEALTH)
    assert outcome.broken == {"invoke.health": "fail"}
    assert outcome.found("invoke.health") == "/health: no answer within 3 s"


def test_the_budget_of_a_run_is_not_that_of_the_start() -> None:
    outcome = run_check(stand_in_image("server.py", ENV="WAITING=4"), "--quick", "--budget", "3")
    assert (outcome.code, outcome.broken) == (0, {})
    assert float(outcome.found("invoke.health").split()[2]) > 3


def test_a_server_that_leaves_after_its_answer_does_not_survive() -> None:
    outcome = run_check(stand_in_image("server.py", "leaves"), "--quick")
    assert (outcome.code, outcome.broken) == (6, {"invoke.survives": "fail"})
    assert outcome.found("run.platform").startswith("status 201")
    assert outcome.found("invoke.survives") == "the server ended with exit 0"
    assert {"invoke.stop", "failure.empty-input", "failure.corrupt-image"} <= set(outcome.unchecked)


def test_an_evaluation_that_leaves_after_its_answer_does_not_survive() -> None:
    outcome = run_check(stand_in_image("server.py", "leaves", ENV="SERVED=judge"), "--kind", "evaluation")
    assert outcome.code == 6
    assert outcome.broken["invoke.survives"] == "fail"
    assert outcome.found("run.platform").startswith("status 201")


def test_a_line_of_the_start_says_nothing_of_a_later_call() -> None:
    greeting = 'SERVED=judge GREETING="1ABA001 is looked up"'
    outcome = run_check(stand_in_image("server.py", "ignores-missing", ENV=greeting), "--kind", "evaluation")
    assert (outcome.code, outcome.broken) == (6, {"evaluation.missing": "fail"})
    assert outcome.found("evaluation.missing").endswith("and no word of 1ABA001")


def test_a_long_line_is_blamed_on_one_call_of_each_server() -> None:
    outcome = run_check(stand_in_image("server.py", "long-start"), "--quick")
    assert (outcome.code, outcome.broken) == (6, {"run.log-lines": "fail"})
    blamed = [check["case"] for check in outcome.report["checks"] if check["id"] == "run.log-lines"]
    assert blamed == ["plain, platform", "plain, strict"]


def test_each_runs_stderr_is_kept_by_itself(tmp_path: Path) -> None:
    image = stand_in_image("server.py", ENV='GREETING="the model is loaded"')
    assert run_check(image, "--quick", "--keep", tmp_path / "kept").code == 0
    texts = {path.parent.name: path.read_text() for path in tmp_path.glob("kept/*/stderr.txt")}
    assert texts["platform-plain"] == texts["strict-plain"] == "the model is loaded\n"
    failed = sorted(name for name, text in texts.items() if "Traceback" in text)
    assert failed == ["strict-corrupt-image", "strict-empty-input"]


def test_an_engine_elsewhere_is_not_waited_for() -> None:
    image = stand_in_image("server.py")
    with engine_over_tcp() as host:
        outcome = run_check(image, DOCKER_HOST=host)
    assert (outcome.code, outcome.broken) == (0, {})
    assert outcome.unchecked == ["run.platform", "run.strict", "invoke.health"]
    assert outcome.found("invoke.health").startswith("the engine is not at a socket of this machine")


def test_a_server_that_ends_at_once_says_its_last_line() -> None:
    image = stand_in_image("server.py", CMD='["-c", "raise SystemExit(str(1 + 1))"]', ENTRYPOINT='["python3"]')
    assert run_check(image).found("invoke.health") == "the server ended with exit 1: 2"


def test_the_label_can_be_overruled() -> None:
    outcome = run_check(stand_in_image("server.py"), "--api", "exec", "--budget", "3")
    assert outcome.report["api"] == "exec"
    assert outcome.broken == {"run.platform": "fail"}
    assert outcome.found("run.platform").startswith("took longer than 3 s")


def test_gpus_cannot_be_asked_of_an_engine_without() -> None:
    client = docker.from_env()
    runtimes = client.info()["Runtimes"]
    client.close()
    if "nvidia" in runtimes:
        pytest.skip("the engine has GPUs")
    outcome = run_check("synthct-test/absent", "--gpus", "all")
    assert (outcome.code, outcome.stdout) == (2, "")
    expected = "error: --gpus all: the engine has no nvidia runtime; expected one that has, or --gpus none"
    assert outcome.stderr.splitlines() == [expected]
