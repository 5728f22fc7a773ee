"""`synthct check` on images that serve: health, one case after the other in one process, survival and end."""

from __future__ import annotations

import pytest
from containers.checks import NOTHING, engine_contents, run_check, stand_in_image

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]


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
        ("always-201", {"failure.empty-input": "fail", "failure.corrupt-image": "fail"}),
    ],
)
def test_each_fault_is_named(fault: str, broken: dict[str, str]) -> None:
    outcome = run_check(stand_in_image("server.py", fault))
    assert (outcome.code, outcome.broken) == (6, broken)


def test_a_server_that_dies_of_bad_input_does_not_survive() -> None:
    outcome = run_check(stand_in_image("server.py", "dies"))
    assert (outcome.code, outcome.broken) == (6, {"invoke.survives": "fail"})
    assert outcome.found("invoke.survives").startswith("the server ended with exit 1: ")
    assert outcome.unchecked == ["case.largest", "failure.corrupt-image"]


def test_a_server_that_never_listens_is_told_by_its_health() -> None:
    image = stand_in_image("server.py", CMD='["-c", "import time; time.sleep(600)"]', ENTRYPOINT='["python3"]')
    outcome = run_check(image, "--budget", "3")
    assert outcome.broken == {"invoke.health": "fail"}
    assert outcome.found("invoke.health") == "/health: no answer within 3 s"


def test_a_server_that_ends_at_once_says_its_last_line() -> None:
    image = stand_in_image("server.py", CMD='["-c", "raise SystemExit(str(1 + 1))"]', ENTRYPOINT='["python3"]')
    assert run_check(image).found("invoke.health") == "the server ended with exit 1: 2"


def test_the_label_can_be_overruled() -> None:
    outcome = run_check(stand_in_image("server.py"), "--api", "exec", "--budget", "3")
    assert outcome.report["api"] == "exec"
    assert outcome.broken == {"run.platform": "fail"}
    assert outcome.found("run.platform").startswith("took longer than 3 s")
