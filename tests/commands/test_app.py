"""The command line itself: help, version, unknown words, and how failures become exit codes."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest
from commands.command_line import synthct

from synthct.cli import app
from synthct.errors import ContractError, SynthCTError, WeightsError

COMMANDS = (
    *(
        "check",
        "evaluate",
        "info",
        "leaderboard",
        "predict",
        "prepare",
        "run",
        "sample",
        "segmenter",
        "train",
        "try-out",
    ),
)


def test_help_lists_every_command() -> None:
    outcome = synthct("--help")
    assert outcome.code == 0
    assert [name for name in COMMANDS if f"  {name} " not in outcome.out] == []


def test_version() -> None:
    outcome = synthct("--version")
    assert (outcome.code, outcome.out) == (0, f"synthct {version('synthct')}\n")


def test_unknown_command_names_the_nearest() -> None:
    outcome = synthct("predic")
    assert outcome.code == 2
    assert "predict" in outcome.reason


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (WeightsError("model.json:\n is bad"), 4, "error: model.json: is bad"),
        (ContractError("two images"), 6, "error: two images"),
        (SynthCTError("other"), 1, "error: other"),
        (MemoryError(), 5, "error: the work does not fit into this machine's memory"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ModuleNotFoundError("no", name="pandas"), 1, "error: needs the package pandas; expected"),
        (ZeroDivisionError("division\nby zero"), 1, "error: unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_failures_end_in_one_line_and_their_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: object) -> None:
        raise error

    monkeypatch.setattr(app, "build_app", fail)
    monkeypatch.setattr(app, "show_warnings", lambda: None)
    with pytest.raises(SystemExit) as left:
        app.main(["info"])
    assert left.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_one_command_loads_no_other() -> None:
    before = set(sys.modules)
    built = app.build_app(["info"])
    assert [command.name for command in built.registered_commands] == ["info"]
    assert not any(name.startswith("evaluation.") for name in set(sys.modules) - before)
